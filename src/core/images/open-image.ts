/** Opens an image in the format its annotation states; nothing is ever probed. */
import type { ImageFormat } from '../request.ts';
import type { ImageLayout, ImageLimits, ReadRange } from './layout.ts';
import { openQcow2 } from './qcow2.ts';
import { openRaw } from './raw.ts';

/** Reads the metadata of an image and refuses it, or says what its bytes mean. Writes nothing. */
export async function openImage(
  format: ImageFormat,
  sizeBytes: number,
  limits: ImageLimits,
  readRange: ReadRange,
): Promise<ImageLayout> {
  return format === 'raw' ? openRaw(sizeBytes, limits, readRange) : openQcow2(sizeBytes, limits, readRange);
}
