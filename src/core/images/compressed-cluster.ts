/**
 * Decompresses one cluster. QEMU (block/qcow2-threads.c) writes raw deflate or zstd, and wants exactly one
 * cluster out of it; what follows in the last sector belongs to somebody else and is not looked at.
 */
import { promisify } from 'node:util';
import { inflateRaw, zstdDecompress } from 'node:zlib';
import type { CompressedExtent } from './layout.ts';
import { malformed } from './refusal.ts';
import { FRAMES_MAX, zstdFrameBytes } from './zstd-frame.ts';

const inflate = promisify(inflateRaw);
const unzstd = promisify(zstdDecompress);

/** The cluster's bytes, cut to the disk's end. Runs in the thread pool; never yields more than a cluster. */
export async function decompressCluster(extent: CompressedExtent): Promise<Uint8Array> {
  const bytes = await (extent.compression === 'zlib' ? inflateCluster(extent) : unzstdCluster(extent));
  if (bytes.length !== extent.clusterBytes) {
    throw damaged(extent, `decompresses to ${bytes.length} bytes`);
  }
  return bytes.subarray(0, extent.lengthBytes);
}

async function inflateCluster(extent: CompressedExtent): Promise<Uint8Array> {
  try {
    return await inflate(extent.bytes, {
      chunkSize: extent.clusterBytes,
      maxOutputLength: extent.clusterBytes,
    });
  } catch (error) {
    throw damaged(extent, reason(error));
  }
}

/** "The compressed stream […] may consist of more than one zstd frame" (block/qcow2-threads.c). */
async function unzstdCluster(extent: CompressedExtent): Promise<Uint8Array> {
  const frames: Uint8Array[] = [];
  let outBytes = 0;
  for (let at = 0; outBytes < extent.clusterBytes;) {
    const lengthBytes = zstdFrameBytes(extent.bytes, at);
    if (lengthBytes === undefined) throw damaged(extent, 'holds no whole zstd frame');
    const frame = await unzstdFrame(extent, extent.bytes.subarray(at, at + lengthBytes), outBytes);
    // An empty frame is legal zstd, but a cluster of them would only waste time.
    if (frame.length === 0) throw damaged(extent, 'holds an empty zstd frame');
    frames.push(frame);
    if (frames.length > FRAMES_MAX) throw damaged(extent, `holds more than ${FRAMES_MAX} zstd frames`);
    outBytes += frame.length;
    at += lengthBytes;
  }
  return frames.length === 1 && frames[0] !== undefined ? frames[0] : Buffer.concat(frames);
}

async function unzstdFrame(
  extent: CompressedExtent,
  frame: Uint8Array,
  outBytes: number,
): Promise<Uint8Array> {
  try {
    return await unzstd(frame, {
      chunkSize: extent.clusterBytes,
      maxOutputLength: extent.clusterBytes - outBytes,
    });
  } catch (error) {
    throw damaged(extent, reason(error));
  }
}

function reason(error: unknown): string {
  return `not readable (${error instanceof Error ? error.message : String(error)})`;
}

/** Why a cluster is refused. */
export function damaged(extent: CompressedExtent, found: string): Error {
  return malformed({
    check: `the ${extent.compression}-compressed cluster of disk offset ${extent.offsetBytes}`,
    offsetBytes: extent.objectOffsetBytes,
    found,
    allowed: `exactly ${extent.clusterBytes} bytes when decompressed`,
  });
}
