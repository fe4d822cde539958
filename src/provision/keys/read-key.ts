/** Reading a key within a limit, whatever its provider does: a start waits for it. */
import type { Problem } from '../../core/errors.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key-reference.ts';
import { formatKeyReference } from '../../core/key-reference.ts';
import type { Clock } from '../ports/host.ts';
import type { Keys, VolumeKey } from '../ports/keys.ts';

/** A time after which nobody waits any more; `end` it when nothing is left to be waited for. */
export interface TimeLimit {
  readonly signal: AbortSignal;
  readonly durationMs: number;
  end(): void;
}

export function timeLimit(clock: Clock, durationMs: number): TimeLimit {
  const over = new AbortController();
  const ended = new AbortController();
  clock.sleep(durationMs, ended.signal).then(
    () => {
      over.abort();
    },
    () => undefined,
  );
  return {
    ...{ signal: over.signal, durationMs },
    end: () => {
      ended.abort();
    },
  };
}

/** As `work` ends, or with `problem` when the time is over; then `work` goes on, and how it ends is of no account. */
export async function within<T>(limit: TimeLimit, work: Promise<T>, problem: Problem): Promise<T> {
  work.catch(() => undefined);
  const late = Promise.withResolvers<never>();
  const onAbort = () => {
    late.reject(new ProvisionError(problem));
  };
  if (limit.signal.aborted) onAbort();
  limit.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    limit.signal.removeEventListener('abort', onAbort);
  }
}

/** KEY_SERVER_UNREACHABLE when the time is over. A key that comes later is wiped. */
export async function readKey(keys: Keys, reference: KeyReference, limit: TimeLimit): Promise<VolumeKey> {
  const reading = keys.read(reference, limit.signal);
  try {
    return await within(limit, reading, {
      code: 'KEY_SERVER_UNREACHABLE',
      message: `The key ${formatKeyReference(reference)} could not be read within ${limit.durationMs / 1000} s.`,
      hint: 'Whoever has the key is slow or does not answer; try again when it does.',
    });
  } catch (error) {
    reading.then(
      (key) => {
        key.wipe();
      },
      () => undefined,
    );
    throw error;
  }
}
