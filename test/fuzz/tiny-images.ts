/** Good qcow2 images of a few KiB, one of each kind, to be spoiled by the fuzzer. */
import { deflateRawSync, zstdCompressSync } from 'node:zlib';

const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;
const GUESTS = 12;

/** A good image and where its fields are, by what they mean. */
export interface TinyImage {
  readonly name: string;
  readonly bytes: Buffer;
  readonly clusterBytes: number;
  /** Places of 64-bit entries of L1, L2 and refcount tables. */
  readonly entries: readonly number[];
  /** Ranges of compressed data. */
  readonly packed: readonly (readonly [startBytes: number, endBytes: number])[];
}

interface Kind {
  readonly name: string;
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly compression?: 'zlib' | 'zstd';
  readonly extendedL2?: boolean;
}

const KINDS: readonly Kind[] = [
  { name: 'version 2', version: 2, clusterBits: 9 },
  { name: 'version 2, zlib', version: 2, clusterBits: 9, compression: 'zlib' },
  { name: 'version 3', version: 3, clusterBits: 9 },
  { name: 'version 3, zlib', version: 3, clusterBits: 9, compression: 'zlib' },
  { name: 'version 3, zstd', version: 3, clusterBits: 9, compression: 'zstd' },
  { name: 'version 3, clusters of 4 KiB', version: 3, clusterBits: 12 },
  { name: 'extended L2', version: 3, clusterBits: 14, extendedL2: true },
];

/** Clusters: header, refcount table, refcount block, L1, L2, five of data. */
function make(kind: Kind): TinyImage {
  const clusterBytes = 2 ** kind.clusterBits;
  const at = (cluster: number) => cluster * clusterBytes;
  const image = Buffer.alloc(at(10));
  const u64 = (value: bigint | number, offset: number) => image.writeBigUInt64BE(BigInt(value), offset);
  writeHeader(image, kind, clusterBytes);
  u64(at(2), at(1));
  for (let cluster = 0; cluster < 10; cluster++) image.writeUInt16BE(1, at(2) + 2 * cluster);
  u64(COPIED | BigInt(at(4)), at(3));
  const entryBytes = kind.extendedL2 === true ? 16 : 8;
  const entry = (guest: number) => at(4) + guest * entryBytes;
  // Not in order, with holes between; the disk's last cluster is one of them.
  for (const [guest, cluster] of [
    [0, 7],
    [3, 5],
    [4, 6],
    [GUESTS - 1, 8],
  ] as const) {
    u64(COPIED | BigInt(at(cluster)), entry(guest));
    if (kind.extendedL2 === true) u64(guest === 4 ? 0x0000_ff00_0000_00ffn : 0xffff_ffffn, entry(guest) + 8);
    image.fill(guest + 1, at(cluster), at(cluster + 1));
  }
  const packed: (readonly [number, number])[] = [];
  if (kind.compression !== undefined) {
    let place = at(9);
    for (const guest of [1, 6]) {
      const content = Buffer.alloc(clusterBytes, guest).fill('text', 0, 100);
      const data = kind.compression === 'zlib' ? deflateRawSync(content) : zstdCompressSync(content);
      data.copy(image, place);
      u64(COMPRESSED | BigInt(place), entry(guest));
      packed.push([place, place + data.length]);
      place += data.length;
    }
  }
  const guests = Array.from({ length: GUESTS }, (_, guest) => entry(guest));
  const bitmaps = kind.extendedL2 === true ? guests.map((place) => place + 8) : [];
  const entries = [at(1), at(1) + 8, at(3), at(3) + 8, ...guests, ...bitmaps];
  return { name: kind.name, bytes: image, clusterBytes, entries, packed };
}

function writeHeader(image: Buffer, kind: Kind, clusterBytes: number): void {
  image.writeUInt32BE(0x514649fb, 0);
  image.writeUInt32BE(kind.version, 4);
  image.writeUInt32BE(kind.clusterBits, 20);
  image.writeBigUInt64BE(BigInt(GUESTS * clusterBytes), 24);
  image.writeUInt32BE(2, 36);
  image.writeBigUInt64BE(BigInt(3 * clusterBytes), 40);
  image.writeBigUInt64BE(BigInt(clusterBytes), 48);
  image.writeUInt32BE(1, 56);
  if (kind.version === 2) return;
  const isZstd = kind.compression === 'zstd';
  image.writeUInt32BE((isZstd ? 8 : 0) + (kind.extendedL2 === true ? 16 : 0), 76);
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(112, 100);
  image.writeUInt8(isZstd ? 1 : 0, 104);
  // A header extension nobody knows, and the end of the list.
  image.writeUInt32BE(0x12345678, 112);
  image.writeUInt32BE(5, 116);
}

export const TINY_IMAGES: readonly TinyImage[] = KINDS.map(make);
