/** Everything that was read before deciding, and what of it is about one disk. */
import type { Problem } from '../errors.ts';
import type { KeyState } from '../key/key-change.ts';
import type { HostPolicy } from '../policy/host-policy.ts';
import type { Domain, VolumeRequest } from '../request.ts';
import { libvirtPool } from '../thin/thin-place.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import type { LogicalVolume, Seal } from '../volume/volume.ts';
import type { PlannedFill } from './planned-fill.ts';
import { volumeKey } from './planned-fill.ts';

/** Why an existing volume may or may not be taken over. */
export type Blankness = { readonly blank: true } | { readonly blank: false; readonly why: string };

/** Everything that was read before deciding. */
export interface PlanInput {
  readonly domain: Domain;
  readonly located: readonly LocatedVolume[];
  readonly problems: readonly Problem[];
  /** At least those under the located names, and those under names of ours that were made for these or had them. */
  readonly volumes: readonly LogicalVolume[];
  /** Result of examining unmarked volumes under annotated names, by `VG/LV`. */
  readonly blankness: ReadonlyMap<string, Blankness>;
  /** At least the ledger's rows of this domain, and those of other domains for its volumes. */
  readonly fills: readonly PlannedFill[];
  /** Fills queued or running in this process. */
  readonly running: ReadonlySet<string>;
  /**
   * Domains by UUID, with their names, whose first start was refused and that were never admitted since: what
   * is filled for them no guest has ever seen.
   */
  readonly firstStarts: ReadonlyMap<string, string>;
  /** Inactive pools by name: nothing is begun in them. */
  readonly stoppedPools: ReadonlyMap<string, Problem>;
  /** Undefined: whatever is asked for is filled. */
  readonly hostPolicy: HostPolicy | undefined;
  /** Of encrypted volumes whose keys are being changed or are gone, by the fill of their seals. */
  readonly keyStates: ReadonlyMap<string, KeyState>;
  /** Which disk of another domain has the key of one of these, by that key; see formatKeyReference(). */
  readonly keysElsewhere: ReadonlyMap<string, { readonly domainUuid: string; readonly says: string }>;
  readonly nowMs: number;
}

export function volumeOf(
  { volumes }: Pick<PlanInput, 'volumes'>,
  { location }: LocatedVolume,
): LogicalVolume | undefined {
  return volumes.find((volume) => volumeKey(volume) === volumeKey(location));
}

export function recordOf({ domain, fills }: PlanInput, { request }: LocatedVolume): PlannedFill | undefined {
  return fills.find(
    ({ domainUuid, request: { target } }) => domainUuid === domain.uuid && target === request.target,
  );
}

/** A thin volume needs none. */
export function stoppedPoolOf({ stoppedPools }: PlanInput, { location }: LocatedVolume): Problem | undefined {
  return stoppedPools.get(libvirtPool(location) ?? '');
}

/** virt-install and virt-manager invent a new UUID at every try; the name is the same. */
export function isEarlierTry(input: PlanInput, domainUuid: string): boolean {
  return input.firstStarts.get(domainUuid) === input.domain.name;
}

/** Which key it was does not matter: it may have been replaced since, and the gate tries it. */
export function isEncryptedAs({ encryption }: Pick<Seal, 'encryption'>, { key }: VolumeRequest): boolean {
  return (encryption !== undefined) === (key !== undefined);
}
