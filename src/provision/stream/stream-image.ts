/**
 * The way of the bytes, from bucket to device. The object is read once, front to back; the same bytes are
 * hashed, decoded and written, while the next ranges are on their way and the holes are being zeroed.
 *
 * The only memory that grows with the image is the layout's map. Everything in flight has ended, one way or
 * the other, when streamImage() returns or throws.
 */
import type {
  CompressedExtent,
  DataExtent,
  Extent,
  ImageDecoder,
  ImageLayout,
} from '../../core/images/layout.ts';
import { openImage } from '../../core/images/open-image.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { ImageProof } from '../../core/images/proof.ts';
import { checkProof } from '../../core/images/proof.ts';
import type { ImageFormat } from '../../core/request.ts';
import type { HashFrom } from '../../core/images/resumable-sha256.ts';
import { imageName } from '../../core/request.ts';
import { Checkpoints } from './checkpoints.ts';
import { ClusterBatch, batchBufferBytes, batchWrites } from './cluster-batches.ts';
import type { OuterLayer } from './content-ranges.ts';
import { contentRanges } from './content-ranges.ts';
import type { ImageSource } from './fetch-range.ts';
import { fetchRange } from './fetch-range.ts';
import { InThreadWorkshop } from './in-thread-workshop.ts';
import { Lanes } from './lanes.ts';
import type { ObjectRange } from './object-ranges.ts';
import { objectRanges } from './object-ranges.ts';
import type { FillPosition } from '../ports/fill-journals.ts';
import type { Clock } from '../ports/host.ts';
import type { ImageObject, Images } from '../ports/images.ts';
import type { VolumeDevice } from '../ports/volumes.ts';
import type { Workshop, Workshops } from '../ports/workshop.ts';
import { ProofHasher } from './proof-hasher.ts';
import { RangeBuffers } from './range-buffers.ts';
import type { StreamShape } from './stream-shape.ts';
import { STREAM_SHAPE } from './stream-shape.ts';
import type { WriteRate } from './write-rate.ts';
import { paced } from './write-rate.ts';

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
  /** What else must be true of the object's bytes. */
  readonly proof?: ImageProof | undefined;
  /** The compression around the image, which `layout` is then the layout inside of. */
  readonly outer?: OuterLayer | undefined;
  readonly onProgress?: ((progress: StreamProgress) => void) | undefined;
  readonly onRetry?: ImageSource['onRetry'];
  /** Told when all bytes are handed to the device, before it is synced. */
  readonly onStreamed?: (() => void) | undefined;
  /** Threads that hash and decompress; by default it is done in this one. */
  readonly workshops?: Workshops | undefined;
  /** Where an earlier run over the same object, layout and device stood. */
  readonly resumeFrom?: FillPosition | undefined;
  /** Told from time to time what a later run may resume from; only with a layout that has a fingerprint. */
  readonly onCheckpoint?: ((position: FillPosition) => Promise<void>) | undefined;
  readonly shape?: StreamShape | undefined;
  /** Shared by all fills. */
  readonly writeRate?: WriteRate | undefined;
  /** The device is known to read as zeros everywhere, such as a new thin volume: holes are left alone. */
  readonly isDeviceZero?: boolean | undefined;
}

export interface StreamedImage extends StreamProgress {
  /** Digest of the object's bytes, exactly those that were decoded. */
  readonly sha256: string;
}

/** Memory for what is decompressed. Clusters of 2 MiB, the largest, share it: two of them are at work then. */
const BATCHES_BYTES = 6 * batchBufferBytes(0);
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
    options.onStreamed?.();
    await options.device.sync();
    const sha256 = await run.workshop.hasher.digest();
    const { object, proof, expectedSha256 = proof?.sha256 } = options;
    checkProof(object.image, { ...proof, sha256: expectedSha256 }, run.proofHasher.digests(sha256));
    return { ...run.progress(), sha256 };
  } catch (error) {
    throw options.signal.aborted ? cancelled(options, error) : error;
  } finally {
    await run.workshop.close();
  }
}

