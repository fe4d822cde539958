/**
 * Small images made by hand, each of which breaks one rule. All begin as the same good image: one cluster
 * of data, written field by field, so that a test can say which field it spoils.
 */
import { deflateRawSync } from 'node:zlib';
import type { ErrorCode } from '../../../src/core/errors.ts';

export const CLUSTER = 65_536;
/** Where the good image has its parts. */
const REFCOUNT_TABLE = 1 * CLUSTER;
const REFCOUNT_BLOCK = 2 * CLUSTER;
export const L1 = 3 * CLUSTER;
export const L2 = 4 * CLUSTER;
export const DATA = 5 * CLUSTER;
const OBJECT_BYTES = 7 * CLUSTER;
export const VIRTUAL_BYTES = 4 * CLUSTER;
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;
const SECTORS_SHIFT = 54n;

/** A good version 3 image: guest cluster 0 at DATA, guest cluster 2 at DATA + CLUSTER. */
export function goodImage(): Buffer {
  const image = Buffer.alloc(OBJECT_BYTES);
  image.writeUInt32BE(0x514649fb, 0);
  image.writeUInt32BE(3, 4);
  image.writeUInt32BE(16, 20);
  image.writeBigUInt64BE(BigInt(VIRTUAL_BYTES), 24);
  image.writeUInt32BE(1, 36);
  image.writeBigUInt64BE(BigInt(L1), 40);
  image.writeBigUInt64BE(BigInt(REFCOUNT_TABLE), 48);
  image.writeUInt32BE(1, 56);
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(112, 100);
  image.writeBigUInt64BE(BigInt(REFCOUNT_BLOCK), REFCOUNT_TABLE);
  for (let cluster = 0; cluster < 7; cluster++) image.writeUInt16BE(1, REFCOUNT_BLOCK + 2 * cluster);
  image.writeBigUInt64BE(COPIED | BigInt(L2), L1);
  image.writeBigUInt64BE(COPIED | BigInt(DATA), L2);
  image.writeBigUInt64BE(COPIED | BigInt(DATA + CLUSTER), L2 + 16);
  image.fill(0x11, DATA, DATA + CLUSTER);
  image.fill(0x22, DATA + CLUSTER, DATA + 2 * CLUSTER);
  return image;
}

/** The same with guest cluster 1 compressed, in two sectors at DATA + CLUSTER, and nothing at guest 2. */
export function compressedImage(): Buffer {
  const image = goodImage();
  image.fill(0, DATA + CLUSTER);
  const content = Buffer.from(Array.from({ length: CLUSTER }, (_, index) => (index * index) & 0x1f));
  const packed = deflateRawSync(content.fill(7, 600));
  packed.copy(image, DATA + CLUSTER);
  image.writeBigUInt64BE(compressedEntry(DATA + CLUSTER, 1), L2 + 8);
  image.writeBigUInt64BE(0n, L2 + 16);
  return image;
}

/** The good image with clusters of 128 KiB: only half of its first cluster is read with the header. */
export function wideImage(): Buffer {
  const good = goodImage();
  const image = Buffer.alloc(2 * OBJECT_BYTES);
  for (let at = 0; at < OBJECT_BYTES; at += CLUSTER) good.copy(image, 2 * at, at, at + CLUSTER);
  image.writeUInt32BE(17, 20);
  u64(image, 2 * VIRTUAL_BYTES, 24);
  u64(image, 2 * L1, 40);
  u64(image, 2 * REFCOUNT_TABLE, 48);
  u64(image, 2 * REFCOUNT_BLOCK, 2 * REFCOUNT_TABLE);
  u64(image, COPIED | BigInt(2 * L2), 2 * L1);
  u64(image, COPIED | BigInt(2 * DATA), 2 * L2);
  u64(image, COPIED | BigInt(2 * (DATA + CLUSTER)), 2 * L2 + 16);
  return image;
}

/** A header extension nobody knows, from byte 112 on, and perhaps the begin of another one behind it. */
export function withExtension(image: Buffer, lengthBytes: number, next?: number): Buffer {
  extension(image, 0x12345678, lengthBytes);
  if (next !== undefined) {
    image.writeUInt32BE(next, 120 + lengthBytes);
    image.writeUInt32BE(8, 124 + lengthBytes);
  }
  return image;
}

