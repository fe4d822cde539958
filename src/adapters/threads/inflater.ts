/**
 * Decompresses clusters one after the other, straight into their place. The functions of node:zlib make a
 * new decompressor and a new buffer for each call, which for clusters of 64 KiB takes a quarter (zlib) to
 * half (zstd) of the time; so the handle behind one decompressor is used again and again. It is internal to
 * Node: where it does not look as it should, the public functions do the work.
 */
import type { InflateRaw, ZstdDecompress } from 'node:zlib';
import {
  constants,
  createInflateRaw,
  createZstdDecompress,
  inflateRawSync,
  zstdDecompressSync,
} from 'node:zlib';
import type { Compression } from '../../core/images/layout.ts';
import { FRAMES_MAX, zstdFrameBytes } from '../../core/images/zstd-frame.ts';
import { CLUSTER_OVERRUN_BYTES } from '../../provision/ports/workshop.ts';

/** Puts at most `room.length` bytes into `room`, and answers how many there were. */
type Inflate = (input: Uint8Array, room: Uint8Array) => number;

/** The part of lib/zlib.js used here: ZlibBase's `_handle` and `_writeState`. */
interface Handle {
  reset(): void;
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void;
  onerror: (message: string) => void;
}
interface Internals {
  readonly _handle?: Partial<Handle> | null;
  /** What is left of output and input after a write. */
  readonly _writeState?: Uint32Array;
}

/** Why a cluster cannot be read; the caller knows which one it is. */
export class DamagedCluster extends Error {}

export type DecompressCluster = (input: Uint8Array, room: Uint8Array) => number;

/**
 * Makes a function that decompresses one cluster to the front of `room` and answers its length. `room` has
 * to be larger than a cluster: one that is too long shows by filling it.
 */
export function clusterDecompressor(compression: Compression, isHandleUsed = true): DecompressCluster {
  if (compression === 'zlib') {
    const handle = isHandleUsed ? handleOf(createInflateRaw(), constants.Z_FINISH) : undefined;
    return handle ?? publicly((input, limit) => inflateRawSync(input, limit));
  }
  const handle = isHandleUsed ? handleOf(createZstdDecompress(), constants.ZSTD_e_end) : undefined;
  return zstdFrames(handle ?? publicly((input, limit) => zstdDecompressSync(input, limit)));
}

/** "The compressed stream […] may consist of more than one zstd frame" (QEMU, block/qcow2-threads.c). */
function zstdFrames(inflateFrame: Inflate): DecompressCluster {
  return (input, room) => {
    let outBytes = 0;
    let frames = 0;
    for (let at = 0; outBytes < room.length - CLUSTER_OVERRUN_BYTES;) {
      const lengthBytes = zstdFrameBytes(input, at);
      if (lengthBytes === undefined) throw new DamagedCluster('holds no whole zstd frame');
      const frameBytes = inflateFrame(input.subarray(at, at + lengthBytes), room.subarray(outBytes));
      // An empty frame is legal zstd, but a cluster of them would only waste time.
      if (frameBytes === 0) throw new DamagedCluster('holds an empty zstd frame');
      if (++frames > FRAMES_MAX) throw new DamagedCluster(`holds more than ${FRAMES_MAX} zstd frames`);
      outBytes += frameBytes;
      at += lengthBytes;
    }
    return outBytes;
  };
}

function handleOf(stream: InflateRaw | ZstdDecompress, flush: number): Inflate | undefined {
  const { _handle: handle, _writeState: left } = stream as unknown as Internals;
  if (!isHandle(handle) || !(left instanceof Uint32Array)) return undefined;
  const failures: string[] = [];
  handle.onerror = (message) => {
    failures.push(message);
  };
  return (input, room) => {
    failures.length = 0;
    handle.reset();
    handle.writeSync(flush, input, 0, input.length, room, 0, room.length);
    const roomLeft = left[0] ?? 0;
    // A full room is too much, whatever else was wrong with it.
    if (roomLeft === 0) return room.length;
    const [failure] = failures;
    if (failure !== undefined) throw new DamagedCluster(`not readable (${failure})`);
    return room.length - roomLeft;
  };
}

function isHandle(handle: Partial<Handle> | null | undefined): handle is Handle {
  return typeof handle?.reset === 'function' && typeof handle.writeSync === 'function';
}

function publicly(
  inflate: (input: Uint8Array, limits: { chunkSize: number; maxOutputLength: number }) => Uint8Array,
): Inflate {
  return (input, room) => {
    try {
      const bytes = inflate(input, { chunkSize: room.length, maxOutputLength: room.length });
      room.set(bytes);
      return bytes.length;
    } catch (error) {
      throw new DamagedCluster(`not readable (${error instanceof Error ? error.message : String(error)})`);
    }
  };
}
