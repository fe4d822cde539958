/** What a grant or its withdrawal has changed. */
import type { KeyReaders } from '../../adapters/key/secrets.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';

export interface Change {
  readonly key: string;
  readonly granted: readonly string[];
  readonly revoked: readonly string[];
  /** As they are now. */
  readonly readers: readonly string[];
  /** Whether every member of the key's project may read it; absent for keys of files. */
  readonly projectAccess?: boolean;
}

export function changeOf(reference: KeyReference, before: KeyReaders, after: KeyReaders): Change {
  return {
    key: formatKeyReference(reference),
    granted: after.users.filter((user) => !before.users.includes(user)),
    revoked: before.users.filter((user) => !after.users.includes(user)),
    readers: after.users,
    projectAccess: after.projectAccess,
  };
}

export function changeText({ key, granted, revoked, readers, projectAccess = false }: Change): string {
  return [
    ...(granted.length === 0 ? [] : [`${key} is granted to ${granted.join(', ')}.`]),
    ...(revoked.length === 0 ? [] : [`${key} is revoked from ${revoked.join(', ')}.`]),
    ...(granted.length + revoked.length === 0 ? ['Nothing had to be changed.'] : []),
    readers.length === 0 ? 'No host may read it now.' : `It may be read by ${readers.join(', ')}.`,
    ...(projectAccess
      ? ['Every member of its project may read it, too, until lvp key revoke closes it to them.']
      : []),
  ].join('\n');
}
