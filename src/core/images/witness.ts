/**
 * Makes sure that what was parsed is what is hashed. The metadata are read by ranges before the object is
 * streamed; a store that answers those reads differently could have us judge one image and digest another.
 * So a digest of the parsed bytes is kept and compared with the same bytes of the stream.
 */
import type { Hash } from 'node:crypto';
import { createHash } from 'node:crypto';
import { ProvisionError } from '../errors.ts';

const SHA256_BYTES = 32;
/** Small parts share a digest: 4 million tables of 512 bytes need 1 MiB of them. */
const GROUP_MIN_BYTES = 64 * 1024;
const GROUP_SPAN_MAX_BYTES = 16 * 1024 * 1024;

/** Parsed parts of the object: all of one length, in ascending order, not overlapping. */
export interface Witnessed {
  readonly offsets: Float64Array;
  readonly lengthBytes: number;
  /** A digest for each group of `partsInGroup()` parts. */
  readonly digests: Uint8Array;
}

/** Digests parts as they are parsed; each is to be given once, in ascending order. */
export class WitnessWriter {
  readonly #offsets: Float64Array;
  readonly #lengthBytes: number;
  readonly #digests: Uint8Array;
  #hash = createHash('sha256');
  #count = 0;

  constructor(offsets: Float64Array, lengthBytes: number) {
    this.#offsets = offsets;
    this.#lengthBytes = lengthBytes;
    this.#digests = new Uint8Array(Math.ceil(offsets.length / partsInGroup(lengthBytes)) * SHA256_BYTES);
  }

  add(part: Uint8Array): void {
    this.#hash.update(part);
    this.#count++;
    const perGroup = partsInGroup(this.#lengthBytes);
    if (this.#count % perGroup !== 0 && this.#count !== this.#offsets.length) return;
    const group = Math.ceil(this.#count / perGroup) - 1;
    this.#digests.set(this.#hash.digest(), group * SHA256_BYTES);
    this.#hash = createHash('sha256');
  }

  done(): Witnessed {
    return { offsets: this.#offsets, lengthBytes: this.#lengthBytes, digests: this.#digests };
  }
}

/** Follows the stream and compares the witnessed parts of it. */
export class Witness {
  readonly #parts: Witnessed;
  readonly #perGroup: number;
  #hash: Hash | undefined;
  #next = 0;

  /** Groups that begin before `fromBytes` were compared by an earlier witness (see `safeBytes`). */
  constructor(parts: Witnessed, fromBytes = 0) {
    this.#parts = parts;
    this.#perGroup = partsInGroup(parts.lengthBytes);
    while ((parts.offsets[this.#next] ?? Infinity) < fromBytes) this.#next += this.#perGroup;
  }

  /** Where another witness may go on: the begin of what has come only in part, or Infinity. */
  get safeBytes(): number {
    if (this.#hash === undefined) return Infinity;
    return this.#parts.offsets[this.#next - (this.#next % this.#perGroup)] ?? Infinity;
  }

  /** `bytes` are those of the object at `offsetBytes`; calls follow each other without a gap. */
  push(bytes: Uint8Array, offsetBytes: number): void {
    const { offsets, lengthBytes } = this.#parts;
    const endBytes = offsetBytes + bytes.length;
    for (let start = offsets[this.#next]; start !== undefined && start < endBytes;) {
      const from = Math.max(start, offsetBytes);
      const to = Math.min(start + lengthBytes, endBytes);
      this.#hash ??= createHash('sha256');
      if (to > from) this.#hash.update(bytes.subarray(from - offsetBytes, to - offsetBytes));
      if (start + lengthBytes > endBytes) return;
      this.#next++;
      if (this.#next % this.#perGroup === 0 || this.#next === offsets.length) this.#compare();
      start = offsets[this.#next];
    }
  }

  finish(): void {
    if (this.#next < this.#parts.offsets.length) throw metadataChanged();
  }

  #compare(): void {
    const at = (Math.ceil(this.#next / this.#perGroup) - 1) * SHA256_BYTES;
    const expected = this.#parts.digests.subarray(at, at + SHA256_BYTES);
    if (this.#hash !== undefined && Buffer.compare(this.#hash.digest(), expected) !== 0)
      throw metadataChanged();
    this.#hash = undefined;
  }
}

/** A single witnessed part. */
export function witnessed(offsetBytes: number, bytes: Uint8Array): Witnessed {
  const writer = new WitnessWriter(Float64Array.of(offsetBytes), bytes.length);
  writer.add(bytes);
  return writer.done();
}

/** One digest over everything that was parsed: equal for two layouts only if they came from the same metadata. */
export function fingerprintOf(parts: readonly Witnessed[]): string {
  const hash = createHash('sha256');
  for (const { offsets, lengthBytes, digests } of parts) {
    hash.update(new Uint8Array(offsets.buffer, offsets.byteOffset, offsets.byteLength));
    hash.update(`/${lengthBytes}/`).update(digests);
  }
  return hash.digest('hex');
}

/**
 * A group is compared as a whole, and a fill can be resumed only at its begin: L2 tables, which have an entry of
 * 8 bytes for each cluster, come that far apart.
 */
function partsInGroup(lengthBytes: number): number {
  const betweenBytes = (lengthBytes / 8) * lengthBytes;
  const near = Math.floor(GROUP_SPAN_MAX_BYTES / betweenBytes);
  return Math.max(1, Math.min(Math.floor(GROUP_MIN_BYTES / lengthBytes), near));
}

/** What was parsed and what was hashed must be the same bytes. */
function metadataChanged(): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_CHANGED',
    message: 'The metadata of the image were other bytes when the image was opened than when it was read.',
    hint: 'The store answered two reads of one pinned object differently: look at the store.',
  });
}
