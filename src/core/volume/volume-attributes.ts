/**
 * The attributes of `<volume>` in an annotation: what each may say, and what to tell a person otherwise.
 * The schemas in libvirt-xml/ say the same as far as their languages can; a test compares them.
 */
import { z } from 'zod';
import { parseKeyReference } from '../key/key-reference.ts';
import type { ImageReference } from '../request.ts';
import { parseSize, SIZE_REMEDY } from '../size.ts';

const SIZE_BYTES_MAX = 64 * 2 ** 40;
const SECTOR_BYTES = 512;
const KEY_BYTES_MAX = 1024;

/** A string that `mistakeIn` finds no fault with, turned into what it means. */
function checked<Value>(mistakeIn: (text: string) => string | undefined, read: (text: string) => Value) {
  return z.string().transform((text, context) => {
    const mistake = mistakeIn(text);
    if (mistake === undefined) return read(text);
    context.addIssue(mistake);
    return z.NEVER;
  });
}

function matching(pattern: RegExp, mistake: string) {
  return checked(
    (text) => (pattern.test(text) ? undefined : mistake),
    (text) => text,
  );
}

const fate = z.enum(['keep', 'delete'], { error: 'which is neither keep nor delete' });

function digest(digits: 64 | 128) {
  const pattern = digits === 64 ? /^[0-9A-Fa-f]{64}$/ : /^[0-9A-Fa-f]{128}$/;
  return matching(pattern, `which is not ${digits} hexadecimal digits`).transform((hex) => hex.toLowerCase());
}

/** Rules common to all S3 servers: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html */
function bucketMistake(bucket: string): string | undefined {
  if (!/^[a-z0-9.-]{3,63}$/.test(bucket)) {
    return 'whose bucket is not 3 to 63 lower-case letters, digits, dots and hyphens';
  }
  if (!/^[a-z0-9].*[a-z0-9]$/.test(bucket)) {
    return 'whose bucket does not begin and end with a letter or digit';
  }
  if (/\.\.|\.-|-\./.test(bucket)) return 'whose bucket has a dot next to another dot or a hyphen';
  return /^[0-9]+(\.[0-9]+){3}$/.test(bucket) ? 'whose bucket looks like an IP address' : undefined;
}

function keyMistake(key: string): string | undefined {
  if (key === '') return 'which names a bucket but no object in it';
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) return `whose key is longer than ${KEY_BYTES_MAX} bytes`;
  if (/[\p{Cc}\p{Cs}]/u.test(key)) return 'whose key has a control character in it';
  if (key.startsWith('/')) return 'whose key begins with a slash';
  const segments = key.split('/');
  if (segments.includes('')) return 'whose key has an empty part between slashes or at its end';
  return segments.includes('.') || segments.includes('..') ? 'whose key has a part "." or ".."' : undefined;
}

function splitImage(text: string): ImageReference {
  const slash = text.indexOf('/');
  return slash < 0 ? { bucket: text, key: '' } : { bucket: text.slice(0, slash), key: text.slice(slash + 1) };
}

function imageMistake(text: string): string | undefined {
  if (!text.includes('/')) return 'which has no slash between bucket and key';
  const { bucket, key } = splitImage(text);
  return bucketMistake(bucket) ?? keyMistake(key);
}

function sizeMistake(text: string): string | undefined {
  const sizeBytes = parseSize(text);
  if (sizeBytes === undefined) return 'which is not a size';
  if (sizeBytes % SECTOR_BYTES !== 0) return `which is not a multiple of ${SECTOR_BYTES} bytes`;
  return sizeBytes > SIZE_BYTES_MAX ? 'which is more than 64TiB' : undefined;
}

/** The shape of a `<volume>`: its attributes as text go in, their meaning comes out. */
export const VolumeAttributes = z.object({
  target: matching(/^(fd|hd|sd|ubd|vd|xvd)[a-z]{1,8}[0-9]{0,8}$/, 'which is no name libvirt gives to a disk'),
  image: checked(imageMistake, splitImage),
  format: z.enum(['raw', 'qcow2'], { error: 'which is neither raw nor qcow2' }),
  compression: z.enum(['gzip', 'zstd', 'xz'], { error: 'which is none of gzip, zstd, xz' }).optional(),
  sha256: digest(64).optional(),
  sha512: digest(128).optional(),
  version: matching(/^[!-~]{1,1024}$/, 'which is not the id of an object version').optional(),
  size: checked(sizeMistake, (text) => parseSize(text) ?? NaN).optional(),
  generation: matching(/^[1-9][0-9]{0,8}$/, 'which is not a whole number from 1 to 999999999')
    .transform(Number)
    .optional(),
  key: checked(
    (text) => (parseKeyReference(text) === undefined ? 'which names no key' : undefined),
    parseKeyReference,
  ).optional(),
  'on-undefine': fate.optional(),
  'after-migration': fate.optional(),
});
export type VolumeAttributes = z.infer<typeof VolumeAttributes>;

export type VolumeAttributeName = keyof VolumeAttributes;

export const VOLUME_ATTRIBUTE_NAMES = Object.keys(VolumeAttributes.shape) as VolumeAttributeName[];

export const REQUIRED_ATTRIBUTE_NAMES = ['target', 'image', 'format'] as const;

/** What to do about a wrong or missing value. */
export const ATTRIBUTE_REMEDY: Readonly<Record<VolumeAttributeName, string>> = {
  target: 'Write the <target dev> of the disk to be filled, such as target="vda".',
  image: 'Write BUCKET/KEY, such as image="images/debian-13.qcow2".',
  format: 'Write format="raw" or format="qcow2"; the format is never guessed from the image.',
  compression:
    'Write compression="gzip", "zstd" or "xz" if the whole object is compressed so, or leave the attribute out; it is never guessed.',
  sha256: 'Write the digest of the object as sha256sum prints it, or leave the attribute out.',
  sha512: 'Write the digest of the object as sha512sum prints it, or leave the attribute out.',
  version: 'Write the version id as the object store lists it, or leave the attribute out.',
  size: `${SIZE_REMEDY} A volume is at most 64TiB.`,
  generation: 'Write generation="1", and one more each time the volume is to be made again.',
  key: 'Write key="barbican:UUID" or key="file:NAME" for an encrypted disk, and leave the attribute out for any other.',
  'on-undefine':
    'Write on-undefine="delete" to have the volume deleted when its domain is undefined, or leave the attribute out.',
  'after-migration':
    'Write after-migration="delete" to have the volume deleted when its guest has moved away, or leave the attribute out.',
};
