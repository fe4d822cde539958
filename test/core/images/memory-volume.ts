/** A volume in memory, full of an earlier tenant's bytes, that refuses to be written outside. */
import type { Extent, ImageLayout, ReadRange } from '../../../src/core/images/layout.ts';
import { decompressCluster } from '../../../src/core/images/compressed-cluster.ts';
import type { ImageFormat } from '../../../src/core/request.ts';
import { openImage } from '../../../src/core/images/open-image.ts';

const OLD_BYTE = 0xa5;

export function rangeReader(object: Uint8Array): ReadRange {
  return (offsetBytes, lengthBytes) => {
    if (offsetBytes + lengthBytes > object.length) throw new RangeError('read behind the end of the object');
    return Promise.resolve(Uint8Array.from(object.subarray(offsetBytes, offsetBytes + lengthBytes)));
  };
}

export class MemoryVolume {
  readonly bytes: Uint8Array;
  writes = 0;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes).fill(OLD_BYTE);
  }

  write(bytes: Uint8Array, offsetBytes: number): void {
    this.#inside(offsetBytes, bytes.length);
    this.bytes.set(bytes, offsetBytes);
  }

  zero(offsetBytes: number, lengthBytes: number): void {
    this.#inside(offsetBytes, lengthBytes);
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
  }

  #inside(offsetBytes: number, lengthBytes: number): void {
    this.writes++;
    if (offsetBytes < 0 || lengthBytes <= 0 || offsetBytes + lengthBytes > this.bytes.length) {
      throw new RangeError(`write of ${lengthBytes} bytes at ${offsetBytes}: outside the volume`);
    }
  }
}

/** The bytes of the disk that an extent stands for. */
export async function bytesOf(extent: Extent): Promise<Uint8Array> {
  if (extent.kind === 'data') return extent.bytes;
  if (extent.kind === 'zero') return new Uint8Array(extent.lengthBytes);
  return (await decompressCluster(extent)).subarray(0, extent.lengthBytes);
}

/** Decodes an object in chunks of the given size into a volume of `tailBytes` more than the disk. */
export async function decode(
  format: ImageFormat,
  object: Uint8Array,
  options: { chunkBytes: number; tailBytes: number; virtualSizeMaxBytes?: number },
): Promise<{ layout: ImageLayout; volume: MemoryVolume }> {
  const virtualSizeMaxBytes = options.virtualSizeMaxBytes ?? 2 ** 40;
  const layout = await openImage(format, object.length, { virtualSizeMaxBytes }, rangeReader(object));
  const volume = new MemoryVolume(layout.virtualSizeBytes + options.tailBytes);
  await write(layout, object, volume, options.chunkBytes);
  return { layout, volume };
}

/** Feeds an object to the layout's decoder. The chunk's memory is used again, as in a fill. */
export async function write(
  layout: ImageLayout,
  object: Uint8Array,
  volume: MemoryVolume,
  chunkBytes: number,
): Promise<void> {
  for (const hole of layout.holes(volume.bytes.length)) volume.zero(hole.offsetBytes, hole.lengthBytes);
  const decoder = layout.decoder();
  const memory = new Uint8Array(chunkBytes);
  for (let at = 0; at < object.length; at += chunkBytes) {
    const chunk = memory.subarray(0, Math.min(chunkBytes, object.length - at));
    chunk.set(object.subarray(at, at + chunk.length));
    for (const extent of decoder.push(chunk)) {
      const bytes = await bytesOf(extent);
      volume.write(bytes, extent.offsetBytes);
    }
    memory.fill(0xee);
  }
  decoder.finish();
}
