/** A verb that is called for one disk of a domain: the disk has to be annotated. */
import { ProvisionError } from '../../core/errors.ts';
import type { Domain, VolumeRequest } from '../../core/request.ts';

/** What the annotation asks for it; DISK_NOT_FOUND, naming those that are, if it is not. */
export function requireAnnotated({ name, annotation }: Domain, target: string): VolumeRequest {
  const volumes = annotation?.volumes ?? [];
  const targets = volumes.map((volume) => volume.target);
  const request = volumes.find((volume) => volume.target === target);
  if (request !== undefined) return request;
  throw new ProvisionError({
    code: 'DISK_NOT_FOUND',
    message: `Disk ${target} of domain ${name} is not annotated.`,
    hint: targets.length === 0 ? 'None of its disks is.' : `Annotated: ${targets.join(', ')}.`,
  });
}
