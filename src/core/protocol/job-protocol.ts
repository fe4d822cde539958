/**
 * Volumes that are asked for without a domain: a job makes one from an image, and a domain whose annotation asks for
 * the same claims it later. As in control-protocol.ts, these names are also those of `--json`, so they are stable.
 *
 *   POST /v1/jobs               JobRequest → Job
 *   GET  /v1/jobs               JobFilter → Jobs
 *   GET  /v1/jobs/{id}          Job
 *   POST /v1/jobs/{id}/cancel   Job
 *   POST /v1/jobs/{id}/retry    Job
 */
import { z } from 'zod';
import { AnnotateRequest, ProblemBody } from './control-protocol.ts';

const text = z.string().max(4096);
const count = z.number().nonnegative();

export const JobRequest = z.strictObject({
  image: AnnotateRequest.shape.image,
  format: AnnotateRequest.shape.format,
  compression: AnnotateRequest.shape.compression,
  sha256: AnnotateRequest.shape.sha256,
  sha512: AnnotateRequest.shape.sha512,
  version: AnnotateRequest.shape.version,
  /** As in the annotation, e.g. `20GiB`; absent: the image's own. */
  size: AnnotateRequest.shape.size,
  /** Of the logical volume; the same characters as for one that a domain names. */
  volume: z.string().min(1).max(127),
  /** The libvirt pool; may be absent where the host is configured for one volume group only. */
  pool: z.string().min(1).max(255).optional(),
  /** The caller's own, for its logs. */
  correlationId: z.string().min(1).max(255).optional(),
});
export type JobRequest = z.infer<typeof JobRequest>;

export const JobState = z.enum(['pending', 'running', 'completed', 'failed', 'cancelled']);
export type JobState = z.infer<typeof JobState>;

export const Job = z.object({
  /** UUID. */
  id: z.uuid(),
  state: JobState,
  request: JobRequest,
  /** `VG/LV`. */
  location: text,
  /** Who asked for it, see AuditEvent.who. */
  by: text,
  /** What a running fill does just now, in a word or two. */
  phase: text.optional(),
  /** How many begin before it; absent unless it waits. */
  queuePosition: count.optional(),
  bytesDone: count,
  bytesTotal: count.optional(),
  /** Whether the image came from this host's cache; known once it has been read. */
  cacheHit: z.boolean().optional(),
  sha256: text.optional(),
  /** Why it has failed; of a job that is pending: what has passed or is to pass before it is tried again by itself. */
  problem: ProblemBody.optional(),
  fillId: text.optional(),
  /** UUID of the domain whose annotation has claimed the volume since. */
  claimedBy: text.optional(),
  /** RFC 3339. */
  createdAt: text,
  /** RFC 3339. */
  updatedAt: text,
});
export type Job = z.infer<typeof Job>;

export const JOBS_PER_PAGE_MAX = 1000;

export const JobFilter = z.strictObject({
  state: JobState.optional(),
  /** Of the logical volume. */
  volume: z.string().max(127).optional(),
  limit: z.coerce.number().int().min(1).max(JOBS_PER_PAGE_MAX).default(100),
  /** The id of the last job seen: what follows are older ones; JOB_NOT_FOUND if it was forgotten. */
  after: z.uuid().optional(),
});
export type JobFilter = z.infer<typeof JobFilter>;

/** Newest first. */
export const Jobs = z.object({ jobs: z.array(Job) });
export type Jobs = z.infer<typeof Jobs>;
