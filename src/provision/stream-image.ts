/**
 * The way of the bytes, from bucket to device. The object is read once, front to back; the same bytes are
 * hashed, decoded and written, while the next ranges are on their way and the holes are being zeroed.
 *
 * The only memory that grows with the image is the layout's map. Everything in flight has ended, one way or
 * the other, when streamImage() returns or throws.
 */
import { decompressCluster } from '../core/images/compressed-cluster.ts';
import type { Extent, ImageDecoder, ImageLayout } from '../core/images/layout.ts';
import { openImage } from '../core/images/open-image.ts';
import { ProvisionError } from '../core/errors.ts';
import type { ImageFormat } from '../core/request.ts';
import { imageName } from '../core/request.ts';
import type { ImageSource } from './fetch-range.ts';
import { fetchRange } from './fetch-range.ts';
import type { Hasher } from './hasher.ts';
import { InThreadHasher } from './hasher.ts';
import { Lanes } from './lanes.ts';
import type { ObjectRange } from './object-ranges.ts';
import { objectRanges } from './object-ranges.ts';
import type { Clock, ImageObject, Images, VolumeDevice } from './ports.ts';
import { RangeBuffers } from './range-buffers.ts';

export interface StreamProgress {
  /** Bytes of the object hashed and handed to the device. */
  readonly objectBytes: number;
  readonly objectSizeBytes: number;
  /** Bytes of the volume that hold data of the image by now. */
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
}

export interface StreamOptions {
  readonly images: Images;
  readonly object: ImageObject;
  readonly layout: ImageLayout;
  readonly device: VolumeDevice;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** 64 lower-case hex digits; without it the digest is only reported. */
  readonly expectedSha256?: string | undefined;
  readonly onProgress?: ((progress: StreamProgress) => void) | undefined;
  readonly onRetry?: ImageSource['onRetry'];
  /** Hashing in another thread, and memory it shares; by default this thread and plain memory. */
  readonly hasher?: Hasher | undefined;
  readonly memory?: ArrayBufferLike | undefined;
}

export interface StreamedImage extends StreamProgress {
  /** Digest of the object's bytes, exactly those that were decoded. */
  readonly sha256: string;
}

export const RANGE_BYTES = 4 * 1024 * 1024;
/** Memory of a fill: with RANGE_BYTES each, 32 MiB. */
export const RANGE_BUFFERS = 8;
const RANGES_IN_FLIGHT = 3;
const WRITES_IN_FLIGHT = 8;
const ZEROINGS_IN_FLIGHT = 2;
/** One call of device.zero(): so long is an abort not heard. */
const ZERO_MAX_BYTES = 1024 * 1024 * 1024;

/** Reads the metadata of a pinned image and says what its bytes mean, or why it is refused. Writes nothing. */
export async function readLayout(
  source: ImageSource,
  format: ImageFormat,
  virtualSizeMaxBytes: number,
): Promise<ImageLayout> {
  return openImage(format, source.object.sizeBytes, { virtualSizeMaxBytes }, async (offset, length) => {
    const bytes = new Uint8Array(length);
    await fetchRange(source, offset, bytes);
    return bytes;
  });
}

/** Fills the device with the image and zeros, syncs it, and compares the digest. */
export async function streamImage(options: StreamOptions): Promise<StreamedImage> {
  requireRoom(options);
  const run = new Run(options);
  try {
    await run.all([(signal) => streamObject(run, signal), (signal) => zeroHoles(run, signal)]);
    await options.device.sync();
    const sha256 = await run.hasher.digest();
    requireDigest(options, sha256);
    return { ...run.progress(), sha256 };
  } catch (error) {
    throw options.signal.aborted ? cancelled(options, error) : error;
  } finally {
    await run.hasher.close();
  }
}

/** What the parts of one fill share. */
class Run {
  readonly options: StreamOptions;
  readonly hasher: Hasher;
  readonly buffers: RangeBuffers;
  objectBytes = 0;
  writtenBytes = 0;
  zeroedBytes = 0;

  constructor(options: StreamOptions) {
    this.options = options;
    this.hasher = options.hasher ?? new InThreadHasher();
    this.buffers = new RangeBuffers(
      options.memory ?? new ArrayBuffer(RANGE_BYTES * RANGE_BUFFERS),
      RANGE_BYTES,
    );
  }

  progress(): StreamProgress {
    const { objectBytes, writtenBytes, zeroedBytes } = this;
    return { objectBytes, objectSizeBytes: this.options.object.sizeBytes, writtenBytes, zeroedBytes };
  }