/** What the parts of one fill share. */
class Run {
  readonly options: StreamOptions;
  readonly workshop: Workshop;
  readonly proofHasher: ProofHasher;
  readonly buffers: RangeBuffers;
  readonly checkpoints: Checkpoints;
  readonly shape: StreamShape;
  /** What data is written to; what waits in front of it is let go as soon as a part of the run has failed. */
  device: VolumeDevice;
  readonly #rangesBytes: number;
  #batchBuffers: RangeBuffers | undefined;
  objectBytes: number;
  writtenBytes: number;
  zeroedBytes: number;

  constructor(options: StreamOptions) {
    this.options = options;
    this.device = options.device;
    const { resumeFrom: from, layout, device, shape = STREAM_SHAPE } = options;
    this.shape = shape;
    this.objectBytes = from?.objectBytes ?? 0;
    this.writtenBytes = from?.writtenBytes ?? 0;
    this.zeroedBytes = from?.zeroedBytes ?? 0;
    const { rangeBytes, rangeBuffers } = this.shape;
    this.#rangesBytes = rangeBytes * rangeBuffers;
    const memoryBytes = this.#rangesBytes + BATCHES_BYTES;
    this.workshop =
      options.workshops?.open(memoryBytes, from && hashFrom(from)) ??
      new InThreadWorkshop(memoryBytes, from && hashFrom(from));
    this.checkpoints = new Checkpoints({
      ...{ device, hasher: this.workshop.hasher, from, shape: this.shape },
      save: layout.fingerprint === undefined ? undefined : options.onCheckpoint,
    });
    this.proofHasher = new ProofHasher(options.proof ?? {});
    this.buffers = new RangeBuffers(this.workshop.memory, rangeBytes, 0, this.#rangesBytes);
  }

  /** Buffers for batches of decompressed clusters; all clusters of an image have one size. */
  batchBuffers(clusterBytes: number): RangeBuffers {
    this.#batchBuffers ??= new RangeBuffers(
      ...([this.workshop.memory, batchBufferBytes(clusterBytes)] as const),
      ...([this.#rangesBytes, this.#rangesBytes + BATCHES_BYTES] as const),
    );
    return this.#batchBuffers;
  }

  progress(): StreamProgress {
    const { objectBytes, writtenBytes, zeroedBytes } = this;
    return { objectBytes, objectSizeBytes: this.options.layout.objectSizeBytes, writtenBytes, zeroedBytes };
  }

  /** Takes the object's bytes as stored, in order. */
  hash(bytes: Uint8Array): Promise<void> {
    this.proofHasher.update(bytes);
    return this.workshop.hasher.update(bytes);
  }

  /** Runs the parts side by side; the first that fails stops the others, and all have ended afterwards. */
  async all(parts: readonly ((signal: AbortSignal) => Promise<void>)[]): Promise<void> {
    const failure = new AbortController();
    const signal = AbortSignal.any([this.options.signal, failure.signal]);
    this.device = paced(this.options.device, this.options.writeRate, signal);
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
  const { images, object, layout, outer, clock, onRetry, onProgress } = run.options;
  const decoder = layout.decoder(run.objectBytes);
  const work = { hashes: new Lanes(run.shape.rangeBuffers), writes: new Lanes(WRITES_IN_FLIGHT) };
  const source = { images, object, clock, signal, onRetry };
  try {
    const hash = (stored: Uint8Array) => run.hash(stored);
    const ranges =
      outer === undefined
        ? objectRanges(source, run.buffers, run.shape.rangesInFlight, run.objectBytes)
        : contentRanges(source, outer, { buffers: run.buffers, hash });
    const isSound = () => !work.hashes.hasFailed && !work.writes.hasFailed;
    for await (const range of ranges) {
      await takeRange(run, work, decoder, range, signal);
      run.objectBytes += range.bytes.length;
      onProgress?.(run.progress());
      await run.checkpoints.handed({ ...run.progress(), safeBytes: decoder.safeBytes }, isSound);
    }
    await work.hashes.drain();
    await work.writes.drain();
    decoder.finish();
  } finally {
    await work.hashes.settle();
    await work.writes.settle();
    await run.checkpoints.settle();
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
    // Of a compressed object, the stored bytes were hashed before these came out of them.
    if (run.options.outer === undefined) {
      const hashing = await work.hashes.add(() => run.hash(range.bytes));
      users.push(hashing.ended);
    }
    for (const write of writesOf(run, decoder.push(range.bytes))) {
      signal.throwIfAborted();
      const writing = await work.writes.add(write);
      users.push(writing.ended);
    }
    run.checkpoints.track(Promise.all(users).then(() => undefined));
  } finally {
    void Promise.all(users).then(() => {
      range.release();
    });
  }
}

/** What is to be done for the extents: one task for each piece of data, and for each batch of clusters. */
function* writesOf(run: Run, extents: Iterable<Extent>): Generator<() => Promise<void>> {
  let batch = new ClusterBatch();
  for (const extent of extents) {
    if (extent.kind === 'data') {
      yield () => writeData(run, extent);
    } else if (extent.kind === 'zero') {
      yield () => zero(run, extent.offsetBytes, extent.lengthBytes);
    } else if (batch.add(extent)) {
      const { clusters } = batch;
      batch = new ClusterBatch();
      yield () => writeClusters(run, clusters);
    }
  }
  if (batch.clusters.length > 0) yield () => writeClusters(run, batch.clusters);
}

async function writeData(run: Run, { bytes, offsetBytes }: DataExtent): Promise<void> {
  await run.device.write(bytes, offsetBytes);
  run.writtenBytes += bytes.length;
}

async function zero(run: Run, offsetBytes: number, lengthBytes: number): Promise<void> {
  if (run.options.isDeviceZero !== true) await run.options.device.zero(offsetBytes, lengthBytes);
  run.zeroedBytes += lengthBytes;
}

/** Decompresses clusters in another thread and writes what stands side by side in one piece. */
async function writeClusters(run: Run, clusters: readonly CompressedExtent[]): Promise<void> {
  const buffer = await run.batchBuffers(clusters[0]?.clusterBytes ?? 0).acquire();
  try {
    await run.workshop.decompress(clusters, buffer.bytes);
    for (const { offsetBytes, start, end } of batchWrites(clusters)) {
      await run.device.write(buffer.bytes.subarray(start, end), offsetBytes);
      run.writtenBytes += end - start;
    }
  } finally {
    buffer.release();
  }
}

/** Makes everything read as zeros that the image does not cover: holes, and the tail of the volume. */
async function zeroHoles(run: Run, signal: AbortSignal): Promise<void> {
  const { layout, device, resumeFrom } = run.options;
  const lanes = new Lanes(ZEROINGS_IN_FLIGHT);
  try {
    for (const hole of layout.holes(device.sizeBytes)) {
      const endBytes = hole.offsetBytes + hole.lengthBytes;
      const from = Math.max(hole.offsetBytes, resumeFrom?.zeroedToBytes ?? 0);
      for (let offsetBytes = from; offsetBytes < endBytes; offsetBytes += ZERO_MAX_BYTES) {
        const lengthBytes = Math.min(ZERO_MAX_BYTES, endBytes - offsetBytes);
        signal.throwIfAborted();
        await lanes.add(async () => {
          const done = run.checkpoints.zeroed.begin(offsetBytes, lengthBytes);
          await zero(run, offsetBytes, lengthBytes);
          done();
        });
      }
    }
    await lanes.drain();
  } finally {
    await lanes.settle();
  }
}

/** What the hasher of a resumed run begins with. */
function hashFrom({ hashState, objectBytes }: FillPosition): HashFrom {
  return { state: hashState, doneBytes: objectBytes };
}

function requireRoom({ layout, device, object }: StreamOptions): void {
  if (layout.virtualSizeBytes <= device.sizeBytes) return;
  throw new ProvisionError({
    code: 'IMAGE_TOO_LARGE',
    message: `The image ${imageName(object.image)} is a disk of ${layout.virtualSizeBytes} bytes, the volume has ${device.sizeBytes}.`,
    hint: 'Make the volume larger, or use a smaller image.',
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