const SMALL_CLUSTER = 512;
const SMALL_ENTRIES = SMALL_CLUSTER / 8;
const SMALL_TABLES = 12;

/**
 * A good image of compressed clusters alone, 512 bytes each, whose L2 tables and compressed data lie in the
 * order that `shuffle` makes of them; and the disk in it.
 */
export function scatteredImage(shuffle: (numbers: number[]) => number[]): { image: Buffer; disk: Buffer } {
  const guests = SMALL_TABLES * SMALL_ENTRIES;
  const numbers = (count: number) => shuffle(Array.from({ length: count }, (_, index) => index));
  const disk = Buffer.alloc(guests * SMALL_CLUSTER);
  const head = Buffer.alloc((4 + SMALL_TABLES) * SMALL_CLUSTER);
  goodImage().copy(head, 0, 0, SMALL_CLUSTER);
  head.writeUInt32BE(9, 20);
  u64(head, disk.length, 24);
  head.writeUInt32BE(SMALL_TABLES, 36);
  u64(head, 3 * SMALL_CLUSTER, 40);
  u64(head, SMALL_CLUSTER, 48);
  u64(head, 2 * SMALL_CLUSTER, SMALL_CLUSTER);
  const tables = numbers(SMALL_TABLES).map((place) => (4 + place) * SMALL_CLUSTER);
  for (const [index, table] of tables.entries()) {
    u64(head, COPIED | BigInt(table), 3 * SMALL_CLUSTER + index * 8);
  }
  const packed: Buffer[] = [];
  let at = head.length;
  for (const guest of numbers(guests)) {
    const content = disk.subarray(guest * SMALL_CLUSTER, (guest + 1) * SMALL_CLUSTER);
    const data = deflateRawSync(content.fill(`cluster ${guest} of the disk, `));
    const table = tables[Math.floor(guest / SMALL_ENTRIES)] ?? 0;
    const sectors = Math.floor((at + data.length - 1) / 512) - Math.floor(at / 512);
    const entry = COMPRESSED | (BigInt(sectors) << 61n) | BigInt(at);
    u64(head, entry, table + (guest % SMALL_ENTRIES) * 8);
    packed.push(data);
    at += data.length;
  }
  return { image: Buffer.concat([head, ...packed]), disk };
}

export function compressedEntry(offsetBytes: number, sectors: number): bigint {
  return COMPRESSED | (BigInt(sectors) << SECTORS_SHIFT) | BigInt(offsetBytes);
}

export interface Hostile {
  readonly name: string;
  readonly code: ErrorCode;
  /** A part of the message: which check it was. */
  readonly says: string;
  readonly make: () => Buffer;
}

function spoil(change: (image: Buffer) => unknown): () => Buffer {
  return () => {
    const image = goodImage();
    change(image);
    return image;
  };
}

function extension(image: Buffer, type: number, lengthBytes: number): void {
  image.writeUInt32BE(type, 112);
  image.writeUInt32BE(lengthBytes, 116);
}

const M = 'IMAGE_MALFORMED';
const F = 'IMAGE_FORBIDDEN_FEATURE';
const u64 = (image: Buffer, value: bigint | number, at: number) => image.writeBigUInt64BE(BigInt(value), at);

function header(name: string, code: ErrorCode, says: string, change: (image: Buffer) => unknown): Hostile {
  return { name, code, says, make: spoil(change) };
}

