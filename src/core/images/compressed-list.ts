/** The compressed clusters of an image, in the order in which their bytes come by. */
import { ascendingOrder } from './ascending.ts';
import { hex, malformed, tooLarge } from './refusal.ts';

export const COMPRESSED_CLUSTERS_MAX = 2 ** 23;
const SECTOR_BYTES = 512;

export class CompressedList {
  #offsets = new Float64Array(64);
  #lengths = new Uint32Array(64);
  #guests = new Uint32Array(64);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(guest: number, offsetBytes: number, lengthBytes: number): void {
    if (this.#count === COMPRESSED_CLUSTERS_MAX) {
      throw tooLarge({
        check: 'the number of compressed clusters',
        offsetBytes,
        found: `more than ${COMPRESSED_CLUSTERS_MAX}`,
        allowed: `at most ${COMPRESSED_CLUSTERS_MAX}`,
      });
    }
    if (this.#count === this.#offsets.length) this.#grow();
    this.#offsets[this.#count] = offsetBytes;
    this.#lengths[this.#count] = lengthBytes;
    this.#guests[this.#count] = guest;
    this.#count++;
  }

  offsetOf(index: number): number {
    return this.#offsets[index] ?? Infinity;
  }

  endOf(index: number): number {
    return this.offsetOf(index) + (this.#lengths[index] ?? 0);
  }

  guestOf(index: number): number {
    return this.#guests[index] ?? 0;
  }

  /**
   * Puts the clusters in the object's order, and refuses any two that share more than one sector: "Another
   * compressed cluster may map to the tail of the final sector used by this compressed cluster", not more.
   */
  close(): void {
    const [offsets, lengths, guests] = [this.#offsets, this.#lengths, this.#guests];
    const order = ascendingOrder(offsets.subarray(0, this.#count));
    this.#offsets = new Float64Array(this.#count);
    this.#lengths = new Uint32Array(this.#count);
    this.#guests = new Uint32Array(this.#count);
    for (let at = 0; at < this.#count; at++) {
      const index = order[at] ?? 0;
      this.#offsets[at] = offsets[index] ?? 0;
      this.#lengths[at] = lengths[index] ?? 0;
      this.#guests[at] = guests[index] ?? 0;
    }
    for (let index = 1; index < this.#count; index++) {
      const lastSector = Math.floor((this.endOf(index - 1) - 1) / SECTOR_BYTES) * SECTOR_BYTES;
      const offset = this.offsetOf(index);
      if (offset > this.offsetOf(index - 1) && offset >= lastSector) continue;
      throw malformed({
        check: `compressed data of cluster ${this.guestOf(index)} of the disk`,
        offsetBytes: offset,
        found: `an overlap with that of cluster ${this.guestOf(index - 1)}, which ends at ${hex(this.endOf(index - 1))}`,
        allowed: `a begin at ${hex(lastSector)} or later`,
      });
    }
  }

  #grow(): void {
    const offsets = new Float64Array(this.#count * 2);
    const lengths = new Uint32Array(this.#count * 2);
    const guests = new Uint32Array(this.#count * 2);
    offsets.set(this.#offsets);
    lengths.set(this.#lengths);
    guests.set(this.#guests);
    this.#offsets = offsets;
    this.#lengths = lengths;
    this.#guests = guests;
  }
}
