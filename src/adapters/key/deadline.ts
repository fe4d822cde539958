/** How long something may take, all in all. */

/** Its signal's reason when time is over. */
export class DeadlineOver extends Error {
  override readonly name = 'DeadlineOver';

  constructor(limitMs: number) {
    super(`no answer within ${limitMs / 1000} s`);
  }
}

/** Ends the work after the time, and when the signal says so; both by the signal that the work is given. */
export async function withinTime<T>(
  limitMs: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  outer.throwIfAborted();
  const inner = new AbortController();
  const onAbort = () => {
    inner.abort(outer.reason);
  };
  const timer = setTimeout(() => {
    inner.abort(new DeadlineOver(limitMs));
  }, limitMs);
  outer.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(inner.signal);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', onAbort);
  }
}
