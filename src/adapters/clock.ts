import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../provision/ports/host.ts';

/** The machine's own clocks. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (durationMs, signal) => setTimeout(durationMs, undefined, signal === undefined ? {} : { signal }),
};
