/** Domains on their way in, by migration or restore: their volumes are verified, never filled. */
import type { Clock } from '../ports/host.ts';

/** How long one may take from its first hook call to its start, in ms. */
const KEPT_MS = 6 * 3_600_000;
/** One that was refused does not come; only what was under way already is kept out for a moment more, in ms. */
const REFUSED_KEPT_MS = 60_000;

export class IncomingDomains {
  readonly #clock: Clock;
  /** Until when, in monotonic ms, by UUID. */
  readonly #untilMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  mark(uuid: string, answer: 'admitted' | 'refused'): void {
    this.#untilMs.set(uuid, this.#clock.monotonicMs() + (answer === 'admitted' ? KEPT_MS : REFUSED_KEPT_MS));
  }

  has(uuid: string): boolean {
    const nowMs = this.#clock.monotonicMs();
    for (const [other, untilMs] of this.#untilMs) if (untilMs <= nowMs) this.#untilMs.delete(other);
    return this.#untilMs.has(uuid);
  }
}
