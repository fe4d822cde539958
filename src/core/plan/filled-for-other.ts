/** Volumes that are being filled for another domain, or for a job. */
import type { Problem } from '../errors.ts';
import { describeOwner, isJob } from '../owner.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import { mayComeToClaim } from './claim.ts';
import type { Decided } from './decision.ts';
import { refuseByPolicy, refuseOther } from './decision.ts';
import type { PlanInput } from './input.ts';
import { isEarlierTry } from './input.ts';
import type { PlannedFill } from './planned-fill.ts';
import { isUnfinished, sameRequest, volumeKey } from './planned-fill.ts';

export function fillOfOtherDomain(input: PlanInput, disk: LocatedVolume): PlannedFill | undefined {
  return input.fills.find(
    (fill) =>
      fill.domainUuid !== input.domain.uuid &&
      volumeKey(fill.location) === volumeKey(disk.location) &&
      (input.running.has(fill.fillId) || isUnfinished(fill.state)),
  );
}

/** It is waited for by whoever will claim it. */
export function decideFilledForOther(
  input: PlanInput,
  disk: LocatedVolume,
  other: PlannedFill,
  refusal: Problem | undefined,
): Decided {
  const { domainUuid: owner, domainName, fillId } = other;
  const isFirstTry = isEarlierTry(input, owner) && sameRequest(other.request, disk.request);
  const isJobs = isJob(owner) && !isJob(input.domain.uuid) && mayComeToClaim(other.request, disk.request);
  if (!isFirstTry && !isJobs) {
    return refuseOther(disk, `being filled for ${describeOwner(owner, domainName)}`, owner);
  }
  if (refusal !== undefined) return refuseByPolicy(refusal);
  const since = isJobs ? `by ${describeOwner(owner)}` : 'since an earlier try to start this guest';
  return [{ action: 'wait', fillId }, `it is being filled ${since}`];
}
