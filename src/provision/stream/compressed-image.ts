/**
 * Judges the image inside a compressed object before a volume is touched. One pass over the object measures
 * the content, keeps its beginning and its end, and checks the proof of the stored bytes; a qcow2 image
 * whose tables lie further behind costs passes more. Memory does not grow with the object.
 */
import { createHash } from 'node:crypto';
import type { ImageLayout } from '../../core/images/layout.ts';
import { openImage } from '../../core/images/open-image.ts';
import type { Digests, ImageProof } from '../../core/images/proof.ts';
import { checkProof } from '../../core/images/proof.ts';
import type { OuterLayer } from './content-ranges.ts';
import { contentOf } from './content-ranges.ts';
import { ContentReader } from './content-reader.ts';
import type { ImageSource } from './fetch-range.ts';
import { ProofHasher } from './proof-hasher.ts';
import { RangeBuffers } from './range-buffers.ts';

/** The header and, for most images up to 512 GiB, all tables that `qemu-img convert` writes in order. */
const HEAD_KEPT_BYTES = 8 * 1024 * 1024;
const TAIL_KEPT_BYTES = 64 * 1024;
const BUFFER_BYTES = 1024 * 1024;
const BUFFERS = 3;

interface Measured {
  readonly sizeBytes: number;
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
  readonly digests: Digests;
}

/** The layout of the image inside, whose "object" is the content, and the SHA-256 of the bytes as stored. */
export async function readCompressedLayout(
  source: ImageSource,
  layer: OuterLayer,
  proof: ImageProof,
): Promise<{ readonly layout: ImageLayout; readonly sha256: string }> {
  const measured = await measure(source, layer, proof);
  checkProof(source.object.image, proof, measured.digests);
  const { sizeBytes, head, tail, digests } = measured;
  const reader = new ContentReader(() => contentOf(source, layer, { buffers: newBuffers() }), head);
  const { virtualSizeMaxBytes } = layer;
  try {
    const limits = { virtualSizeMaxBytes };
    const layout = await openImage(layer.format, sizeBytes, limits, (offsetBytes, lengthBytes) => {
      const inTail = offsetBytes - (sizeBytes - tail.length);
      // The trailer of a raw image is asked for last; a pass for it alone would be one too many.
      return inTail >= 0
        ? Promise.resolve(tail.slice(inTail, inTail + lengthBytes))
        : reader.read(offsetBytes, lengthBytes);
    });
    return { layout, sha256: digests.sha256 };
  } finally {
    await reader.close();
  }
}

async function measure(source: ImageSource, layer: OuterLayer, proof: ImageProof): Promise<Measured> {
  const sha256 = createHash('sha256');
  const further = new ProofHasher(proof);
  const hash = (bytes: Uint8Array) => {
    sha256.update(bytes);
    further.update(bytes);
    return Promise.resolve();
  };
  const head: Uint8Array[] = [];
  let tail = new Uint8Array();
  let sizeBytes = 0;
  for await (const bytes of contentOf(source, layer, { buffers: newBuffers(), hash })) {
    if (sizeBytes < HEAD_KEPT_BYTES) head.push(Uint8Array.from(bytes));
    tail = lastBytes(tail, bytes);
    sizeBytes += bytes.length;
  }
  const digests = further.digests(sha256.digest('hex'));
  return { sizeBytes, head: Buffer.concat(head), tail, digests };
}

function lastBytes(before: Uint8Array, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.length >= TAIL_KEPT_BYTES) return Uint8Array.from(bytes.subarray(-TAIL_KEPT_BYTES));
  const kept = before.subarray(-(TAIL_KEPT_BYTES - bytes.length));
  return Uint8Array.from(Buffer.concat([kept, bytes]));
}

function newBuffers(): RangeBuffers {
  return new RangeBuffers(new ArrayBuffer(BUFFER_BYTES * BUFFERS), BUFFER_BYTES);
}
