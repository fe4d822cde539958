/**
 * Opens a qcow2 image: header, extensions, refcount table, L1 and L2 tables, each read by range, each
 * judged, and entered into a map that says for every cluster of the object what it is.
 */
import { ascendingOrder } from './ascending.ts';
import { ClusterMap } from './cluster-map.ts';
import { judgeDiskEdges } from './qcow2-edges.ts';
import type { ImageLayout, ImageLimits, ReadRange } from './layout.ts';
import { Qcow2Decoder } from './qcow2-decoder.ts';
import { checkQcow2Extensions } from './qcow2-extensions.ts';
import type { Qcow2Header } from './qcow2-header.ts';
import { readQcow2Header } from './qcow2-header.ts';
import { l2Entries, mapL2Table } from './qcow2-l2.ts';
import { readTables } from './qcow2-tables.ts';
import { malformed } from './refusal.ts';
import type { Witnessed } from './witness.ts';
import { fingerprintOf, witnessed } from './witness.ts';

/** Header and extensions: QEMU keeps them in the first cluster, and nobody has needed more than this. */
const HEAD_BYTES = 64 * 1024;

/** Bits 0 to 8 and 56 to 62 of an L1 entry, and 0 to 8 of a refcount table entry, are reserved. */
const L1_RESERVED_HIGH = 0x7f000000;
const RESERVED_LOW = 0x1ff;

export async function openQcow2(
  sizeBytes: number,
  limits: ImageLimits,
  readRange: ReadRange,
): Promise<ImageLayout> {
  const head = await readRange(0, Math.min(HEAD_BYTES, sizeBytes));
  const header = readQcow2Header(head, sizeBytes, limits);
  checkQcow2Extensions(head, header);
  const map = new ClusterMap({ ...header, objectSizeBytes: sizeBytes });
  // The first cluster may be longer than a small object that holds nothing else.
  map.claimTable('the header', 0, Math.min(header.clusterBytes, sizeBytes), 0);
  const tables = [
    witnessed(0, head),
    await mapRefcounts(header, map, readRange),
    ...(await mapL1(header, map, readRange)),
  ];
  map.compressed.close();
  tables.push(...(await judgeDiskEdges(map, header.compression, readRange)));
  return {
    format: 'qcow2',
    objectSizeBytes: sizeBytes,
    virtualSizeBytes: header.virtualSizeBytes,
    holes: (volumeSizeBytes) => map.holes(volumeSizeBytes),
    fingerprint: fingerprintOf(tables),
    decoder: (fromBytes) => new Qcow2Decoder(map, header.compression, tables, fromBytes),
  };
}

/** Refcounts are not needed to read an image; their clusters are claimed so that no data can lie there. */
async function mapRefcounts(header: Qcow2Header, map: ClusterMap, readRange: ReadRange): Promise<Witnessed> {
  const { refcountTableOffsetBytes: offsetBytes, refcountTableBytes: lengthBytes } = header;
  map.claimTable('the refcount table', offsetBytes, lengthBytes, 48);
  return readTables(readRange, Float64Array.of(offsetBytes), lengthBytes, (_, table) => {
    for (let at = 0; at < lengthBytes; at += 8) {
      const block = tableEntry(table, at, offsetBytes, 'a refcount table entry', 0);
      if (block !== 0) map.claimTable('a refcount block', block, header.clusterBytes, offsetBytes + at);
    }
  });
}

/** The L1 table, and all L2 tables it names. */
async function mapL1(header: Qcow2Header, map: ClusterMap, readRange: ReadRange): Promise<Witnessed[]> {
  const { l1OffsetBytes, l1Entries, clusterBytes } = header;
  map.claimTable('the L1 table', l1OffsetBytes, l1Entries * 8, 40);
  const perTable = l2Entries(header);
  const needed = Math.ceil(header.virtualSizeBytes / (clusterBytes * perTable));
  const places = new Float64Array(needed);
  const l1 = await readTables(readRange, Float64Array.of(l1OffsetBytes), l1Entries * 8, (_, table) => {
    for (let index = 0; index < l1Entries; index++) {
      const at = l1OffsetBytes + index * 8;
      const place = tableEntry(table, index * 8, l1OffsetBytes, 'an L1 entry', L1_RESERVED_HIGH);
      if (place === 0) continue;
      map.claimTable('an L2 table', place, clusterBytes, at);
      // Entries behind the disk's end may stay after a snapshot was deleted: owned, but nobody reads them.
      if (index < needed) places[index] = place;
    }
  });
  const order = ascendingOrder(places).filter((index) => places[index] !== 0);
  const offsets = Float64Array.from(order, (index) => places[index] ?? 0);
  const l2 = await readTables(readRange, offsets, clusterBytes, (position, table) => {
    mapL2Table(header, map, table, offsets[position] ?? 0, (order[position] ?? 0) * perTable);
  });
  return [l1, l2];
}

/** The offset in a 64-bit entry whose reserved bits are 0. */
function tableEntry(
  table: DataView,
  at: number,
  tableOffsetBytes: number,
  what: string,
  reservedHigh: number,
): number {
  const high = table.getUint32(at);
  const low = table.getUint32(at + 4);
  if ((high & reservedHigh) !== 0 || (low & RESERVED_LOW) !== 0) {
    throw malformed({
      check: what,
      offsetBytes: tableOffsetBytes + at,
      found: `0x${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')} (reserved bits set)`,
      allowed: 'reserved bits 0',
    });
  }
  return (reservedHigh === 0 ? high : high & 0x00ffffff) * 2 ** 32 + low;
}
