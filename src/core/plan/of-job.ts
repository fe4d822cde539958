/** Volumes that a job has filled, for whichever domain comes to claim them. */
import { describeOwner, isJob } from '../owner.ts';
import { deleteCommand } from '../volume/delete-command.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import type { LogicalVolume, Seal } from '../volume/volume.ts';
import { objectionsToClaim } from './claim.ts';
import type { Decided } from './decision.ts';
import { refuse, refuseByPolicy } from './decision.ts';
import { decideHeld } from './held.ts';
import type { PlanInput } from './input.ts';
import { stoppedPoolOf } from './input.ts';
import type { PlannedFill } from './planned-fill.ts';
import { volumeKey } from './planned-fill.ts';
import { judgeDisk } from './policy.ts';

/** What a job has filled, and what is known of the disk that asks for it. */
interface SealedByJob {
  readonly volume: LogicalVolume;
  readonly seal: Seal;
  readonly record: PlannedFill | undefined;
}

/** No domain has claimed it yet, and it is a domain that asks. */
export function isSealedByJob({ domain }: PlanInput, seal: Seal): boolean {
  return isJob(seal.domainUuid) && !isJob(domain.uuid);
}

export function decideSealedByJob(
  input: PlanInput,
  disk: LocatedVolume,
  { volume, seal, record }: SealedByJob,
): Decided {
  const name = `Volume ${volumeKey(disk.location)} was filled by ${describeOwner(seal.domainUuid)}`;
  const verdict = judgeDisk(input, disk);
  // To give it to this domain is as good as filling it for this domain.
  if (verdict?.allowed === false) return refuseByPolicy(verdict.problem);
  const objections = objectionsToClaim(seal, disk.request, volume.sizeBytes, verdict?.rule.require);
  if (objections.length > 0) {
    return refuse(
      'VOLUME_OF_OTHER_DOMAIN',
      `${name} and is not what the annotation asks for: ${objections.join('; ')}.`,
      `It was left untouched. Change the annotation, give the disk another volume, or delete the volume (${deleteCommand(disk.location)}) to have it filled for this domain.`,
    );
  }
  const stopped = stoppedPoolOf(input, disk);
  if (stopped !== undefined) {
    return [{ action: 'hold', problem: stopped }, 'its pool is stopped; it goes on when the pool is started'];
  }
  // Somebody had it open who has closed it since.
  const mayTryAgain = record?.state === 'failed' && record.problem?.code === 'VOLUME_STATE' && !volume.open;
  const held = mayTryAgain ? undefined : decideHeld(input, disk, record);
  return (
    held ?? [
      { action: 'claim', fillId: seal.fillId, seal },
      `${describeOwner(seal.domainUuid)} has filled it with what the annotation asks for`,
    ]
  );
}
