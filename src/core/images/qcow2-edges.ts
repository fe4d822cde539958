/**
 * Looks at the disk inside a qcow2 image as QEMU would look at the finished volume: its first bytes and its
 * last sector must not be those of an image format. They are read before anything is written.
 */
import type { ClusterMap } from './cluster-map.ts';
import { decompressCluster } from './compressed-cluster.ts';
import type { EdgeCluster } from './disk-edges.ts';
import { DISK_INSIDE, PROBE_BYTES, refuseForeignMagic, TRAILER_BYTES } from './foreign-magic.ts';
import type { Compression, ReadRange } from './layout.ts';
import type { Witnessed } from './witness.ts';
import { witnessed } from './witness.ts';

/** Answers with what was read, for the witness. */
export async function judgeDiskEdges(
  map: ClusterMap,
  compression: Compression,
  readRange: ReadRange,
): Promise<Witnessed[]> {
  const { clusterBytes, virtualSizeBytes } = map.shape;
  const head = new Uint8Array(Math.min(PROBE_BYTES, virtualSizeBytes));
  const tail = new Uint8Array(TRAILER_BYTES);
  const tailOffsetBytes = virtualSizeBytes - TRAILER_BYTES;
  const read: Witnessed[] = [];
  for (const cluster of map.edges.clusters) {
    const bytes = await readStored(map, cluster, readRange);
    read.push(witnessed(cluster.offsetBytes, bytes));
    const content = await contentOf(map, compression, cluster, bytes);
    const diskBytes = cluster.guest * clusterBytes;
    copyOverlap(content, diskBytes, head, 0);
    copyOverlap(content, diskBytes, tail, tailOffsetBytes);
  }
  refuseForeignMagic(head, tail, tailOffsetBytes, DISK_INSIDE);
  return read;
}

/** The cluster's bytes in the object, as far as the object goes. */
function readStored(map: ClusterMap, cluster: EdgeCluster, readRange: ReadRange): Promise<Uint8Array> {
  const { objectSizeBytes } = map.shape;
  const lengthBytes = Math.min(cluster.lengthBytes, objectSizeBytes - cluster.offsetBytes);
  return readRange(cluster.offsetBytes, lengthBytes);
}

async function contentOf(
  map: ClusterMap,
  compression: Compression,
  cluster: EdgeCluster,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const { clusterBytes } = map.shape;
  if (cluster.kind === 'compressed') {
    const whole = { kind: 'compressed', lengthBytes: clusterBytes, clusterBytes, compression } as const;
    const offsetBytes = cluster.guest * clusterBytes;
    return decompressCluster({ ...whole, offsetBytes, objectOffsetBytes: cluster.offsetBytes, bytes });
  }
  const { unitBytes } = map;
  const content = bytes.slice();
  for (let sub = 0; sub * unitBytes < clusterBytes; sub++) {
    if (((cluster.mask >>> sub) & 1) === 0) content.fill(0, sub * unitBytes, (sub + 1) * unitBytes);
  }
  return content;
}

/** Copies that part of `from`, which stands at `fromBytes` of the disk, that `to` at `toBytes` wants. */
function copyOverlap(from: Uint8Array, fromBytes: number, to: Uint8Array, toBytes: number): void {
  const startBytes = Math.max(fromBytes, toBytes);
  const endBytes = Math.min(fromBytes + from.length, toBytes + to.length);
  if (endBytes <= startBytes) return;
  to.set(from.subarray(startBytes - fromBytes, endBytes - fromBytes), startBytes - toBytes);
}
