/** A raw image: the object is the disk. */
import { ProvisionError } from '../errors.ts';
import { PROBE_BYTES, TRAILER_BYTES, refuseForeignMagic } from './foreign-magic.ts';
import type { ByteRange, Extent, ImageDecoder, ImageLayout, ImageLimits, ReadRange } from './layout.ts';
import { malformed, tooLarge } from './refusal.ts';
import type { Witnessed } from './witness.ts';
import { Witness, fingerprintOf, witnessed } from './witness.ts';

const ZERO_BLOCK_BYTES = 64 * 1024;
const ZERO_RUN_MIN_BYTES = 256 * 1024;
const ZEROS = Buffer.alloc(ZERO_BLOCK_BYTES);

class RawDecoder implements ImageDecoder {
  readonly #sizeBytes: number;
  readonly #witnesses: readonly Witness[];
  #positionBytes: number;

  constructor(sizeBytes: number, judged: readonly Witnessed[], fromBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#witnesses = judged.map((part) => new Witness(part, fromBytes));
    this.#positionBytes = fromBytes;
  }

  get safeBytes(): number {
    return Math.min(this.#positionBytes, ...this.#witnesses.map(({ safeBytes }) => safeBytes));
  }

  *push(bytes: Uint8Array): Generator<Extent> {
    if (bytes.length === 0) return;
    const offsetBytes = this.#positionBytes;
    if (offsetBytes + bytes.length > this.#sizeBytes) throw pastTheEnd(this.#sizeBytes);
    for (const witness of this.#witnesses) witness.push(bytes, offsetBytes);
    this.#positionBytes += bytes.length;
    yield* withoutZeros(bytes, offsetBytes);
  }

  finish(): void {
    if (this.#positionBytes !== this.#sizeBytes) throw endedEarly(this.#positionBytes, this.#sizeBytes);
  }
}

/** Sparse disks are uploaded with their holes: what is long enough is not written but zeroed. */
function* withoutZeros(bytes: Uint8Array, offsetBytes: number): Generator<Extent> {
  let dataFrom = 0;
  for (let at = 0; at < bytes.length;) {
    const zeroBytes = zerosAt(bytes, at);
    if (zeroBytes < ZERO_RUN_MIN_BYTES) {
      at += zeroBytes + ZERO_BLOCK_BYTES;
      continue;
    }
    if (at > dataFrom) {
      yield { kind: 'data', offsetBytes: offsetBytes + dataFrom, bytes: bytes.subarray(dataFrom, at) };
    }
    yield { kind: 'zero', offsetBytes: offsetBytes + at, lengthBytes: zeroBytes };
    at += zeroBytes;
    dataFrom = at;
  }
  if (dataFrom < bytes.length) {
    yield { kind: 'data', offsetBytes: offsetBytes + dataFrom, bytes: bytes.subarray(dataFrom) };
  }
}

/** How many bytes from there on are zeros, in whole blocks. */
function zerosAt(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at + ZERO_BLOCK_BYTES <= bytes.length && ZEROS.equals(bytes.subarray(at, at + ZERO_BLOCK_BYTES))) {
    at += ZERO_BLOCK_BYTES;
  }
  return at - from;
}

/** Reads and checks what there is to check of a raw image. */
export async function openRaw(
  sizeBytes: number,
  limits: ImageLimits,
  readRange: ReadRange,
): Promise<ImageLayout> {
  if (sizeBytes === 0) {
    throw malformed({ check: 'the size of the object', offsetBytes: 0, found: 0, allowed: '1 byte or more' });
  }
  if (sizeBytes > limits.virtualSizeMaxBytes) {
    throw tooLarge({
      check: 'the size of the raw image',
      offsetBytes: 0,
      found: `${sizeBytes} bytes`,
      allowed: `at most ${limits.virtualSizeMaxBytes} bytes`,
    });
  }
  const head = await readRange(0, Math.min(PROBE_BYTES, sizeBytes));
  const tailOffsetBytes = Math.max(0, sizeBytes - TRAILER_BYTES);
  const tail = await readRange(tailOffsetBytes, sizeBytes - tailOffsetBytes);
  refuseForeignMagic(head, tail, tailOffsetBytes);
  const judged = [witnessed(0, head), witnessed(tailOffsetBytes, tail)];
  return {
    format: 'raw',
    objectSizeBytes: sizeBytes,
    virtualSizeBytes: sizeBytes,
    *holes(volumeSizeBytes: number): Generator<ByteRange> {
      if (volumeSizeBytes > sizeBytes) {
        yield { offsetBytes: sizeBytes, lengthBytes: volumeSizeBytes - sizeBytes };
      }
    },
    fingerprint: fingerprintOf(judged),
    decoder: (fromBytes = 0) => new RawDecoder(sizeBytes, judged, fromBytes),
  };
}

/** The stream gave more bytes than the pinned object has. */
export function pastTheEnd(sizeBytes: number): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_CHANGED',
    message: `The image had ${sizeBytes} bytes when it was opened, and more while it was read.`,
    hint: 'It was replaced meanwhile: the next attempt reads the new one.',
  });
}

export function endedEarly(positionBytes: number, sizeBytes: number): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_TRUNCATED',
    message: `The image ended after ${positionBytes} of ${sizeBytes} bytes.`,
    hint: 'Look at the store: the object is damaged or the connection was cut.',
  });
}
