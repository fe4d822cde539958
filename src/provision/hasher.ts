/** SHA-256 over the bytes of a fill, in the order of the calls. */
import { createHash } from 'node:crypto';

export interface Hasher {
  /** Resolves when the bytes have been read and their memory may be used again. */
  update(bytes: Uint8Array): Promise<void>;
  /** 64 lower-case hex digits, once. */
  digest(): Promise<string>;
  close(): Promise<void>;
}

/** Hashes where it is called: right for small images, and where there is one processor. */
export class InThreadHasher implements Hasher {
  readonly #hash = createHash('sha256');

  update(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    return Promise.resolve();
  }

  digest(): Promise<string> {
    return Promise.resolve(this.#hash.digest('hex'));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
