/** Where it is told, step by step and as it happens, how fills go: for whoever looks for what takes its time. */
import type { ImageLease } from './image-cache.ts';
import type { FillRecord } from './ledger.ts';
import type { FillEnd } from './watches.ts';

/**
 * One follows the other without a gap. `resolve`: the image is found and judged; `create`: its private volume is made
 * or taken over; `stream`: its bytes are on their way; `verify`: the device is synced and what it holds is judged;
 * `publish`: it gets its seal and its name.
 */
export type FillStep = 'resolve' | 'create' | 'stream' | 'verify' | 'publish';

/** What becomes known on the way. */
export interface FillFacts {
  /** Of the request behind it, as the audit trail has it; what the fill itself does stands there under its own id. */
  readonly requestedAs?: string;
  readonly from?: ImageLease['from'];
  /** Of the image object. */
  readonly objectBytes?: number;
  /** Of the volume. */
  readonly volumeBytes?: number;
  readonly sha256?: string;
}

/** Must not throw, and not keep its caller waiting; what it is told of a fill that has not begun it passes over. */
export interface FillTrace {
  /** `task`: what is left to be done, in the words of FillTask. */
  begun(record: FillRecord, task: string): void;
  /** The step before, if there was another one, is over with this. */
  entered(fillId: string, step: FillStep): void;
  learned(fillId: string, facts: FillFacts): void;
  ended(fillId: string, end: FillEnd): void;
  /** Resolves, within seconds, when what was told is sent or given up. */
  close(): Promise<void>;
}
