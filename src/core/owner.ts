/**
 * Whom a volume belongs to, wherever that stands: in the ledger's rows, in the marks and in the seal. It is a
 * domain's UUID, or `job:UUID` for a job, which libvirt's UUIDs never are: that a volume was filled for a job and
 * that no domain has claimed it since is said by its tags alone, and no guest passes for its owner. A golden volume
 * that is being filled is nobody's at all.
 */

/** In the marks of a golden volume that is being filled (docs/thin.md). */
export const GOLDEN_OWNER = 'golden';

export function isGolden(owner: string): boolean {
  return owner === GOLDEN_OWNER;
}

const JOB_PREFIX = 'job:';

export function ownerOfJob(jobId: string): string {
  return `${JOB_PREFIX}${jobId}`;
}

/** The job's id, or undefined for the UUID of a domain. */
export function jobIdOf(owner: string): string | undefined {
  return owner.startsWith(JOB_PREFIX) ? owner.slice(JOB_PREFIX.length) : undefined;
}

export function isJob(owner: string): boolean {
  return jobIdOf(owner) !== undefined;
}

/** `job UUID`, `domain UUID` or `domain NAME (UUID)`, for messages; for nobody's `a golden volume`. */
export function describeOwner(owner: string, name?: string): string {
  const jobId = jobIdOf(owner);
  if (isGolden(owner)) return 'a golden volume';
  if (jobId !== undefined) return `job ${jobId}`;
  return name === undefined ? `domain ${owner}` : `domain ${name} (${owner})`;
}
