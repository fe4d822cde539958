/** What the ledger says of a fill, as far as decisions rest on it. */
import type { Problem } from '../errors.ts';
import type { VolumeLocation, VolumeRequest } from '../request.ts';
import { imageName } from '../request.ts';

/** Where a fill stands, as the ledger keeps it. */
export type FillState = 'waiting' | 'filling' | 'publishing' | 'ready' | 'failed' | 'cancelled';

/** What the planner needs of a ledger row. */
export interface PlannedFill {
  readonly fillId: string;
  readonly domainUuid: string;
  readonly domainName: string;
  readonly request: VolumeRequest;
  readonly location: VolumeLocation;
  readonly state: FillState;
  readonly retryAtMs?: number | undefined;
  readonly problem?: Problem | undefined;
  /**
   * The fill whose volume this one takes the place of. That one was put aside for it, and is still there as long
   * as this says so.
   */
  readonly replaces?: string | undefined;
}

/** `VG/LV`, the key of maps over volumes. */
export function volumeKey(location: { readonly vg: string; readonly lv: string }): string {
  return `${location.vg}/${location.lv}`;
}

/** True if both ask for the same bytes in the same size. */
export function sameRequest(a: VolumeRequest, b: VolumeRequest): boolean {
  return (
    imageName(a.image) === imageName(b.image) &&
    a.format === b.format &&
    a.compression === b.compression &&
    a.sha256 === b.sha256 &&
    a.sha512 === b.sha512 &&
    a.version === b.version &&
    a.sizeBytes === b.sizeBytes &&
    a.generation === b.generation &&
    a.key?.provider === b.key?.provider &&
    a.key?.id === b.key?.id
  );
}

/** True for the row of a fill that is queued, runs, or was cut off by a crash. */
export function isUnfinished(state: FillState): boolean {
  return state === 'waiting' || state === 'filling' || state === 'publishing';
}

/** Interrupted, or stopped by something that says nothing against what is there: its volume is kept for it. */
export function goesOn({ state, problem }: PlannedFill): boolean {
  if (state === 'failed') return problem !== undefined && keepsVolume(problem);
  return isUnfinished(state);
}

/** The store or the key server is away, its time was up, it did not get its turn, or the host was frozen. */
export function keepsVolume({ code }: Problem): boolean {
  return ['STORE_UNREACHABLE', 'KEY_SERVER_UNREACHABLE', 'FILL_DEADLINE', 'QUEUE_FULL', 'FROZEN'].includes(
    code,
  );
}
