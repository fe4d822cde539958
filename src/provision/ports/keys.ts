/** Keys of encrypted volumes, and where they are kept. */
import type { KeyReference } from '../../core/key/key-reference.ts';

/**
 * A key in memory: never a string, which could not be overwritten. Whoever has asked for one wipes it as soon as it
 * was used.
 */
export interface VolumeKey {
  readonly bytes: Buffer;
  wipe(): void;
}

/** Keys that stand on this host, each as a credential that systemd has encrypted and the root helper alone can read. */
export interface KeyFiles {
  /** KEY_NOT_FOUND if there is none of that name; KEY_UNUSABLE if it cannot be decrypted here, or cannot be a key. */
  readKey(name: string): Promise<VolumeKey>;
}

/** Where keys come from. Nothing is remembered here between two calls: whoever may not read any more is refused. */
export interface Keys {
  /**
   * The key, read with this host's own identity. KEY_DENIED, KEY_NOT_FOUND, KEY_SERVER_UNREACHABLE; KEY_UNUSABLE if what
   * is there cannot be a key (core/key/key-reference.ts); CONFIG_INVALID if this host has no such provider.
   */
  read(reference: KeyReference, signal: AbortSignal): Promise<VolumeKey>;
}
