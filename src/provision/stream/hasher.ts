/** SHA-256 over the bytes of a fill, in the order of the calls. */
import type { HashFrom, Sha256, Sha256State } from '../../core/images/resumable-sha256.ts';
import { resumableSha256 } from '../../core/images/resumable-sha256.ts';

export type { HashFrom };

export interface Hasher {
  /** Resolves when the bytes have been read and their memory may be used again. */
  update(bytes: Uint8Array): Promise<void>;
  /** The state after all updates so far, to go on with after a restart; undefined where that cannot be. */
  state(): Promise<Sha256State | undefined>;
  /** 64 lower-case hex digits, once. */
  digest(): Promise<string>;
  close(): Promise<void>;
}

/** Hashes where it is called: right for small images, and where there is one processor. */
export class InThreadHasher implements Hasher {
  readonly #hash: Sha256;

  constructor(from?: HashFrom) {
    this.#hash = resumableSha256(from);
  }

  update(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    return Promise.resolve();
  }

  state(): Promise<Sha256State | undefined> {
    return Promise.resolve(this.#hash.state());
  }

  digest(): Promise<string> {
    return Promise.resolve(this.#hash.digest());
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