export const HOSTILE_HEADERS: readonly Hostile[] = [
  header('no magic', M, 'magic', (i) => i.writeUInt32BE(0, 0)),
  header('version 1', M, 'version', (i) => i.writeUInt32BE(1, 4)),
  header('version 4', M, 'version', (i) => i.writeUInt32BE(4, 4)),
  header('a backing file', F, 'backing_file_offset', (i) => u64(i, 0x200, 8)),
  header('cluster_bits 8', M, 'cluster_bits', (i) => i.writeUInt32BE(8, 20)),
  header('cluster_bits 22', M, 'cluster_bits', (i) => i.writeUInt32BE(22, 20)),
  header('cluster_bits 2^32-1', M, 'cluster_bits', (i) => i.writeUInt32BE(0xffffffff, 20)),
  header('virtual size 0', M, 'virtual size', (i) => u64(i, 0, 24)),
  header('virtual size 513', M, 'virtual size', (i) => u64(i, 513, 24)),
  header('virtual size beyond the limit', 'IMAGE_TOO_LARGE', 'virtual size', (i) => u64(i, 2n ** 50n, 24)),
  header('virtual size 2^64-512', 'IMAGE_TOO_LARGE', 'virtual size', (i) => u64(i, 2n ** 64n - 512n, 24)),
  header('AES', F, 'crypt_method', (i) => i.writeUInt32BE(1, 32)),
  header('LUKS', F, 'crypt_method', (i) => i.writeUInt32BE(2, 32)),
  header('no L1 entries', M, 'l1_size', (i) => i.writeUInt32BE(0, 36)),
  header('2^32-1 L1 entries', M, 'l1_size', (i) => i.writeUInt32BE(0xffffffff, 36)),
  header('too few L1 entries', M, 'l1_size', (i) => u64(i, 2 ** 30, 24)),
  header('L1 at 0', M, 'l1_table_offset', (i) => u64(i, 0, 40)),
  header('L1 unaligned', M, 'l1_table_offset', (i) => u64(i, L1 + 512, 40)),
  header('L1 outside', M, 'l1_table_offset', (i) => u64(i, OBJECT_BYTES, 40)),
  header('L1 at 2^63', M, 'l1_table_offset', (i) => u64(i, 2n ** 63n, 40)),
  header('L1 over the refcount table', M, 'L1 table', (i) => u64(i, REFCOUNT_TABLE, 40)),
  header('refcount table at 0', M, 'refcount_table_offset', (i) => u64(i, 0, 48)),
  header('no refcount table', M, 'refcount_table_clusters', (i) => i.writeUInt32BE(0, 56)),
  header('a huge refcount table', M, 'refcount_table_clusters', (i) => i.writeUInt32BE(0xffffffff, 56)),
  header('refcount table past the end', M, 'refcount_table_offset', (i) => i.writeUInt32BE(7, 56)),
  header('a snapshot', F, 'nb_snapshots', (i) => i.writeUInt32BE(1, 60)),
  header('dirty', F, 'dirty', (i) => u64(i, 1, 72)),
  header('corrupt', F, 'corrupt', (i) => u64(i, 2, 72)),
  header('external data file', F, 'external data file', (i) => u64(i, 4, 72)),
  header('unknown bit 5', F, 'unknown feature', (i) => u64(i, 32, 72)),
  header('unknown bit 63', F, 'unknown feature', (i) => u64(i, 2n ** 63n, 72)),
  header('compression bit without a type', M, 'compression_type', (i) => u64(i, 8, 72)),
  header('compression type without its bit', M, 'compression_type', (i) => i.writeUInt8(1, 104)),
  header('compression type 2', F, 'compression_type', (i) => {
    u64(i, 8, 72);
    i.writeUInt8(2, 104);
  }),
  header('refcount_order 7', M, 'refcount_order', (i) => i.writeUInt32BE(7, 96)),
  header('header_length 96', M, 'header_length', (i) => i.writeUInt32BE(96, 100)),
  header('header_length 105', M, 'header_length', (i) => i.writeUInt32BE(105, 100)),
  header('header_length 2^31', M, 'header_length', (i) => i.writeUInt32BE(2 ** 31, 100)),
  header('a data file name alone', F, 'external data file', (i) => {
    extension(i, 0x44415441, 8);
  }),
  header('an encryption header alone', F, 'encryption', (i) => {
    extension(i, 0x0537be77, 16);
  }),
  header('a data file name behind another', F, 'external data file', (i) => {
    extension(i, 0x6803f857, 0);
    i.writeUInt32BE(0x44415441, 120);
  }),
  header('an extension past the cluster', M, 'header extension', (i) => {
    extension(i, 0x12345678, CLUSTER);
  }),
  {
    name: 'extensions past what is read with the header',
    code: M,
    says: 'the header extensions at byte 65536 is no end within the first 65536 bytes, allowed is an extension of type 0 before that.',
    // QEMU would go on, and find the name of an external data file.
    make: () => withExtension(wideImage(), CLUSTER - 120, 0x44415441),
  },
  header('extended L2 with small clusters', M, 'cluster_bits with extended', (i) => {
    u64(i, 16, 72);
    i.writeUInt32BE(13, 20);
  }),
  { name: '71 bytes', code: M, says: 'length of the object', make: () => goodImage().subarray(0, 71) },
  { name: 'nothing', code: M, says: 'length of the object', make: () => Buffer.alloc(0) },
  { name: '80 bytes of version 3', code: M, says: 'header_length', make: () => goodImage().subarray(0, 80) },
];

