/** What the Go provisioner's clients send and read (rossigee/libvirt-volume-provisioner, pkg/types/types.go). */
import { z } from 'zod';
import type { Job, JobRequest } from '../../core/protocol/job-protocol.ts';
import { Refusal } from './refusal.ts';

/** More than LVM can make; only so that no number grows beyond what is exact. */
const SIZE_GIB_MAX = 2 ** 20;

/** What it does not know is passed over, as it was there. */
export const CompatibleRequest = z.object({
  image_url: z.string().min(1).max(4096).meta({ format: 'uri' }),
  volume_name: z.string().min(1).max(127),
  /** GiB, for that is what `lvcreate -L 50G` makes. */
  volume_size_gb: z.int().min(1).max(SIZE_GIB_MAX),
  /** Its own type leaves it empty when nobody sets it. */
  image_type: z.enum(['qcow2', 'raw', '']).default('qcow2'),
  correlation_id: z.string().max(255).optional(),
});
export type CompatibleRequest = z.infer<typeof CompatibleRequest>;

export const CompatibleStarted = z.object({ job_id: z.uuid() });

export const CompatibleStatus = z.object({
  job_id: z.uuid(),
  status: z.enum(['pending', 'running', 'completed', 'failed']),
  progress: z
    .object({
      stage: z.string(),
      percent: z.number().min(0).max(100),
      bytes_processed: z.number().nonnegative(),
      bytes_total: z.number().nonnegative(),
    })
    .optional(),
  error: z.string().optional(),
  correlation_id: z.string(),
  cache_hit: z.boolean().optional(),
  image_path: z.string().optional(),
  created_at: z.string(),
  updated_at: z.string(),
});
export type CompatibleStatus = z.infer<typeof CompatibleStatus>;

export const CompatibleCancelled = z.object({ status: z.literal('cancelled'), job_id: z.uuid() });

export const CompatibleHealth = z.object({
  status: z.enum(['healthy', 'degraded']),
  timestamp: z.string(),
  version: z.string(),
  uptime: z.string(),
});
export type CompatibleHealth = z.infer<typeof CompatibleHealth>;

/** Its words for what is done just now, by ours. */
const STAGES: Readonly<Record<string, string>> = {
  waiting: 'initializing',
  resolving: 'checking_cache',
  filling: 'downloading',
  verifying: 'converting',
  publishing: 'finalizing',
};

export function toJobRequest(
  request: CompatibleRequest,
  hosts: { readonly endpoint: URL; readonly imageHosts: readonly string[] },
): JobRequest {
  const { image_type: format, correlation_id: correlationId = '' } = request;
  return {
    image: imageOf(request.image_url, hosts),
    format: format === '' ? 'qcow2' : format,
    size: `${request.volume_size_gb}GiB`,
    volume: request.volume_name,
    ...(correlationId === '' ? {} : { correlationId }),
  };
}

/** `BUCKET/KEY` of an image's URL, which must be of the store that this host is configured for. */
function imageOf(
  text: string,
  { endpoint, imageHosts }: { readonly endpoint: URL; readonly imageHosts: readonly string[] },
): string {
  const url = URL.parse(text);
  const wrong = (message: string, hint: string) => new Refusal({ status: 400, code: 'USAGE', message, hint });
  const hint = 'It has the form https://minio.example.com/BUCKET/KEY.';
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw wrong('image_url is not a URL.', hint);
  if (`${url.username}${url.password}${url.search}${url.hash}` !== '') {
    throw wrong('image_url has a user, a query or a fragment in it.', hint);
  }
  if (url.host !== endpoint.host && !imageHosts.includes(url.host) && !imageHosts.includes(url.hostname)) {
    throw wrong(
      `image_url names the host ${url.host}; images come from ${endpoint.host} here.`,
      'Other names of the same store are listed under http.image_hosts.',
    );
  }
  const image = decoded(url.pathname.slice(1));
  if (image === undefined || !/^[^/]+\/[^/]/.test(image)) throw wrong('image_url names no BUCKET/KEY.', hint);
  return image;
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

export function toStatus(job: Job): CompatibleStatus {
  const { state, request } = job;
  return {
    job_id: job.id,
    status: state === 'cancelled' ? 'failed' : state,
    ...progressOf(job),
    ...errorOf(job),
    correlation_id: request.correlationId ?? job.id,
    ...(state === 'completed' ? { cache_hit: job.cacheHit ?? false, image_path: request.image } : {}),
    created_at: job.createdAt,
    updated_at: job.updatedAt,
  };
}

function errorOf({ state, problem }: Job): { error?: string } {
  if (state === 'cancelled') return { error: 'job cancelled by user' };
  if (state !== 'failed') return {};
  if (problem === undefined) return { error: 'failed' };
  return { error: problem.hint === undefined ? problem.message : `${problem.message} ${problem.hint}` };
}

function progressOf({ state, phase, bytesDone, bytesTotal = 0 }: Job): Pick<CompatibleStatus, 'progress'> {
  const bytes = { bytes_processed: bytesDone, bytes_total: bytesTotal };
  if (state === 'completed') return { progress: { stage: 'finalizing', percent: 100, ...bytes } };
  if (state !== 'running') return {};
  const percent = bytesTotal === 0 ? 0 : Math.min(100, (bytesDone / bytesTotal) * 100);
  return { progress: { stage: STAGES[phase ?? 'waiting'] ?? 'downloading', percent, ...bytes } };
}

/** As Go prints a duration: `2h30m45s`. */
export function uptimeText(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1_000);
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  const minutesText = seconds < 60 ? '' : `${minutes}m`;
  return `${hours === 0 ? '' : `${hours}h`}${minutesText}${seconds % 60}s`;
}
