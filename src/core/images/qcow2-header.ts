/**
 * The header of a qcow2 image, versions 2 and 3: docs/interop/qcow2.rst of QEMU, section "Header". Every
 * feature that would make QEMU open another file, trust a damaged table or need a key is refused here.
 */
import type { Compression, ImageLimits } from './layout.ts';
import { forbidden, hex, malformed, tooLarge } from './refusal.ts';

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly virtualSizeBytes: number;
  readonly l1Entries: number;
  readonly l1OffsetBytes: number;
  readonly refcountTableOffsetBytes: number;
  readonly refcountTableBytes: number;
  readonly headerBytes: number;
  readonly compression: Compression;
  readonly extendedL2: boolean;
}

const MAGIC = 0x514649fb;
const HEADER_BYTES_V2 = 72;
const HEADER_BYTES_V3_MIN = 104;
/** QEMU counts a disk in sectors of 512 bytes and would drop a rest of one. */
const SECTOR_BYTES = 512;
/** QEMU's own limits (block/qcow2.h: QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE). */
const L1_MAX_BYTES = 32 * 1024 * 1024;
const REFCOUNT_TABLE_MAX_BYTES = 8 * 1024 * 1024;

const DIRTY = 0x1;
const CORRUPT = 0x2;
const EXTERNAL_DATA = 0x4;
const COMPRESSION_TYPE = 0x8;
const EXTENDED_L2 = 0x10;
const KNOWN_BITS = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

/** A 64-bit number; beyond 2^53 it loses low bits, but every limit here lies far below. */
function u64(view: DataView, offset: number): number {
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4);
}

/** Parses and judges the header in the first bytes of an object of `objectSizeBytes`. */
export function readQcow2Header(head: Uint8Array, objectSizeBytes: number, limits: ImageLimits): Qcow2Header {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < HEADER_BYTES_V2) {
    throw malformed({
      check: 'the length of the object',
      offsetBytes: 0,
      found: `${head.length} bytes`,
      allowed: `at least ${HEADER_BYTES_V2} for a qcow2 header`,
    });
  }
  const version = readVersion(view);
  refuseOtherFiles(view);
  const clusterBits = readClusterBits(view);
  const virtualSizeBytes = readVirtualSize(view, limits);
  const headerBytes = readHeaderLength(view, version, clusterBits);
  const features = readFeatures(view, version, headerBytes, clusterBits);
  return {
    version,
    clusterBits,
    clusterBytes: 2 ** clusterBits,
    virtualSizeBytes,
    headerBytes,
    ...features,
    ...readL1(view, clusterBits, virtualSizeBytes, features.extendedL2, objectSizeBytes),
    ...readRefcountTable(view, clusterBits, objectSizeBytes),
  };
}

function readVersion(view: DataView): 2 | 3 {
  const magic = view.getUint32(0);
  if (magic !== MAGIC) {
    throw malformed({
      check: 'the magic',
      offsetBytes: 0,
      found: hex(magic),
      allowed: `${hex(MAGIC)} (QFI\\xfb) for format="qcow2"`,
      hint: 'If the object is a raw image, say format="raw" in the annotation; otherwise convert it before the upload.',
    });
  }
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) {
    throw malformed({ check: 'version', offsetBytes: 4, found: version, allowed: '2 or 3' });
  }
  return version;
}

/** A backing file, a key or a snapshot: content that is not, or not only, in this object. */
function refuseOtherFiles(view: DataView): void {
  const backing = u64(view, 8);
  if (backing !== 0) {
    throw forbidden({ check: 'backing_file_offset', offsetBytes: 8, found: hex(backing), allowed: 0 });
  }
  const crypt = view.getUint32(32);
  if (crypt !== 0) {
    throw forbidden({ check: 'crypt_method', offsetBytes: 32, found: crypt, allowed: '0 (no encryption)' });
  }
  const snapshots = view.getUint32(60);
  if (snapshots !== 0) {
    throw forbidden({ check: 'nb_snapshots', offsetBytes: 60, found: snapshots, allowed: 0 });
  }
}

function readClusterBits(view: DataView): number {
  const bits = view.getUint32(20);
  if (bits < 9 || bits > 21) {
    throw malformed({ check: 'cluster_bits', offsetBytes: 20, found: bits, allowed: '9 to 21' });
  }
  return bits;
}

function readVirtualSize(view: DataView, limits: ImageLimits): number {
  const sizeBytes = u64(view, 24);
  if (sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw malformed({
      check: 'the virtual size',
      offsetBytes: 24,
      found: `${sizeBytes} bytes`,
      allowed: `a multiple of ${SECTOR_BYTES}, not 0`,
    });
  }
  if (sizeBytes > limits.virtualSizeMaxBytes) {
    throw tooLarge({
      check: 'the virtual size',
      offsetBytes: 24,
      found: `${sizeBytes} bytes`,
      allowed: `at most ${limits.virtualSizeMaxBytes} bytes`,
    });
  }
  return sizeBytes;
}

function readHeaderLength(view: DataView, version: 2 | 3, clusterBits: number): number {
  if (version === 2) return HEADER_BYTES_V2;
  const headerBytes = view.byteLength < HEADER_BYTES_V3_MIN ? 0 : view.getUint32(100);
  const maxBytes = Math.min(view.byteLength, 2 ** clusterBits);
  if (headerBytes < HEADER_BYTES_V3_MIN || headerBytes % 8 !== 0 || headerBytes > maxBytes) {
    throw malformed({
      check: 'header_length',
      offsetBytes: 100,
      found: headerBytes,
      allowed: `a multiple of 8 from ${HEADER_BYTES_V3_MIN} to ${maxBytes}`,
    });
  }
  return headerBytes;
}

