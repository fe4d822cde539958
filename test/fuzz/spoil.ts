/** Spoils an image in a few places: fields, table entries and compressed data, rather than zeros. */
import type { TinyImage } from './tiny-images.ts';

type Random = () => number;

/** Offset and length of the fields of a header, up to the first extension's. */
const FIELDS: readonly (readonly [offsetBytes: number, lengthBytes: 1 | 4 | 8])[] = [
  ...([8, 24, 40, 48, 64, 72, 80, 88] as const).map((at) => [at, 8] as const),
  ...([0, 4, 16, 20, 32, 36, 56, 60, 96, 100, 112, 116, 128, 132] as const).map((at) => [at, 4] as const),
  [104, 1],
  [105, 1],
];
const CHANGES_MAX = 4;

/** A spoiled copy, in `memory` if it fits; the same for the same random numbers. */
export function spoil(image: TinyImage, random: Random, memory: Buffer): Buffer {
  const pick = (count: number) => Math.floor(random() * count);
  const copy = memory.subarray(0, image.bytes.length);
  copy.set(image.bytes);
  for (let changes = 1 + pick(CHANGES_MAX); changes > 0; changes--) {
    const kind = random();
    if (kind < 0.3) spoilField(copy, random);
    else if (kind < 0.85) spoilEntry(image, copy, random);
    else spoilByte(image, copy, random);
  }
  return random() < 0.97 ? copy : copy.subarray(0, pick(copy.length));
}

function spoilField(image: Buffer, random: Random): void {
  const [at, lengthBytes] = FIELDS[Math.floor(random() * FIELDS.length)] ?? [0, 4];
  if (lengthBytes === 8) return void image.writeBigUInt64BE(number(random, image.length), at);
  const value = Number(number(random, image.length) & 0xffff_ffffn);
  if (lengthBytes === 4) image.writeUInt32BE(value, at);
  else image.writeUInt8(value & 0xff, at);
}

function spoilEntry(tiny: TinyImage, image: Buffer, random: Random): void {
  const { entries, clusterBytes } = tiny;
  const at = entries[Math.floor(random() * entries.length)] ?? 0;
  const kind = random();
  if (kind < 0.2) {
    const bit = BigInt(Math.floor(random() * 64));
    image.writeBigUInt64BE(image.readBigUInt64BE(at) ^ (1n << bit), at);
  } else if (kind < 0.4) {
    const other = entries[Math.floor(random() * entries.length)] ?? 0;
    image.writeBigUInt64BE(image.readBigUInt64BE(other), at);
  } else if (kind < 0.55) {
    image.writeBigUInt64BE(0n, at);
  } else if (kind < 0.9) {
    const cluster = BigInt(Math.floor(random() * 12) * clusterBytes);
    const flags = [0n, 1n, 1n << 63n, 1n << 62n, (1n << 63n) | 1n][Math.floor(random() * 5)] ?? 0n;
    image.writeBigUInt64BE(cluster | flags, at);
  } else {
    image.writeBigUInt64BE(number(random, image.length), at);
  }
}

function spoilByte(tiny: TinyImage, image: Buffer, random: Random): void {
  const [start, end] = tiny.packed[Math.floor(random() * tiny.packed.length)] ?? [0, image.length];
  const at = start + Math.floor(random() * (end - start));
  image.writeUInt8(random() < 0.5 ? Math.floor(random() * 256) : image.readUInt8(at) ^ 1, at);
}

/** Numbers at which things tend to break. */
function number(random: Random, lengthBytes: number): bigint {
  const kind = random();
  const near = BigInt(Math.floor(random() * 5)) - 2n;
  if (kind < 0.3) return BigInt.asUintN(64, near);
  if (kind < 0.6) return BigInt.asUintN(64, (1n << BigInt(Math.floor(random() * 64))) + near);
  if (kind < 0.8)
    return BigInt.asUintN(64, BigInt(Math.floor((random() * 2 * lengthBytes) / 512) * 512) + near);
  return BigInt.asUintN(64, BigInt(Math.floor(random() * 2 ** 53)) * BigInt(Math.floor(random() * 2 ** 11)));
}
