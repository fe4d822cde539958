/** Whether a disk's `<encryption>` and the key in its annotation say the same, and what we and QEMU can open. */
import type { Problem } from '../errors.ts';
import { quote } from '../quote.ts';
import type { DomainDisk, VolumeLocation, VolumeRequest } from '../request.ts';
import { secretPath } from './secret-name.ts';

/**
 * Neither is ever guessed from the other: a disk that is meant to be encrypted is not filled plain because a word is
 * missing, nor the reverse.
 */
export function encryptionMistakes(
  { target, encryption }: DomainDisk,
  { key }: VolumeRequest,
  location: VolumeLocation | Problem,
): Problem[] {
  if (encryption === undefined && key === undefined) return [];
  const name = `Disk ${quote(target)}`;
  if (encryption === undefined) {
    return [
      unsuitable(
        `${name} is not encrypted, but its annotation names a key.`,
        'Add <encryption format="luks"> to its <source>, or remove key from the annotation.',
      ),
    ];
  }
  if (key === undefined) {
    return [
      unsuitable(
        `${name} is encrypted, but its annotation names no key.`,
        'Add key="barbican:UUID" or key="file:NAME" to the annotation (lvp key create makes one), or remove <encryption>.',
      ),
    ];
  }
  const { format, engine, secrets } = encryption;
  const [secret, ...more] = secrets;
  const checks: [boolean, message: string, hint: string][] = [
    [
      format !== 'luks',
      `has the encryption format ${quote(format)}; only luks is filled.`,
      'Write <encryption format="luks">.',
    ],
    [
      engine !== 'qemu',
      `has the encryption engine ${quote(engine)}; only QEMU's own is used.`,
      'Write engine="qemu", or leave engine out.',
    ],
    ...('code' in location ? [] : [secretCheck(secretPath(location), secret, more.length)]),
  ];
  return checks.filter(([wrong]) => wrong).map(([, message, hint]) => unsuitable(`${name} ${message}`, hint));
}

/** One secret by usage: the volume it opens is then known to libvirt, too, and no other volume's key can be meant. */
function secretCheck(
  path: string,
  secret: NonNullable<DomainDisk['encryption']>['secrets'][number] | undefined,
  moreCount: number,
): [boolean, message: string, hint: string] {
  const hint = `Write <secret type="passphrase" usage="${path}"/> in its <encryption>, and nothing else.`;
  if (secret === undefined) return [true, 'has an <encryption> without a <secret>.', hint];
  if (moreCount > 0) return [true, `has ${moreCount + 1} secrets in its <encryption>.`, hint];
  if (secret.by !== 'usage')
    return [true, `names its secret by ${secret.by}, not by the usage of its volume.`, hint];
  return [secret.name !== path, `names a secret for ${quote(secret.name)}, but its volume is ${path}.`, hint];
}

function unsuitable(message: string, hint: string): Problem {
  return { code: 'DISK_UNSUITABLE', message, hint };
}
