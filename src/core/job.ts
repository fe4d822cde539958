/** A job: a volume that no domain has asked for yet, as the planner sees it. */
import { readVolumeAttributes } from './annotation.ts';
import { ownerOfJob } from './owner.ts';
import type { JobRequest } from './protocol/job-protocol.ts';
import type { Domain, PooledLocation, VolumeRequest } from './request.ts';
import { AnnotationError } from './xml/annotation-error.ts';

/** Stands for a disk of a domain where the planner wants one. */
export const JOB_TARGET = 'vda';

/** What a job asks for, by the rules of annotations; ANNOTATION_INVALID. */
function volumeRequestOf(request: JobRequest): VolumeRequest {
  const { image, format, compression, sha256, sha512, version, size } = request;
  const attributes = { target: JOB_TARGET, image, format, compression, sha256, sha512, version, size };
  const { value, problems } = readVolumeAttributes(attributes, `The job for volume ${request.volume}`);
  if (value === undefined) throw new AnnotationError(problems);
  return value;
}

/** A domain of one disk, which libvirt does not know; ANNOTATION_INVALID. */
export function domainOfJob(job: {
  readonly id: string;
  readonly request: JobRequest;
  readonly location: Pick<PooledLocation, 'pool' | 'lv'>;
}): Domain {
  const owner = ownerOfJob(job.id);
  const disk = {
    ...{ target: JOB_TARGET, device: 'disk', driverType: 'raw' },
    ...{ readonly: false, shareable: false, transient: false },
    source: { type: 'volume' as const, pool: job.location.pool, volume: job.location.lv },
  };
  return {
    ...{ uuid: owner, name: owner, disks: [disk] },
    annotation: { start: 'manual', volumes: [volumeRequestOf(job.request)] },
  };
}
