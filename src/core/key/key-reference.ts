/**
 * Which key opens an encrypted volume, as an annotation names it: `barbican:UUID`, a secret of a key server, or
 * `file:NAME`, a credential that systemd has encrypted for this host. The reference is no secret; what it names is.
 */
import { UUID_PATTERN } from '../uuid.ts';

export const KEY_PROVIDERS = ['barbican', 'file'] as const;
export type KeyProviderName = (typeof KEY_PROVIDERS)[number];

export interface KeyReference {
  readonly provider: KeyProviderName;
  /** The UUID of a Barbican secret, lower case; or the name of a file, see KEY_FILE_PATTERN. */
  readonly id: string;
}

/** Such a name is a file's name as it is, and cannot lead out of its folder. */
export const KEY_FILE_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * What a key must be: visible ASCII, for QEMU takes it as a passphrase that ends at the first NUL byte, and so that none
 * of those who pass it on can change it. 32 characters of base64 are 192 bits.
 * Source: QEMU, crypto/block-luks.c, which hashes strlen() bytes of UTF-8.
 */
export const KEY_BYTES_MIN = 32;
export const KEY_BYTES_MAX = 512;

/** Reads a reference as it stands in an annotation or on a command line; undefined if it is none. */
export function parseKeyReference(text: string): KeyReference | undefined {
  const colon = text.indexOf(':');
  const provider = KEY_PROVIDERS.find((name) => name === text.slice(0, colon));
  const id = text.slice(colon + 1);
  switch (provider) {
    case undefined:
      return undefined;
    case 'barbican':
      return UUID_PATTERN.test(id.toLowerCase()) ? { provider, id: id.toLowerCase() } : undefined;
    case 'file':
      return KEY_FILE_PATTERN.test(id) ? { provider, id } : undefined;
  }
}

/** As it stands in an annotation. */
export function formatKeyReference({ provider, id }: KeyReference): string {
  return `${provider}:${id}`;
}

/** Whether bytes can be a key at all. Does not say anything of them that could be written down. */
export function isKeyShaped(bytes: Uint8Array): boolean {
  if (bytes.length < KEY_BYTES_MIN || bytes.length > KEY_BYTES_MAX) return false;
  return bytes.every((byte) => byte > 0x20 && byte < 0x7f);
}