function entry(name: string, says: string, change: (image: Buffer) => unknown, code: ErrorCode = M): Hostile {
  return { name, code, says, make: spoil(change) };
}

function packed(
  name: string,
  says: string,
  change: (image: Buffer) => unknown,
  code: ErrorCode = M,
): Hostile {
  const make = () => {
    const image = compressedImage();
    change(image);
    return image;
  };
  return { name, code, says, make };
}

export const HOSTILE_TABLES: readonly Hostile[] = [
  entry('refcount block unaligned', 'refcount block', (i) => u64(i, REFCOUNT_BLOCK + 512, REFCOUNT_TABLE)),
  entry('refcount block reserved bits', 'refcount table', (i) => u64(i, REFCOUNT_BLOCK + 1, REFCOUNT_TABLE)),
  entry('refcount block outside', 'refcount block', (i) => u64(i, 2n ** 60n, REFCOUNT_TABLE)),
  entry('refcount block over the header', 'refcount block', (i) =>
    u64(i, REFCOUNT_BLOCK, REFCOUNT_TABLE + 8),
  ),
  entry('L1 entry reserved low bit', 'L1 entry', (i) => u64(i, COPIED | BigInt(L2 + 1), L1)),
  entry('L1 entry reserved high bit', 'L1 entry', (i) => u64(i, BigInt(L2) | (1n << 56n), L1)),
  entry('L2 table unaligned', 'L2 table', (i) => u64(i, L2 + 512, L1)),
  entry('L2 table outside', 'L2 table', (i) => u64(i, OBJECT_BYTES, L1)),
  entry('L2 table over L1', 'L2 table', (i) => u64(i, L1, L1)),
  entry('data unaligned', 'data cluster', (i) => u64(i, COPIED | BigInt(DATA + 512), L2)),
  entry('data outside', 'data cluster', (i) => u64(i, COPIED | BigInt(OBJECT_BYTES), L2)),
  entry('data at 2^55', 'data cluster', (i) => u64(i, COPIED | (1n << 55n), L2)),
  entry('data over the header', 'bit 63', (i) => u64(i, COPIED, L2)),
  entry('data over L1', 'used already by a table', (i) => u64(i, COPIED | BigInt(L1), L2)),
  entry('data over its L2 table', 'used already by a table', (i) => u64(i, COPIED | BigInt(L2), L2)),
  entry('data over a refcount block', 'used already', (i) => u64(i, COPIED | BigInt(REFCOUNT_BLOCK), L2)),
  entry('one host cluster twice', 'used already by cluster 0', (i) => u64(i, COPIED | BigInt(DATA), L2 + 16)),
  entry('a reserved cluster used twice', 'used already', (i) => u64(i, BigInt(DATA) | 1n, L2 + 16)),
  entry('reserved low bits', 'reserved bits', (i) => u64(i, COPIED | BigInt(DATA + 2), L2)),
  entry('reserved high bits', 'reserved bits', (i) => u64(i, BigInt(DATA) | (1n << 57n), L2)),
  entry('zero flag in version 2', 'reserved bits', (i) => {
    i.writeUInt32BE(2, 4);
    i.fill(0, 72, 112);
    u64(i, 1, L2 + 8);
  }),
  entry('a subcluster allocated and zero', 'both allocated and zero', (i) => {
    u64(i, 16, 72);
    u64(i, (1n << 32n) | 1n, L2 + 8);
    u64(i, 0, L2 + 16);
  }),
  entry('subclusters of no cluster', 'offset 0', (i) => {
    u64(i, 16, 72);
    u64(i, 0, L2);
    u64(i, 1, L2 + 8);
    u64(i, 0, L2 + 16);
  }),
  entry('a qcow2 image on the disk', 'magic of the disk', (i) => i.write('QFI\xfb', DATA, 'latin1'), F),
  entry(
    'a vmdk descriptor on the disk',
    'magic of the disk',
    (i) => i.write('version=1\n', DATA, 'latin1'),
    F,
  ),
  entry(
    'a vdi image on the disk',
    'magic of the disk',
    (i) => i.write('\x7f\x10\xda\xbe', DATA + 64, 'latin1'),
    F,
  ),
  entry(
    'a vhd footer in the last sector of the disk',
    'trailer of the disk',
    (i) => {
      u64(i, COPIED | BigInt(DATA + CLUSTER), L2 + 24);
      u64(i, 0, L2 + 16);
      i.write('conectix', DATA + 2 * CLUSTER - 512, 'latin1');
    },
    F,
  ),
  packed(
    'a qcow2 image on the disk, compressed',
    'magic of the disk',
    (i) => {
      i.fill(0, DATA + CLUSTER);
      const content = Buffer.alloc(CLUSTER, 3);
      content.write('QFI\xfb', 0, 'latin1');
      deflateRawSync(content).copy(i, DATA + CLUSTER);
      u64(i, compressedEntry(DATA + CLUSTER, 1), L2);
      u64(i, 0, L2 + 8);
    },
    F,
  ),
  entry(
    'a qed image in the first subcluster of the disk',
    'magic of the disk',
    (i) => {
      u64(i, 16, 72);
      u64(i, 1, L2 + 8);
      u64(i, 0, L2 + 16);
      i.write('QED\0', DATA, 'latin1');
    },
    F,
  ),
  packed('compressed with bit 63', 'bit 63', (i) =>
    u64(i, compressedEntry(DATA + CLUSTER, 1) | COPIED, L2 + 8),
  ),
  packed('compressed with data in a subcluster', 'no subcluster bits', (i) => {
    u64(i, 16, 72);
    u64(i, compressedEntry(DATA + CLUSTER, 1), L2);
    u64(i, 1n << 31n, L2 + 8);
  }),
  packed('compressed with zeros in a subcluster', 'no subcluster bits', (i) => {
    u64(i, 16, 72);
    u64(i, compressedEntry(DATA + CLUSTER, 1), L2);
    u64(i, 1n << 32n, L2 + 8);
  }),
  packed('compressed at 0', 'compressed data', (i) => u64(i, compressedEntry(0, 1), L2 + 8)),
  packed('compressed outside', 'compressed data', (i) => u64(i, compressedEntry(OBJECT_BYTES, 1), L2 + 8)),
  packed('compressed over L2', 'used already', (i) => u64(i, compressedEntry(L2 + 100, 1), L2 + 8)),
  packed('compressed over data', 'used already', (i) => u64(i, compressedEntry(DATA, 1), L2 + 8)),
  packed('data over compressed', 'used already', (i) => u64(i, COPIED | BigInt(DATA + CLUSTER), L2 + 16)),
  packed('compressed twice the same', 'overlap', (i) => u64(i, compressedEntry(DATA + CLUSTER, 1), L2 + 16)),
  packed('compressed overlapping', 'overlap', (i) =>
    u64(i, compressedEntry(DATA + CLUSTER + 10, 1), L2 + 16),
  ),
  packed(
    'compressed past the end',
    'compressed data',
    (i) => u64(i, compressedEntry(OBJECT_BYTES - 100, 4), L2 + 8),
    'IMAGE_TRUNCATED',
  ),
  {
    name: 'cut in its last data cluster',
    code: 'IMAGE_TRUNCATED',
    says: 'data cluster',
    make: () => goodImage().subarray(0, OBJECT_BYTES - 512),
  },
];
