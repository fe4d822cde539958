/** What this host's policy says of a disk. */
import { isJob } from '../owner.ts';
import type { Verdict } from '../policy/host-policy.ts';
import { judgeFill, judgePlace } from '../policy/host-policy.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import { readMark } from '../volume/volume.ts';
import type { PlanInput } from './input.ts';
import { volumeOf } from './input.ts';

/**
 * What is there already counts with its size: nobody makes it smaller; and for whoever claims it from a job it is
 * judged anew. What is to arrive is not filled by us.
 */
export function judgeDisk(
  { hostPolicy, domain, ...input }: PlanInput,
  disk: LocatedVolume,
): Verdict | undefined {
  if (hostPolicy === undefined) return undefined;
  const { request, location } = disk;
  const found = volumeOf(input, disk);
  const mark = found === undefined ? undefined : readMark(found.tags);
  if (mark?.state === 'receiving') return judgePlace(hostPolicy, domain, request.target, location);
  const isJudgedBefore = mark?.state === 'ready' && !isJob(mark.domainUuid);
  const foundBytes = found === undefined || isJudgedBefore ? 0 : found.sizeBytes;
  return judgeFill(hostPolicy, domain, disk, Math.max(request.sizeBytes ?? 0, foundBytes));
}
