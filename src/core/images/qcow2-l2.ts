/**
 * One L2 table: what each entry says about one cluster of the disk (docs/interop/qcow2.rst, "Cluster
 * mapping" and "Extended L2 Entries"). Reserved bits must be 0: an entry that QEMU and this reader might
 * understand differently is refused.
 */
import type { ClusterMap } from './cluster-map.ts';
import { ALL } from './cluster-map.ts';
import type { Qcow2Header } from './qcow2-header.ts';
import { malformed } from './refusal.ts';

const COPIED_HIGH = 0x80000000;
const COMPRESSED_HIGH = 0x40000000;
/** Bits 56 to 61 of a standard descriptor. */
const RESERVED_HIGH = 0x3f000000;
/** Bits 1 to 8. */
const RESERVED_LOW = 0x1fe;
const ZERO_LOW = 0x1;
const SECTOR_BYTES = 512;

/** Entries in one L2 table. */
export function l2Entries(header: Qcow2Header): number {
  return header.clusterBytes / (header.extendedL2 ? 16 : 8);
}

/** Enters the table at `tableOffsetBytes`, whose first entry is the disk's cluster `firstGuest`, in the map. */
export function mapL2Table(
  header: Qcow2Header,
  map: ClusterMap,
  table: DataView,
  tableOffsetBytes: number,
  firstGuest: number,
): void {
  const entryBytes = header.extendedL2 ? 16 : 8;
  const guests = Math.ceil(header.virtualSizeBytes / header.clusterBytes);
  const count = Math.min(l2Entries(header), guests - firstGuest);
  for (let index = 0; index < count; index++) {
    const at = index * entryBytes;
    const high = table.getUint32(at);
    const low = table.getUint32(at + 4);
    const allocated = header.extendedL2 ? table.getUint32(at + 12) : ALL;
    const zero = header.extendedL2 ? table.getUint32(at + 8) : 0;
    const entry = { high, low, allocated, zero, guest: firstGuest + index, at: tableOffsetBytes + at };
    // Most tables are mostly empty.
    if (high === 0 && low === 0 && (!header.extendedL2 || allocated === 0)) continue;
    if ((high & COMPRESSED_HIGH) !== 0) mapCompressed(header, map, entry);
    else mapStandard(header, map, entry);
  }
}

interface L2Entry {
  readonly high: number;
  readonly low: number;
  /** Subclusters that have data, or ALL. */
  readonly allocated: number;
  /** Subclusters that read as zeros. */
  readonly zero: number;
  readonly guest: number;
  readonly at: number;
}

function mapStandard(header: Qcow2Header, map: ClusterMap, entry: L2Entry): void {
  const { high, low, allocated } = entry;
  const zeroFlag = (low & ZERO_LOW) !== 0;
  const zeroFlagAllowed = header.version === 3 && !header.extendedL2;
  if ((high & RESERVED_HIGH) !== 0 || (low & RESERVED_LOW) !== 0 || (zeroFlag && !zeroFlagAllowed)) {
    throw refuse(entry, 'reserved bits set', 'reserved bits 0');
  }
  if (header.extendedL2 && (allocated & entry.zero) !== 0) {
    throw refuse(entry, 'a subcluster both allocated and zero', 'one of both');
  }
  const offsetBytes = (high & 0x00ffffff) * 2 ** 32 + ((low & ~0x1ff) >>> 0);
  if (offsetBytes === 0) {
    // "The offset may only be 0 with bit 63 set […] when an external data file is used."
    if ((high & COPIED_HIGH) !== 0) throw refuse(entry, 'offset 0 with bit 63', 'an offset');
    if (header.extendedL2 && allocated !== 0) throw refuse(entry, 'subclusters at offset 0', 'an offset');
    return;
  }
  if (zeroFlag || allocated === 0) map.claimReserved(offsetBytes, entry.at);
  else map.claimData(entry.guest, offsetBytes, allocated, entry.at);
}

function mapCompressed(header: Qcow2Header, map: ClusterMap, entry: L2Entry): void {
  const { high, low } = entry;
  if ((high & COPIED_HIGH) !== 0) throw refuse(entry, 'a compressed cluster with bit 63', 'bit 63 clear');
  if (header.extendedL2 && (entry.allocated !== 0 || entry.zero !== 0)) {
    throw refuse(entry, 'a compressed cluster with subclusters', 'no subcluster bits');
  }
  // x = 62 - (cluster_bits - 8): below it the offset, above it the number of additional sectors.
  const split = 70 - header.clusterBits - 32;
  const offsetBytes = (high & (2 ** split - 1)) * 2 ** 32 + low;
  const sectors = (high & 0x3fffffff) >>> split;
  const endBytes = (Math.floor(offsetBytes / SECTOR_BYTES) + sectors + 1) * SECTOR_BYTES;
  map.claimCompressed(entry.guest, offsetBytes, endBytes, entry.at);
}

function refuse(entry: L2Entry, found: string, allowed: string): Error {
  const value = `0x${entry.high.toString(16).padStart(8, '0')}${entry.low.toString(16).padStart(8, '0')}`;
  return malformed({
    check: `the L2 entry of cluster ${entry.guest} of the disk`,
    offsetBytes: entry.at,
    found: `${value} (${found})`,
    allowed,
  });
}
