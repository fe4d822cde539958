/** Fetches one range of a pinned image, and goes on from where it broke when a connection breaks. */
import { ProvisionError } from '../../core/errors.ts';
import type { Clock } from '../ports/host.ts';
import type { ImageObject, Images } from '../ports/images.ts';

export interface ImageSource {
  readonly images: Images;
  readonly object: ImageObject;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told about each new try, for logs and metrics. */
  readonly onRetry?: ((problem: ProvisionError, pauseMs: number) => void) | undefined;
  /** The bytes behind each range are wanted next. */
  readonly goesOn?: boolean | undefined;
}

/** Tries in a row that may bring next to nothing. With the pauses below: about half a minute. */
const FRUITLESS_TRIES_MAX = 6;
/** What a try has to bring: a store that gives a few bytes at a time is no store. */
const FRUITFUL_BYTES = 1024 * 1024;
const TRIES_MAX = 100;
const PAUSE_FIRST_MS = 250;
const PAUSE_MAX_MS = 15_000;

/** Fills `target` with the object's bytes from `offsetBytes` on. */
export async function fetchRange(
  source: ImageSource,
  offsetBytes: number,
  target: Uint8Array,
): Promise<void> {
  let gotBytes = 0;
  let fruitless = 0;
  for (let tries = 1; ; tries++) {
    const gotBefore = gotBytes;
    try {
      const from = offsetBytes + gotBytes;
      await source.images.readInto(source.object, from, target.subarray(gotBytes), {
        ...{ signal: source.signal, goesOn: source.goesOn },
        onBytes: (countBytes) => {
          gotBytes += countBytes;
        },
      });
      return;
    } catch (error) {
      source.signal.throwIfAborted();
      fruitless = gotBytes - gotBefore >= FRUITFUL_BYTES ? 1 : fruitless + 1;
      const mayGoOn = isBroken(error) && fruitless < FRUITLESS_TRIES_MAX && tries < TRIES_MAX;
      if (!mayGoOn) throw error;
      const pauseMs = Math.max(pauseAfter(fruitless), error.retryAfterMs ?? 0);
      source.onRetry?.(error, pauseMs);
      await source.clock.sleep(pauseMs, source.signal);
    }
  }
}

/** Failures of the way to the store. Whether the object itself is short shows when trying again. */
function isBroken(error: unknown): error is ProvisionError {
  return (
    error instanceof ProvisionError &&
    (error.code === 'STORE_UNREACHABLE' || error.code === 'IMAGE_TRUNCATED')
  );
}

/** Exponential, and somewhere in its upper half, so that many hosts do not come back at once. */
function pauseAfter(fruitless: number): number {
  const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (fruitless - 1));
  return pauseMs * (0.5 + Math.random() / 2);
}
