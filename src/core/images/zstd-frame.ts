/**
 * The length of a zstd frame (RFC 8878, section 3.1.1), without decompressing it. Node's decompressor goes
 * on with whatever follows a frame, and in a qcow2 image the next compressed cluster may begin in the same
 * sector: its first bytes would be taken for a second frame, and fail.
 */

/** QEMU writes one frame for each cluster. More are legal, but thousands of tiny ones only cost time and memory. */
export const FRAMES_MAX = 64;

const MAGIC = 0xfd2fb528;
const FRAME_CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/** The bytes of the frame that begins at `startBytes`, or undefined if there is no whole frame. */
export function zstdFrameBytes(bytes: Uint8Array, startBytes: number): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (startBytes + 5 > bytes.length || view.getUint32(startBytes, true) !== MAGIC) return undefined;
  const descriptor = view.getUint8(startBytes + 4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSizeFlag = descriptor >>> 6;
  const contentSizeBytes =
    contentSizeFlag === 0 && singleSegment ? 1 : (FRAME_CONTENT_SIZE_BYTES[contentSizeFlag] ?? 0);
  let at = startBytes + 5;
  at += (singleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0) + contentSizeBytes;
  for (;;) {
    if (at + 3 > bytes.length) return undefined;
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const type = (header >>> 1) & 3;
    if (type === BLOCK_RESERVED) return undefined;
    at += 3 + (type === BLOCK_RLE ? 1 : header >>> 3);
    if ((header & 1) === 1) break;
  }
  at += (descriptor & 4) === 0 ? 0 : 4;
  return at > bytes.length ? undefined : at - startBytes;
}
