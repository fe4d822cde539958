/**
 * Signatures by minisign (https://jedisct1.github.io/minisign/): Ed25519 over the BLAKE2b-512 of the
 * object, which is what a stream can be checked with. The legacy form signs the bytes themselves, for which
 * all of them would have to be in memory: it is refused, whatever the size, and easily signed anew.
 *
 * Everything but the content is checked before a volume is touched: the key, the trusted comment with its
 * own signature, and the file name that minisign puts there.
 */
import type { KeyObject } from 'node:crypto';
import { createPublicKey, verify } from 'node:crypto';
import { ProvisionError } from '../errors.ts';
import { quote } from '../quote.ts';

export interface MinisignKey {
  /** As minisign prints it, 16 upper-case hex digits. */
  readonly id: string;
  readonly key: KeyObject;
}

export interface MinisignSignature {
  readonly signer: MinisignKey;
  readonly signature: Uint8Array;
  readonly trustedComment: string;
}

const UNTRUSTED = 'untrusted comment: ';
const TRUSTED = 'trusted comment: ';
const ALGORITHM_BYTES = 2;
const KEY_ID_BYTES = 8;
const PUBLIC_KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;

/** The key of the object that holds the signature of `key`. */
export function signatureKey(key: string): string {
  return `${key}.minisig`;
}

/** A public key as it stands in the last line of minisign.pub, or undefined if that is none. */
export function parseMinisignKey(text: string): MinisignKey | undefined {
  const bytes = decode(text.trim(), ALGORITHM_BYTES + KEY_ID_BYTES + PUBLIC_KEY_BYTES);
  if (bytes?.toString('latin1', 0, ALGORITHM_BYTES) !== 'Ed') return undefined;
  const x = bytes.subarray(ALGORITHM_BYTES + KEY_ID_BYTES).toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  return { id: keyId(bytes), key };
}

/** Reads the text of `KEY.minisig` and checks all that can be checked without the content. */
export function readSignature(text: string, key: string, trusted: readonly MinisignKey[]): MinisignSignature {
  const [untrusted = '', first = '', comment = '', second = '', ...rest] = text.split(/\r?\n/);
  const bytes = decode(first, ALGORITHM_BYTES + KEY_ID_BYTES + SIGNATURE_BYTES);
  const global = decode(second, SIGNATURE_BYTES);
  const isWhole =
    untrusted.startsWith(UNTRUSTED) && comment.startsWith(TRUSTED) && rest.every((line) => line === '');
  if (!isWhole || bytes === undefined || global === undefined) {
    throw invalid(key, 'it is not a signature as minisign writes it', 'Sign the object again: minisign -S');
  }
  requirePrehashed(bytes, key);
  const signer = trusted.find(({ id }) => id === keyId(bytes));
  if (signer === undefined) {
    throw invalid(
      key,
      `it was made with key ${keyId(bytes)}, which this host does not trust`,
      'Sign it with a key named in integrity.minisign_keys, or have the key added there.',
    );
  }
  const signature = bytes.subarray(ALGORITHM_BYTES + KEY_ID_BYTES);
  const trustedComment = comment.slice(TRUSTED.length);
  if (!verify(null, Buffer.concat([signature, Buffer.from(trustedComment)]), signer.key, global)) {
    throw invalid(key, 'its trusted comment is not what was signed', 'Upload the signature file unchanged.');
  }
  requireName(trustedComment, key);
  return { signer, signature, trustedComment };
}

/** True if the signature is one of an object with that BLAKE2b-512, in hex. */
export function isSignatureOf(signature: MinisignSignature, blake2b512: string): boolean {
  return verify(null, Buffer.from(blake2b512, 'hex'), signature.signer.key, signature.signature);
}

function requirePrehashed(bytes: Buffer, key: string): void {
  const algorithm = bytes.toString('latin1', 0, ALGORITHM_BYTES);
  if (algorithm === 'ED') return;
  const why =
    algorithm === 'Ed'
      ? 'it is of the legacy form, which cannot be checked while an image streams'
      : `its algorithm is ${quote(algorithm)}, allowed is "ED" (prehashed Ed25519)`;
  throw invalid(key, why, 'Sign the object again with minisign 0.11 or newer, or with minisign -S -H.');
}

/**
 * minisign writes `file:NAME` into the trusted comment. An object signed under another name is refused:
 * otherwise whoever can write to the bucket puts an old or a different signed image in this one's place.
 */
function requireName(trustedComment: string, key: string): void {
  const [, signed] = /(?:^|\t)file:([^\t]*)/.exec(trustedComment) ?? [];
  const name = key.slice(key.lastIndexOf('/') + 1);
  if (signed === undefined || signed === name) return;
  throw invalid(
    key,
    `it is for a file ${quote(signed)}, not for ${quote(name)}`,
    'Sign the image under the name it has in the bucket, or write a trusted comment of your own: minisign -S -t.',
  );
}

/** minisign prints the eight bytes as a little-endian number. */
function keyId(bytes: Buffer): string {
  return bytes.readBigUInt64LE(ALGORITHM_BYTES).toString(16).toUpperCase();
}

/** Strict base64 of exactly so many bytes. */
function decode(text: string, lengthBytes: number): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === lengthBytes && bytes.toString('base64') === text ? bytes : undefined;
}

function invalid(key: string, why: string, hint: string): ProvisionError {
  return new ProvisionError({
    code: 'SIGNATURE_INVALID',
    message: `The signature in ${signatureKey(key)} is refused: ${why}.`,
    hint,
  });
}
