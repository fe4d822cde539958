/** The clock, the log, and what is true of the whole host. */
import type { Frozen } from '../../core/frozen.ts';

/** In which boot of the machine this program ran last. */
export interface Boots {
  /** As the kernel names it; undefined: it has not run yet, or its ledger was lost. */
  lastBoot(): string | undefined;
  putBoot(id: string): void;
}

/** Whether this host is frozen for an incident; asked for each decision, and never remembered. */
export interface Freeze {
  frozen(): Frozen | undefined;
}

/** Time, so that tests can own it. */
export interface Clock {
  /** Unix time in ms, for records. */
  nowMs(): number;
  /** Milliseconds that only ever go forward, for durations. */
  monotonicMs(): number;
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

/** The part of pino that verbs use. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}
