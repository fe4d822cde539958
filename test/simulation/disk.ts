/**
 * The bytes behind one logical volume. A write is what everybody reads from then on, but only a sync makes
 * it outlast a power cut: of what was written since, a cut keeps some and loses some.
 */
import type { Random } from './random.ts';

/** lvcreate zeroes as much at the beginning; what lies behind is an earlier tenant's. */
export const HEAD_BYTES = 4096;
const TENANT = 0xa5;
/** Stands for any signature that blkid knows at an offset behind the head. */
const SIGNATURE = Buffer.from('LVM2 001');
const SIGNATURE_OFFSET_BYTES = HEAD_BYTES + 1024;
/** More than any volume of a run has. */
const ZEROS = Buffer.alloc(256 * 1024);

export class Disk {
  bytes: Buffer;
  #stable: Buffer;
  /** A 1 for each byte that was written and outlasts a power cut. */
  #kept: Buffer;
  #unsynced: { readonly offsetBytes: number; readonly bytes: Buffer }[] = [];

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes, TENANT);
    this.bytes.fill(0, 0, HEAD_BYTES);
    this.#stable = Buffer.from(this.bytes);
    this.#kept = Buffer.alloc(sizeBytes);
  }

  /** Of a thin volume, whose pool zeroes what it maps: what nobody has written reads as zeros, or as its origin's. */
  static thin(sizeBytes: number, origin: Disk | undefined): Disk {
    const disk = new Disk(sizeBytes);
    disk.bytes.fill(0);
    origin?.bytes.copy(disk.bytes);
    disk.#stable = Buffer.from(disk.bytes);
    return disk;
  }

  /** A thin volume has grown. */
  grow(sizeBytes: number): void {
    this.bytes = Buffer.concat([this.bytes], sizeBytes);
    this.#stable = Buffer.concat([this.#stable], sizeBytes);
    this.#kept = Buffer.concat([this.#kept], sizeBytes);
  }

  get isBlank(): boolean {
    const at = SIGNATURE_OFFSET_BYTES;
    const isSigned = this.bytes.subarray(at, at + SIGNATURE.length).equals(SIGNATURE);
    return !isSigned && isZeros(this.bytes.subarray(0, HEAD_BYTES));
  }

  get stable(): Buffer {
    return this.#stable;
  }

  /** Whether all bytes between were written and outlast a power cut. */
  isKept(fromBytes: number, toBytes: number): boolean {
    return !this.#kept.subarray(fromBytes, toBytes).includes(0);
  }

  /** What was written so far means nothing any more. */
  forgetKept(): void {
    this.#kept.fill(0);
  }

  write(bytes: Uint8Array, offsetBytes: number): void {
    const copy = Buffer.from(bytes);
    this.bytes.set(copy, offsetBytes);
    this.#unsynced.push({ offsetBytes, bytes: copy });
  }

  sign(): void {
    this.write(SIGNATURE, SIGNATURE_OFFSET_BYTES);
    this.sync();
  }

  sync(): void {
    for (const { offsetBytes, bytes } of this.#unsynced) this.#keep(offsetBytes, bytes);
    this.#unsynced = [];
  }

  losePower(random: Random): void {
    for (const { offsetBytes, bytes } of this.#unsynced) {
      if (random.chance(0.5)) this.#keep(offsetBytes, bytes);
    }
    this.#unsynced = [];
    this.bytes.set(this.#stable);
  }

  #keep(offsetBytes: number, bytes: Buffer): void {
    this.#stable.set(bytes, offsetBytes);
    this.#kept.fill(1, offsetBytes, offsetBytes + bytes.length);
  }
}

/** True if these are the image and then zeros to the end. */
export function isImageAndZeros(bytes: Buffer, image: Buffer): boolean {
  return bytes.subarray(0, image.length).equals(image) && isZeros(bytes.subarray(image.length));
}

function isZeros(bytes: Buffer): boolean {
  return bytes.equals(ZEROS.subarray(0, bytes.length));
}
