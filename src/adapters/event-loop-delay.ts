/**
 * How long the program's one thread was busy with a single thing, or was not given a processor: meanwhile the
 * gate does not answer. More than LIMIT_MS is worth a line in the log, at most one a window.
 *
 * A timer of our own: what perf_hooks.monitorEventLoopDelay() has not yet counted when it is read and reset is
 * lost, and that is what has just ended; with `samplePerIteration` it does not see what a read that has ended
 * sets off.
 *
 * `ownMs` is the processor time the thread had meanwhile: if it is small, others had the processors, or the
 * thread waited for a disk.
 */
import type { Log } from '../provision/ports/host.ts';

const TICK_MS = 20;
const LIMIT_MS = 50;
const WINDOW_MS = 60_000;

/** Watches until it is told to end. `onDelay` is told of every tick how many ms it was late. */
export function watchEventLoop(
  log: Log,
  windowMs = WINDOW_MS,
  onDelay: (lateMs: number) => void = () => undefined,
): () => void {
  let tickedMs = performance.now();
  let cpuMs = threadCpuMs();
  let saidMs = -Infinity;
  let longest = { longestMs: 0, ownMs: 0 };
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const lateMs = nowMs - tickedMs - TICK_MS;
    const ownMs = threadCpuMs() - cpuMs;
    tickedMs = nowMs;
    cpuMs += ownMs;
    onDelay(lateMs);
    if (lateMs > longest.longestMs) longest = { longestMs: Math.round(lateMs), ownMs: Math.round(ownMs) };
    if (longest.longestMs <= LIMIT_MS || nowMs - saidMs < windowMs) return;
    log.warn({ ...longest, limitMs: LIMIT_MS }, 'the program stood still for longer than it should');
    saidMs = nowMs;
    longest = { longestMs: 0, ownMs: 0 };
  }, TICK_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
