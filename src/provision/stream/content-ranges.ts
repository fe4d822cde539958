/**
 * The content of a compressed object, front to back. It cannot be read at random, so whoever needs a part
 * of it reads up to there; the stored bytes are hashed on their way into the decompressor.
 */
import { Expansion, type ExpansionLimits } from '../../core/images/expansion.ts';
import type { ImageFormat, OuterCompression } from '../../core/request.ts';
import type { ImageSource } from './fetch-range.ts';
import type { ObjectRange } from './object-ranges.ts';
import { objectRanges } from './object-ranges.ts';
import type { Decompressors } from '../ports/workshop.ts';
import type { RangeBuffer, RangeBuffers } from './range-buffers.ts';

/** The compression around an image, and what bounds it. */
export interface OuterLayer {
  readonly compression: OuterCompression;
  readonly format: ImageFormat;
  readonly decompressors: Decompressors;
  readonly virtualSizeMaxBytes: number;
  readonly limits: ExpansionLimits;
}

export interface ContentOptions {
  /** Memory for the stored bytes; two of them are in use at a time. */
  readonly buffers: RangeBuffers;
  /** Takes the stored bytes in order; their memory is used again when it resolves. */
  readonly hash?: ((stored: Uint8Array) => Promise<void>) | undefined;
}

const STORED_RANGES_IN_FLIGHT = 1;

/** The content in pieces of any size, each in memory of its own. */
export async function* contentOf(
  source: ImageSource,
  layer: OuterLayer,
  options: ContentOptions,
): AsyncGenerator<Uint8Array> {
  const { decompressors, compression, format, virtualSizeMaxBytes, limits } = layer;
  const expansion = new Expansion(format, source.object.sizeBytes, virtualSizeMaxBytes, limits);
  const startMs = source.clock.monotonicMs();
  const elapsedMs = () => source.clock.monotonicMs() - startMs;
  // Also where nothing comes out, such as of a million empty members.
  const stored = storedBytes(source, options, () => {
    expansion.add(0, elapsedMs());
  });
  for await (const bytes of decompressors.content(compression, stored, source.signal)) {
    expansion.add(bytes.length, elapsedMs());
    yield bytes;
  }
}

async function* storedBytes(
  source: ImageSource,
  options: ContentOptions,
  onRange: () => void,
): AsyncGenerator<Uint8Array> {
  for await (const range of objectRanges(source, options.buffers, STORED_RANGES_IN_FLIGHT)) {
    const hashing = options.hash?.(range.bytes) ?? Promise.resolve();
    // Awaited below, while the decompressor has the same bytes; until then nobody's unhandled rejection.
    hashing.catch(() => undefined);
    try {
      onRange();
      yield range.bytes;
      await hashing;
    } finally {
      await hashing.catch(() => undefined);
      range.release();
    }
  }
}

/**
 * The content in ranges of the buffers' size, as if it were an object of its own. Each holds its memory
 * until it is released.
 */
export async function* contentRanges(
  source: ImageSource,
  layer: OuterLayer,
  options: ContentOptions,
): AsyncGenerator<ObjectRange> {
  const { buffers } = options;
  let range: RangeBuffer | undefined;
  let filledBytes = 0;
  try {
    for await (const bytes of contentOf(source, layer, options)) {
      for (let at = 0; at < bytes.length;) {
        range ??= await buffers.acquire();
        const part = bytes.subarray(at, at + buffers.bufferBytes - filledBytes);
        range.bytes.set(part, filledBytes);
        filledBytes += part.length;
        at += part.length;
        if (filledBytes < buffers.bufferBytes) continue;
        const whole = range;
        // From here on it belongs to whoever took it, even if that is the end of this loop.
        range = undefined;
        filledBytes = 0;
        yield whole;
      }
    }
    if (range === undefined) return;
    const last = range;
    range = undefined;
    yield {
      bytes: last.bytes.subarray(0, filledBytes),
      release: () => {
        last.release();
      },
    };
  } finally {
    range?.release();
  }
}
