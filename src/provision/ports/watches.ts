/** Who is told what happens, to count it. */
import type { Problem } from '../../core/errors.ts';
import type { FillRecord, GoldenEnd } from './ledger.ts';

/** How a fill that had begun has ended; `stopped` with the daemon, and it goes on with the next one. */
export type FillEnd =
  | { readonly how: 'published' | 'stopped' }
  | { readonly how: 'failed' | 'cancelled'; readonly problem: Problem };

/** Told of every fill that has its turn. Must not throw, and not keep its caller waiting. */
export interface FillWatch {
  /** `writes`: it brings bytes, and does not only publish or claim what is there. */
  begun(record: FillRecord, writes: boolean): void;
  /** It has entered this phase; `resolving` comes with the beginning. */
  entered(record: FillRecord, phase: 'filling' | 'verifying' | 'publishing'): void;
  ended(record: FillRecord, writes: boolean, end: FillEnd): void;
}

/** What has become of golden volumes, for whoever counts. Must not throw. */
export interface GoldenWatch {
  /** A volume of a guest was made of one. */
  cloned(): void;
  made(): void;
  dropped(why: GoldenEnd): void;
  /** One was there and is gone, and it was not us. */
  missed(): void;
  checked(result: 'sound' | 'damaged' | 'failed'): void;
}

/** Told of keys on their way to guests. Must not throw. */
export interface KeyWatch {
  readonly handedOver: (result: 'done' | 'refused') => void;
  /** A key that a guest runs with may not be read by this host any more. */
  readonly revoked: () => void;
}

/** All metrics as they are now, in words that Prometheus reads. */
export interface MetricsText {
  readonly contentType: string;
  render(): Promise<string>;
}

/** Told of each image that was to be brought here ahead of time. Must not throw. */
export interface PrefetchWatch {
  readonly ended: (result: 'done' | 'failed') => void;
}
