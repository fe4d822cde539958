/** The disks of a domain that a key opens, as its XML says. */
import type { Domain } from '../request.ts';
import type { KeyReference } from './key-reference.ts';

export interface EncryptedDisk {
  readonly target: string;
  readonly key: KeyReference;
  /** Of the volume, as the disk's secret names it; see secretPath(). */
  readonly path: string;
}

/** Without those whose `<encryption>` names no secret by usage: no plan lets such a domain start. */
export function encryptedDisks({ annotation, disks }: Domain): EncryptedDisk[] {
  return (annotation?.volumes ?? []).flatMap(({ target, key }) => {
    const secrets = disks.find((disk) => disk.target === target)?.encryption?.secrets ?? [];
    const secret = secrets.find(({ by }) => by === 'usage');
    return key === undefined || secret === undefined ? [] : [{ target, key, path: secret.name }];
  });
}
