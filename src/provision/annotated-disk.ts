/** A verb that is called for one disk of a domain: the disk has to be annotated. */
import { ProvisionError } from '../core/errors.ts';
import type { Domain } from '../core/request.ts';

/** DISK_NOT_FOUND, naming those that are, if it is not. */
export function requireAnnotated({ name, annotation }: Domain, target: string): void {
  const targets = annotation?.volumes.map((volume) => volume.target) ?? [];
  if (targets.includes(target)) return;
  throw new ProvisionError({
    code: 'DISK_NOT_FOUND',
    message: `Disk ${target} of domain ${name} is not annotated.`,
    hint: targets.length === 0 ? 'None of its disks is.' : `Annotated: ${targets.join(', ')}.`,
  });
}
