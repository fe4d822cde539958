/**
 * Turns the bytes of a qcow2 image, front to back, into extents of the disk. Neighbours in the object that
 * are neighbours on the disk become one extent, so that an image written in order is written in large
 * pieces. At most two compressed clusters' bytes are kept from one push to the next.
 */
import type { ClusterMap } from './cluster-map.ts';
import { ALL } from './cluster-map.ts';
import type { Compression, DataExtent, Extent, ImageDecoder } from './layout.ts';
import { endedEarly, pastTheEnd } from './raw.ts';
import type { Witnessed } from './witness.ts';
import { Witness } from './witness.ts';

/** Bytes [start, end) of the chunk belong at `offsetBytes` of the disk. */
interface Piece {
  readonly offsetBytes: number;
  readonly start: number;
  readonly end: number;
}

export class Qcow2Decoder implements ImageDecoder {
  readonly #map: ClusterMap;
  readonly #compression: Compression;
  readonly #witnesses: readonly Witness[];
  #positionBytes = 0;
  /** The first compressed cluster whose bytes have not all come. */
  #compressedNext = 0;
  /** The bytes that have come of it, up to the present position. */
  #carry = new Uint8Array();

  constructor(map: ClusterMap, compression: Compression, tables: readonly Witnessed[], fromBytes = 0) {
    this.#map = map;
    this.#compression = compression;
    this.#witnesses = tables.map((table) => new Witness(table, fromBytes));
    this.#positionBytes = fromBytes;
    // What begins before that has been written by an earlier decoder (see safeBytes).
    while (map.compressed.offsetOf(this.#compressedNext) < fromBytes) this.#compressedNext++;
  }

  get safeBytes(): number {
    const unfinished = this.#map.compressed.offsetOf(this.#compressedNext);
    return Math.min(this.#positionBytes, unfinished, ...this.#witnesses.map((witness) => witness.safeBytes));
  }

  *push(bytes: Uint8Array): Generator<Extent> {
    const { objectSizeBytes } = this.#map.shape;
    const startBytes = this.#positionBytes;
    if (startBytes + bytes.length > objectSizeBytes) throw pastTheEnd(objectSizeBytes);
    for (const witness of this.#witnesses) witness.push(bytes, startBytes);
    yield* this.#dataExtents(bytes, startBytes);
    yield* this.#compressedExtents(bytes, startBytes);
    this.#positionBytes += bytes.length;
  }

  finish(): void {
    const { objectSizeBytes } = this.#map.shape;
    if (this.#positionBytes !== objectSizeBytes) throw endedEarly(this.#positionBytes, objectSizeBytes);
    for (const witness of this.#witnesses) witness.finish();
  }

  *#dataExtents(bytes: Uint8Array, startBytes: number): Generator<DataExtent> {
    let run: Piece | undefined;
    for (const piece of this.#pieces(bytes.length, startBytes)) {
      const adjoins =
        piece.start === run?.end && piece.offsetBytes === run.offsetBytes + (run.end - run.start);
      if (run !== undefined && !adjoins) yield dataExtent(bytes, run);
      run = run !== undefined && adjoins ? { ...run, end: piece.end } : piece;
    }
    if (run !== undefined) yield dataExtent(bytes, run);
  }

  /** The data of each cluster of the object that lies in this chunk, cut at the disk's end. */
  *#pieces(lengthBytes: number, startBytes: number): Generator<Piece> {
    const { clusterBytes } = this.#map.shape;
    for (let at = 0; at < lengthBytes;) {
      const cluster = Math.floor((startBytes + at) / clusterBytes);
      const inCluster = startBytes + at - cluster * clusterBytes;
      const end = Math.min(lengthBytes, at + clusterBytes - inCluster);
      const guest = this.#map.guestOf(cluster);
      const mask = this.#map.maskOf(cluster);
      if (guest >= 0 && mask === ALL) yield* this.#cut(guest * clusterBytes + inCluster, at, end);
      else if (guest >= 0) yield* this.#subclusters(guest, mask, inCluster, at, end);
      at = end;
    }
  }

  *#subclusters(guest: number, mask: number, inCluster: number, at: number, end: number): Generator<Piece> {
    const { unitBytes } = this.#map;
    const guestBytes = guest * this.#map.shape.clusterBytes;
    const clusterAt = at - inCluster;
    for (let from = at; from < end;) {
      const sub = Math.floor((from - clusterAt) / unitBytes);
      const to = Math.min(end, clusterAt + (sub + 1) * unitBytes);
      if (((mask >>> sub) & 1) === 1) yield* this.#cut(guestBytes + from - clusterAt, from, to);
      from = to;
    }
  }

  *#cut(offsetBytes: number, start: number, end: number): Generator<Piece> {
    const lengthBytes = Math.min(end - start, this.#map.shape.virtualSizeBytes - offsetBytes);
    if (lengthBytes > 0) yield { offsetBytes, start, end: start + lengthBytes };
  }

  *#compressedExtents(bytes: Uint8Array, startBytes: number): Generator<Extent> {
    const { compressed, shape } = this.#map;
    const endBytes = startBytes + bytes.length;
    for (; compressed.endOf(this.#compressedNext) <= endBytes; this.#compressedNext++) {
      const from = compressed.offsetOf(this.#compressedNext);
      const offsetBytes = compressed.guestOf(this.#compressedNext) * shape.clusterBytes;
      yield {
        kind: 'compressed',
        offsetBytes,
        lengthBytes: Math.min(shape.clusterBytes, shape.virtualSizeBytes - offsetBytes),
        clusterBytes: shape.clusterBytes,
        compression: this.#compression,
        objectOffsetBytes: from,
        bytes: this.#slice(bytes, startBytes, from, compressed.endOf(this.#compressedNext)),
      };
    }
    const next = compressed.offsetOf(this.#compressedNext);
    // A copy: the chunk's memory is used again, while these bytes wait for the rest.
    const kept = next < endBytes ? this.#slice(bytes, startBytes, next, endBytes) : [];
    this.#carry = new Uint8Array(kept);
  }

  /** Bytes [from, to) of the object, out of what was kept and this chunk. */
  #slice(bytes: Uint8Array, startBytes: number, from: number, to: number): Uint8Array {
    if (from >= startBytes) return bytes.subarray(from - startBytes, to - startBytes);
    const kept = this.#carry.subarray(this.#carry.length - (startBytes - from));
    return Buffer.concat([kept, bytes.subarray(0, to - startBytes)]);
  }
}

function dataExtent(bytes: Uint8Array, piece: Piece): DataExtent {
  return {
    kind: 'data',
    offsetBytes: piece.offsetBytes,
    bytes: bytes.subarray(piece.start, piece.end),
  };
}
