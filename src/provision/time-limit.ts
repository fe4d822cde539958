/** A limit for work that may never end, by the clock that everything else goes by. */
import type { Problem } from '../core/errors.ts';
import { ProvisionError } from '../core/errors.ts';
import type { Clock } from './ports/host.ts';

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
