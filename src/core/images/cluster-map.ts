/**
 * Who owns which cluster of the object (host side), and which parts of the disk have data (guest side).
 * Every host cluster has at most one owner: a table, one cluster of the disk, or compressed data. So no
 * table can be smuggled into the disk, and no byte of the object is written twice.
 *
 * Memory: 4 bytes for each host cluster (8 with subclusters), 1 bit for each unit of the disk, 16 bytes for
 * each compressed cluster. A 100 GiB object of 64 KiB clusters needs 6.4 MiB; the limits below allow
 * 128 MiB (256 with subclusters), 32 MiB and 128 MiB.
 */
import { CompressedList } from './compressed-list.ts';
import { DiskEdges } from './disk-edges.ts';
import type { ByteRange } from './layout.ts';
import { hex, malformed, tooLarge, truncated } from './refusal.ts';

const HOST_CLUSTERS_MAX = 2 ** 25;
const UNITS_MAX = 2 ** 28;

const FREE = 0;
const TABLE = 1;
const COMPRESSED = 2;
const RESERVED = 3;
const FIRST_GUEST = 4;

/** All subclusters of a cluster, or the cluster itself where there are none. */
export const ALL = 0xffffffff;
const SUBCLUSTERS = 32;

export interface MapShape {
  readonly clusterBytes: number;
  readonly virtualSizeBytes: number;
  readonly objectSizeBytes: number;
  readonly extendedL2: boolean;
}

export class ClusterMap {
  readonly shape: MapShape;
  /** The smallest part of the disk that can have data of its own: a cluster, or a subcluster. */
  readonly unitBytes: number;
  readonly compressed = new CompressedList();
  readonly edges: DiskEdges;
  readonly #owners: Uint32Array;
  readonly #masks: Uint32Array | undefined;
  readonly #units: Uint8Array;
  readonly #unitCount: number;

