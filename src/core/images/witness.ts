/**
 * Makes sure that what was parsed is what is hashed. The metadata are read by ranges before the object is
 * streamed; a store that answers those reads differently could have us judge one image and digest another.
 * So a digest of the parsed bytes is kept and compared with the same bytes of the stream.
 */
import { createHash } from 'node:crypto';
import { metadataChanged } from './raw.ts';

/** Parsed parts of the object: all of one length, in ascending order, not overlapping. */
export interface Witnessed {
  readonly offsets: Float64Array;
  readonly lengthBytes: number;
  readonly sha256: string;
}

/** Follows the stream and hashes the witnessed parts of it. */
export class Witness {
  readonly #parts: Witnessed;
  readonly #hash = createHash('sha256');
  #next = 0;

  constructor(parts: Witnessed) {
    this.#parts = parts;
  }

  /** `bytes` are those of the object at `offsetBytes`; calls follow each other without a gap. */
  push(bytes: Uint8Array, offsetBytes: number): void {
    const { offsets, lengthBytes } = this.#parts;
    const endBytes = offsetBytes + bytes.length;
    for (let start = offsets[this.#next]; start !== undefined && start < endBytes;) {
      const from = Math.max(start, offsetBytes);
      const to = Math.min(start + lengthBytes, endBytes);
      if (to > from) this.#hash.update(bytes.subarray(from - offsetBytes, to - offsetBytes));
      if (start + lengthBytes > endBytes) return;
      this.#next++;
      start = offsets[this.#next];
    }
  }

  finish(): void {
    if (this.#hash.digest('hex') !== this.#parts.sha256) throw metadataChanged();
  }
}

/** A single witnessed part. */
export function witnessed(offsetBytes: number, bytes: Uint8Array): Witnessed {
  return {
    offsets: Float64Array.of(offsetBytes),
    lengthBytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}
