/**
 * Opens and decodes one image and sees to it that the program keeps its promises: it refuses in its own
 * words or fills the volume exactly, reads no byte outside the object, and writes none outside the volume.
 */
import type { ImageLayout, ReadRange } from '../../src/core/images/layout.ts';
import { openImage } from '../../src/core/images/open-image.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import { bytesOf } from '../core/images/memory-volume.ts';

/** Small, so that a case costs microseconds; every now and then much larger, for the reader's own bounds. */
const VIRTUAL_MAX_BYTES = 2 ** 20;
const VIRTUAL_MAX_RARELY_BYTES = 2 ** 45;
const TAIL_BYTES = 1024;

export type Verdict = 'accepted' | 'refused' | 'refused while decoding';

export async function tryImage(object: Buffer, chunkBytes: number, isRare: boolean): Promise<Verdict> {
  let readBytes = 0;
  const readRange: ReadRange = (offsetBytes, lengthBytes) => {
    readBytes += lengthBytes;
    if (offsetBytes < 0 || lengthBytes < 0 || offsetBytes + lengthBytes > object.length) {
      throw new RangeError(`read of ${lengthBytes} bytes at ${offsetBytes} of ${object.length}`);
    }
    return Promise.resolve(Uint8Array.from(object.subarray(offsetBytes, offsetBytes + lengthBytes)));
  };
  const virtualSizeMaxBytes = isRare ? VIRTUAL_MAX_RARELY_BYTES : VIRTUAL_MAX_BYTES;
  let layout: ImageLayout | undefined;
  try {
    layout = await openImage('qcow2', object.length, { virtualSizeMaxBytes }, readRange);
    if (readBytes > 4 * object.length) throw new Error(`${readBytes} bytes read of ${object.length}`);
    if (layout.virtualSizeBytes <= VIRTUAL_MAX_BYTES) await decodeAll(layout, object, chunkBytes);
    return 'accepted';
  } catch (error) {
    if (!(error instanceof ProvisionError) || !error.code.startsWith('IMAGE_')) throw error;
    return layout === undefined ? 'refused' : 'refused while decoding';
  }
}

async function decodeAll(layout: ImageLayout, object: Buffer, chunkBytes: number): Promise<void> {
  const volumeBytes = layout.virtualSizeBytes + TAIL_BYTES;
  let coveredBytes = 0;
  const cover = (offsetBytes: number, lengthBytes: number, endBytes: number) => {
    if (offsetBytes < 0 || lengthBytes <= 0 || offsetBytes + lengthBytes > endBytes) {
      throw new RangeError(`write of ${lengthBytes} bytes at ${offsetBytes} of ${endBytes}`);
    }
    coveredBytes += lengthBytes;
  };
  for (const hole of layout.holes(volumeBytes)) cover(hole.offsetBytes, hole.lengthBytes, volumeBytes);
  const decoder = layout.decoder();
  for (let at = 0; at < object.length; at += chunkBytes) {
    for (const extent of decoder.push(object.subarray(at, at + chunkBytes))) {
      const bytes = await bytesOf(extent);
      cover(extent.offsetBytes, bytes.length, layout.virtualSizeBytes);
    }
  }
  decoder.finish();
  // No byte twice, no byte never: an earlier tenant's bytes would shine through.
  if (coveredBytes !== volumeBytes) throw new Error(`${coveredBytes} of ${volumeBytes} bytes covered`);
}
