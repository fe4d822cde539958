/** Domains on their way in, by migration or restore: their volumes are verified, never filled. */
import type { Clock } from '../ports/host.ts';

/** How long one may take from its first hook call to its start, in ms. */
const KEPT_MS = 6 * 3_600_000;
/** One that was refused does not come; only what was under way already is kept out for a moment more, in ms. */
const REFUSED_KEPT_MS = 60_000;

/** Why nothing is done to volumes of such a domain, and what helps: only its operator knows that it has come. */
export const MAY_STILL_ARRIVE = {
  why: 'the domain was let in by migration or restore less than 6 h ago, and may still be on its way',
  hint: 'If it has come, and is shut off by now: systemctl restart libvirt-volume-provisioner, and then again.',
} as const;

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
