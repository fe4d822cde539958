/**
 * A digest of what a device holds, by which it is known later whether it still holds that. It is the SHA-256 of the
 * SHA-256s of its pieces, so that pieces which are known to be zeros, most of a large disk, need not be read.
 */
import { createHash } from 'node:crypto';
import { alignedMemory } from '../../core/images/aligned-memory.ts';
import type { ImageLayout } from '../../core/images/layout.ts';
import type { VolumeDevice } from '../ports/volumes.ts';

export const PIECE_BYTES = 1024 * 1024;

/** Memory of digests that are finished, for the next ones: what JavaScript gives back of it comes late. */
const spare: SharedArrayBuffer[] = [];

export interface DigestOptions {
  readonly signal: AbortSignal;
  /** Pieces that nobody has ever written to on a device that began with zeros; by default none. */
  readonly isUntouched?: ((piece: number) => boolean) | undefined;
  /** Called after each piece that was read: whoever is in no hurry waits here. */
  readonly pause?: (() => Promise<void>) | undefined;
}

/** Of the first so many bytes, as 64 lower-case hex digits; DEVICE_FAILED if they cannot be read. */
export async function contentDigest(
  device: Pick<VolumeDevice, 'read'>,
  sizeBytes: number,
  { signal, isUntouched = () => false, pause }: DigestOptions,
): Promise<string> {
  const whole = createHash('sha256');
  const memory = spare.pop() ?? alignedMemory(PIECE_BYTES);
  try {
    for (let piece = 0; piece * PIECE_BYTES < sizeBytes; piece++) {
      signal.throwIfAborted();
      const offsetBytes = piece * PIECE_BYTES;
      const lengthBytes = Math.min(PIECE_BYTES, sizeBytes - offsetBytes);
      if (isUntouched(piece)) {
        whole.update(zerosDigest(lengthBytes));
        continue;
      }
      const bytes = new Uint8Array(memory, 0, lengthBytes);
      await device.read(bytes, offsetBytes);
      whole.update(createHash('sha256').update(bytes).digest());
      await pause?.();
    }
    return whole.digest('hex');
  } finally {
    spare.push(memory);
  }
}

/** Those that lie within one hole of the image; a byte is kept for each. */
export function untouchedPieces(
  layout: Pick<ImageLayout, 'holes'>,
  sizeBytes: number,
): (piece: number) => boolean {
  const pieces = new Uint8Array(Math.ceil(sizeBytes / PIECE_BYTES));
  for (const { offsetBytes, lengthBytes } of layout.holes(sizeBytes)) {
    const endBytes = offsetBytes + lengthBytes;
    for (let piece = Math.ceil(offsetBytes / PIECE_BYTES); piece * PIECE_BYTES < endBytes; piece++) {
      const pieceEndBytes = Math.min((piece + 1) * PIECE_BYTES, sizeBytes);
      if (pieceEndBytes <= endBytes) pieces[piece] = 1;
    }
  }
  return (piece) => pieces[piece] === 1;
}

let ofWholePiece: Buffer | undefined;

function zerosDigest(lengthBytes: number): Buffer {
  if (lengthBytes < PIECE_BYTES) return createHash('sha256').update(new Uint8Array(lengthBytes)).digest();
  return (ofWholePiece ??= createHash('sha256').update(new Uint8Array(PIECE_BYTES)).digest());
}