  constructor(shape: MapShape) {
    this.shape = shape;
    this.unitBytes = shape.extendedL2 ? shape.clusterBytes / SUBCLUSTERS : shape.clusterBytes;
    const hostClusters = Math.ceil(shape.objectSizeBytes / shape.clusterBytes);
    this.#unitCount = Math.ceil(shape.virtualSizeBytes / this.unitBytes);
    checkCount('the number of clusters in the object', hostClusters, HOST_CLUSTERS_MAX);
    checkCount('the number of clusters of the disk', this.#unitCount, UNITS_MAX);
    this.edges = new DiskEdges(shape.clusterBytes, shape.virtualSizeBytes);
    this.#owners = new Uint32Array(hostClusters);
    this.#masks = shape.extendedL2 ? new Uint32Array(hostClusters) : undefined;
    this.#units = new Uint8Array(Math.ceil(this.#unitCount / 8));
  }

  /** A table of the image; `entryOffsetBytes` is where it is named. */
  claimTable(what: string, offsetBytes: number, lengthBytes: number, entryOffsetBytes: number): void {
    this.#checkPlace(what, offsetBytes, entryOffsetBytes);
    if (offsetBytes + lengthBytes > this.shape.objectSizeBytes) {
      throw this.#outside(what, offsetBytes, entryOffsetBytes);
    }
    const first = offsetBytes / this.shape.clusterBytes;
    const end = Math.ceil((offsetBytes + lengthBytes) / this.shape.clusterBytes);
    for (let cluster = first; cluster < end; cluster++) this.#own(what, cluster, TABLE, entryOffsetBytes);
  }

  /** Preallocated space of a cluster that reads as zeros: owned, never read. */
  claimReserved(offsetBytes: number, entryOffsetBytes: number): void {
    this.#checkPlace('a preallocated cluster', offsetBytes, entryOffsetBytes);
    const cluster = offsetBytes / this.shape.clusterBytes;
    this.#own('a preallocated cluster', cluster, RESERVED, entryOffsetBytes);
  }

  /** A cluster of the disk, or those subclusters of it whose bits are set in `mask` (not 0). */
  claimData(guest: number, offsetBytes: number, mask: number, entryOffsetBytes: number): void {
    const { clusterBytes, virtualSizeBytes, objectSizeBytes } = this.shape;
    this.#checkPlace('a data cluster', offsetBytes, entryOffsetBytes);
    const lastBytes = this.#masks === undefined ? clusterBytes : (32 - Math.clz32(mask)) * this.unitBytes;
    // An image may end inside its last cluster, where the disk has ended already.
    const neededBytes = Math.min(lastBytes, virtualSizeBytes - guest * clusterBytes);
    if (offsetBytes + neededBytes > objectSizeBytes) {
      throw truncated({
        check: 'the data cluster named',
        offsetBytes: entryOffsetBytes,
        found: `${hex(offsetBytes)} with ${neededBytes} bytes`,
        allowed: `an end at ${objectSizeBytes}, the size of the object`,
      });
    }
    const cluster = offsetBytes / clusterBytes;
    this.#own('a data cluster', cluster, guest + FIRST_GUEST, entryOffsetBytes);
    if (this.#masks !== undefined) this.#masks[cluster] = mask;
    this.edges.note({ guest, kind: 'data', offsetBytes, lengthBytes: clusterBytes, mask });
    this.#mark(guest, mask);
  }

  /** Compressed data [offsetBytes, endBytes); clusters of the object may be shared by several of these. */
  claimCompressed(guest: number, offsetBytes: number, endBytes: number, entryOffsetBytes: number): void {
    const { clusterBytes, objectSizeBytes } = this.shape;
    if (offsetBytes === 0 || offsetBytes >= objectSizeBytes) {
      throw this.#outside('compressed data', offsetBytes, entryOffsetBytes);
    }
    // The last sector of the image need not be a whole one: QEMU reads zeros behind the end of a file.
    if (endBytes - objectSizeBytes >= 512) {
      throw truncated({
        check: 'compressed data named',
        offsetBytes: entryOffsetBytes,
        found: `${hex(offsetBytes)} to ${hex(endBytes)}`,
        allowed: `an end at ${objectSizeBytes}, the size of the object`,
      });
    }
    const lengthBytes = Math.min(endBytes, objectSizeBytes) - offsetBytes;
    const last = Math.floor((offsetBytes + lengthBytes - 1) / clusterBytes);
    for (let cluster = Math.floor(offsetBytes / clusterBytes); cluster <= last; cluster++) {
      if (this.#owners[cluster] !== COMPRESSED) {
        this.#own('compressed data', cluster, COMPRESSED, entryOffsetBytes);
      }
    }
    this.compressed.add(guest, offsetBytes, lengthBytes);
    this.edges.note({ guest, kind: 'compressed', offsetBytes, lengthBytes, mask: ALL });
    this.#mark(guest, ALL);
  }

  /** The disk's cluster stored in this cluster of the object, or -1. */
  guestOf(hostCluster: number): number {
    const owner = this.#owners[hostCluster] ?? FREE;
    return owner < FIRST_GUEST ? -1 : owner - FIRST_GUEST;
  }

  maskOf(hostCluster: number): number {
    return this.#masks === undefined ? ALL : (this.#masks[hostCluster] ?? 0);
  }

  /** The ranges of the volume without data, in order and coalesced. */
  *holes(volumeSizeBytes: number): Generator<ByteRange> {
    const { virtualSizeBytes } = this.shape;
    let startBytes = -1;
    for (let unit = 0; unit < this.#unitCount; unit++) {
      // Most bytes of the bitmap are all data or all hole: eight units at a time.
      const whole = unit % 8 === 0 ? this.#units[unit / 8] : undefined;
      const hasData = whole === undefined || (whole !== 0 && whole !== 0xff) ? this.#has(unit) : whole !== 0;
      if (hasData && startBytes >= 0) {
        yield { offsetBytes: startBytes, lengthBytes: unit * this.unitBytes - startBytes };
        startBytes = -1;
      } else if (!hasData && startBytes < 0) {
        startBytes = unit * this.unitBytes;
      }
      if (whole === 0 || whole === 0xff) unit += 7;
    }
    if (startBytes < 0) startBytes = virtualSizeBytes;
    if (volumeSizeBytes > startBytes) {
      yield { offsetBytes: startBytes, lengthBytes: volumeSizeBytes - startBytes };
    }
  }

  #has(unit: number): boolean {
    return (((this.#units[unit >>> 3] ?? 0) >>> (unit & 7)) & 1) === 1;
  }

  #mark(guest: number, mask: number): void {
    const perCluster = this.#masks === undefined ? 1 : SUBCLUSTERS;
    for (let sub = 0; sub < perCluster; sub++) {
      const unit = guest * perCluster + sub;
      if (((mask >>> sub) & 1) === 0 || unit >= this.#unitCount) continue;
      this.#units[unit >>> 3] = (this.#units[unit >>> 3] ?? 0) | (1 << (unit & 7));
    }
  }

  #checkPlace(what: string, offsetBytes: number, entryOffsetBytes: number): void {
    const { clusterBytes, objectSizeBytes } = this.shape;
    if (offsetBytes % clusterBytes !== 0) {
      throw malformed({
        check: `the offset of ${what} named`,
        offsetBytes: entryOffsetBytes,
        found: hex(offsetBytes),
        allowed: `a multiple of the cluster size, ${clusterBytes}`,
      });
    }
    if (offsetBytes >= objectSizeBytes) throw this.#outside(what, offsetBytes, entryOffsetBytes);
  }

  #outside(what: string, offsetBytes: number, entryOffsetBytes: number): Error {
    return malformed({
      check: `the offset of ${what} named`,
      offsetBytes: entryOffsetBytes,
      found: hex(offsetBytes),
      allowed: `a place inside the object of ${this.shape.objectSizeBytes} bytes, behind the header`,
    });
  }

  #own(what: string, cluster: number, owner: number, entryOffsetBytes: number): void {
    const before = this.#owners[cluster] ?? FREE;
    if (before === FREE) {
      this.#owners[cluster] = owner;
      return;
    }
    throw malformed({
      check: `the place of ${what} named`,
      offsetBytes: entryOffsetBytes,
      found: `cluster ${hex(cluster * this.shape.clusterBytes)}, used already ${ownerName(before)}`,
      allowed: 'a cluster with no other use',
    });
  }
}

function ownerName(owner: number): string {
  if (owner === TABLE) return 'by a table or the header';
  if (owner === COMPRESSED) return 'by compressed data';
  if (owner === RESERVED) return 'by a preallocated cluster';
  return `by cluster ${owner - FIRST_GUEST} of the disk`;
}

function checkCount(check: string, found: number, allowed: number): void {
  if (found > allowed) throw tooLarge({ check, offsetBytes: 0, found, allowed: `at most ${allowed}` });
}
