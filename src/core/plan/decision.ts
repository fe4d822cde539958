/** What can be decided about a disk, and the refusals that more than one proof leads to. */
import type { Problem } from '../errors.ts';
import { jobIdOf } from '../owner.ts';
import { deleteCommand } from '../volume/delete-command.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import type { Seal } from '../volume/volume.ts';
import { volumeKey } from './planned-fill.ts';

/** How a fill gets its private volume. */
export type FillFrom = 'new' | 'adopt' | 'resume';

export type DiskDecision =
  /** Sealed for this domain; `drift` says how the seal differs from the annotation, if it does. */
  | {
      readonly action: 'none';
      readonly fillId: string;
      readonly sha256: string;
      readonly drift?: string | undefined;
    }
  | { readonly action: 'fill'; readonly from: FillFrom; readonly fillId?: string | undefined }
  /** A fill is queued or running. */
  | { readonly action: 'wait'; readonly fillId: string }
  /** The annotation changed under a running fill: end it, then plan again. */
  | { readonly action: 'cancel'; readonly fillId: string; readonly why: string }
  /** The volume is sealed but still has its private name: only the rename is missing. */
  | { readonly action: 'finish'; readonly fillId: string; readonly seal: Seal }
  /** Sealed for a first start that was refused, and the same guest has come back under another UUID; or for a job. */
  | { readonly action: 'claim'; readonly fillId: string; readonly seal: Seal }
  /** What was put aside to be made again gets its name back: making it again has failed, or nobody wants it. */
  | { readonly action: 'restore'; readonly fillId: string }
  /** Failed or cancelled before; tried again at `retryAtMs`, or only by hand if absent. */
  | { readonly action: 'hold'; readonly problem: Problem; readonly retryAtMs?: number | undefined }
  | {
      readonly action: 'refuse';
      readonly problem: Problem;
      /** The volume is sealed for this domain all the same, but for another generation than is asked for. */
      readonly sealed?: Pick<Seal, 'fillId' | 'sha256'> | undefined;
      /** It is set aside for this domain, and a migration that was announced is let in. */
      readonly receives?: true | undefined;
    };

export type Decided = readonly [DiskDecision, string];

export function refuseByPolicy(problem: Problem): Decided {
  return [{ action: 'refuse', problem }, problem.message];
}

export function refuseOther(disk: LocatedVolume, how: string, owner = ''): Decided {
  const jobId = jobIdOf(owner);
  return refuse(
    'VOLUME_OF_OTHER_DOMAIN',
    `Volume ${volumeKey(disk.location)} is ${how}.`,
    jobId === undefined
      ? 'One volume belongs to one domain: give this disk another volume, keep the old UUID in the domain XML (virt-install: --metadata uuid=UUID), or delete the volume first.'
      : `Use another volume, or end the job (lvp job cancel ${jobId}) or delete what it has filled (${deleteCommand(disk.location)}) first.`,
  );
}

export function refuse(
  code: Problem['code'],
  message: string,
  hint: string,
): readonly [Extract<DiskDecision, { action: 'refuse' }>, string] {
  return [{ action: 'refuse', problem: { code, message, hint } }, message];
}