  /** Runs the parts side by side; the first that fails stops the others, and all have ended afterwards. */
  async all(parts: readonly ((signal: AbortSignal) => Promise<void>)[]): Promise<void> {
    const failure = new AbortController();
    const signal = AbortSignal.any([this.options.signal, failure.signal]);
    const ended = await Promise.allSettled(
      parts.map((part) =>
        part(signal).catch((error: unknown) => {
          failure.abort(error);
          throw error;
        }),
      ),
    );
    this.options.signal.throwIfAborted();
    if (failure.signal.aborted) throw failure.signal.reason;
    for (const part of ended) if (part.status === 'rejected') throw part.reason;
  }
}

/** Hashes, decodes and writes the object's ranges in order. */
async function streamObject(run: Run, signal: AbortSignal): Promise<void> {
  const { images, object, layout, clock, onRetry, onProgress } = run.options;
  const decoder = layout.decoder();
  const work = { hashes: new Lanes(RANGE_BUFFERS), writes: new Lanes(WRITES_IN_FLIGHT) };
  const source = { images, object, clock, signal, onRetry };
  try {
    for await (const range of objectRanges(source, run.buffers, RANGES_IN_FLIGHT)) {
      await takeRange(run, work, decoder, range, signal);
      run.objectBytes += range.bytes.length;
      onProgress?.(run.progress());
    }
    await work.hashes.drain();
    await work.writes.drain();
    decoder.finish();
  } finally {
    await work.hashes.settle();
    await work.writes.settle();
  }
}

/** Hands one range to the hasher and the device; its memory is free again when both are done with it. */
async function takeRange(
  run: Run,
  work: { readonly hashes: Lanes; readonly writes: Lanes },
  decoder: ImageDecoder,
  range: ObjectRange,
  signal: AbortSignal,
): Promise<void> {
  const users: Promise<void>[] = [];
  try {
    const hashing = await work.hashes.add(() => run.hasher.update(range.bytes));
    users.push(hashing.ended);
    for (const extent of decoder.push(range.bytes)) {
      signal.throwIfAborted();
      const writing = await work.writes.add(() => writeExtent(run, extent));
      users.push(writing.ended);
    }
  } finally {
    void Promise.all(users).then(() => {
      range.release();
    });
  }
}

async function writeExtent(run: Run, extent: Extent): Promise<void> {
  const bytes = extent.kind === 'data' ? extent.bytes : await decompressCluster(extent);
  await run.options.device.write(bytes, extent.offsetBytes);
  run.writtenBytes += bytes.length;
}

/** Makes everything read as zeros that the image does not cover: holes, and the tail of the volume. */
async function zeroHoles(run: Run, signal: AbortSignal): Promise<void> {
  const { layout, device } = run.options;
  const lanes = new Lanes(ZEROINGS_IN_FLIGHT);
  try {
    for (const hole of layout.holes(device.sizeBytes)) {
      const endBytes = hole.offsetBytes + hole.lengthBytes;
      for (let offsetBytes = hole.offsetBytes; offsetBytes < endBytes; offsetBytes += ZERO_MAX_BYTES) {
        const lengthBytes = Math.min(ZERO_MAX_BYTES, endBytes - offsetBytes);
        signal.throwIfAborted();
        await lanes.add(async () => {
          await device.zero(offsetBytes, lengthBytes);
          run.zeroedBytes += lengthBytes;
        });
      }
    }
    await lanes.drain();
  } finally {
    await lanes.settle();
  }
}

function requireRoom({ layout, device, object }: StreamOptions): void {
  if (layout.virtualSizeBytes <= device.sizeBytes) return;
  throw new ProvisionError({
    code: 'IMAGE_TOO_LARGE',
    message: `The image ${imageName(object.image)} is a disk of ${layout.virtualSizeBytes} bytes, the volume has ${device.sizeBytes}.`,
    hint: 'Make the volume larger, or use a smaller image.',
  });
}

function requireDigest({ expectedSha256, object }: StreamOptions, sha256: string): void {
  if (expectedSha256 === undefined || expectedSha256 === sha256) return;
  throw new ProvisionError({
    code: 'DIGEST_MISMATCH',
    message: `The image ${imageName(object.image)} has the SHA-256 ${sha256}, expected is ${expectedSha256}.`,
    hint: 'Either the object is not the image that was meant, or the annotation or sidecar names an old digest.',
  });
}

function cancelled({ signal, object }: StreamOptions, cause: unknown): ProvisionError {
  if (signal.reason instanceof ProvisionError) return signal.reason;
  return new ProvisionError({
    code: 'CANCELLED',
    message: `The fill from ${imageName(object.image)} was cancelled.`,
    cause,
  });
}
