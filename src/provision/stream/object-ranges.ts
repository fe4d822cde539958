/** The whole object, front to back in large ranges, the next ones on their way while one is worked on. */
import type { ImageSource } from './fetch-range.ts';
import { fetchRange } from './fetch-range.ts';
import type { RangeBuffer, RangeBuffers } from './range-buffers.ts';

export interface ObjectRange {
  readonly bytes: Uint8Array;
  /** Gives the memory back; to be called once nobody reads `bytes` any more. */
  release(): void;
}

/**
 * Yields every range in order. Whoever stops early must have aborted `source.signal` or wait for the
 * ranges on their way, which this does by itself when the loop over it is left.
 */
export async function* objectRanges(
  source: ImageSource,
  buffers: RangeBuffers,
  rangesInFlight: number,
  fromBytes = 0,
): AsyncGenerator<ObjectRange> {
  const { sizeBytes } = source.object;
  const stop = new AbortController();
  const signal = AbortSignal.any([source.signal, stop.signal]);
  const coming: Promise<ObjectRange>[] = [];
  let nextBytes = fromBytes;
  // One buffer is asked for after the other: ranges that come later must not take those of earlier ones.
  let turn: Promise<unknown> = Promise.resolve();
  const ask = () => {
    const offsetBytes = nextBytes;
    const lengthBytes = Math.min(buffers.bufferBytes, sizeBytes - offsetBytes);
    nextBytes += lengthBytes;
    const buffer = turn.then(() => buffers.acquire());
    turn = buffer;
    const range = buffer.then((held) =>
      fetchInto({ ...source, signal, goesOn: true }, offsetBytes, lengthBytes, held),
    );
    // It is awaited in its turn; until then a failure is nobody's unhandled rejection.
    range.catch(() => undefined);
    coming.push(range);
  };
  try {
    while (nextBytes < sizeBytes && coming.length < rangesInFlight) ask();
    for (let range = coming.shift(); range !== undefined; range = coming.shift()) {
      const ready = await range;
      if (nextBytes < sizeBytes) ask();
      yield ready;
    }
  } finally {
    stop.abort();
    for (const range of await Promise.allSettled(coming)) {
      if (range.status === 'fulfilled') range.value.release();
    }
  }
}

async function fetchInto(
  source: ImageSource,
  offsetBytes: number,
  lengthBytes: number,
  buffer: RangeBuffer,
): Promise<ObjectRange> {
  try {
    const bytes = buffer.bytes.subarray(0, lengthBytes);
    source.signal.throwIfAborted();
    await fetchRange(source, offsetBytes, bytes);
    return {
      bytes,
      release: () => {
        buffer.release();
      },
    };
  } catch (error) {
    buffer.release();
    throw error;
  }
}