function readFeatures(
  view: DataView,
  version: 2 | 3,
  headerBytes: number,
  clusterBits: number,
): Pick<Qcow2Header, 'compression' | 'extendedL2'> {
  if (version === 2) return { compression: 'zlib', extendedL2: false };
  const low = view.getUint32(76);
  refuseIncompatible(view.getUint32(72), low);
  const refcountOrder = view.getUint32(96);
  if (refcountOrder > 6) {
    throw malformed({ check: 'refcount_order', offsetBytes: 96, found: refcountOrder, allowed: '0 to 6' });
  }
  const type = headerBytes > HEADER_BYTES_V3_MIN ? view.getUint8(104) : 0;
  const expected = (low & COMPRESSION_TYPE) === 0 ? 0 : 1;
  if (type !== expected) {
    const finding = { check: 'compression_type', offsetBytes: 104, found: type };
    if (expected === 1 && type > 1) throw forbidden({ ...finding, allowed: '0 (zlib) or 1 (zstd)' });
    throw malformed({ ...finding, allowed: `${expected}, as incompatible feature bit 3 says` });
  }
  const extendedL2 = (low & EXTENDED_L2) !== 0;
  if (extendedL2 && clusterBits < 14) {
    throw malformed({
      check: 'cluster_bits with extended L2 entries',
      offsetBytes: 20,
      found: clusterBits,
      allowed: '14 to 21',
    });
  }
  return { compression: type === 1 ? 'zstd' : 'zlib', extendedL2 };
}

function refuseIncompatible(high: number, low: number): void {
  const at = { check: 'incompatible_features', offsetBytes: 72 };
  const repair = 'Repair it with "qemu-img check -r all" where it was made, and upload it again.';
  if ((low & EXTERNAL_DATA) !== 0) {
    throw forbidden({ ...at, found: 'bit 2 (external data file)', allowed: 'bits 3 and 4' });
  }
  if (high !== 0 || (low & ~KNOWN_BITS) !== 0) {
    const found = `${hex(high * 2 ** 32 + low)} (an unknown feature)`;
    throw forbidden({ ...at, found, allowed: 'bits 3 and 4' });
  }
  if ((low & CORRUPT) !== 0) {
    throw forbidden({ ...at, found: 'bit 1 (marked corrupt)', allowed: 'bits 3 and 4', hint: repair });
  }
  if ((low & DIRTY) !== 0) {
    throw forbidden({ ...at, found: 'bit 0 (marked dirty)', allowed: 'bits 3 and 4', hint: repair });
  }
}

function readL1(
  view: DataView,
  clusterBits: number,
  virtualSizeBytes: number,
  extendedL2: boolean,
  objectSizeBytes: number,
): Pick<Qcow2Header, 'l1Entries' | 'l1OffsetBytes'> {
  const l1Entries = view.getUint32(36);
  const bytesPerEntry = 2 ** (2 * clusterBits - (extendedL2 ? 4 : 3));
  const needed = Math.ceil(virtualSizeBytes / bytesPerEntry);
  if (l1Entries < needed || l1Entries * 8 > L1_MAX_BYTES) {
    throw malformed({
      check: 'l1_size',
      offsetBytes: 36,
      found: l1Entries,
      allowed: `${needed} (the virtual size) to ${L1_MAX_BYTES / 8}`,
    });
  }
  const l1OffsetBytes = u64(view, 40);
  checkTable('l1_table_offset', 40, l1OffsetBytes, l1Entries * 8, clusterBits, objectSizeBytes);
  return { l1Entries, l1OffsetBytes };
}

function readRefcountTable(
  view: DataView,
  clusterBits: number,
  objectSizeBytes: number,
): Pick<Qcow2Header, 'refcountTableOffsetBytes' | 'refcountTableBytes'> {
  const refcountTableOffsetBytes = u64(view, 48);
  const refcountTableBytes = view.getUint32(56) * 2 ** clusterBits;
  if (refcountTableBytes === 0 || refcountTableBytes > REFCOUNT_TABLE_MAX_BYTES) {
    throw malformed({
      check: 'refcount_table_clusters',
      offsetBytes: 56,
      found: view.getUint32(56),
      allowed: `1 to ${REFCOUNT_TABLE_MAX_BYTES / 2 ** clusterBits}`,
    });
  }
  const offset = refcountTableOffsetBytes;
  checkTable('refcount_table_offset', 48, offset, refcountTableBytes, clusterBits, objectSizeBytes);
  return { refcountTableOffsetBytes, refcountTableBytes };
}

function checkTable(
  check: string,
  offsetBytes: number,
  found: number,
  lengthBytes: number,
  clusterBits: number,
  objectSizeBytes: number,
): void {
  if (found % 2 ** clusterBits === 0 && found !== 0 && found + lengthBytes <= objectSizeBytes) return;
  throw malformed({
    check,
    offsetBytes,
    found: hex(found),
    allowed: `a multiple of ${2 ** clusterBits}, not 0, with ${lengthBytes} bytes inside the object of ${objectSizeBytes}`,
  });
}
