/**
 * The time that one answer of the gate may take. The hook waits for no more, and decides by the seals then: what is let
 * through later is not what was started, or was not started at all.
 */
import type { Problem } from '../../core/errors.ts';
import { ProvisionError } from '../../core/errors.ts';
import { ANSWER_AFTER_GRACE_MS } from '../../core/gate-time.ts';
import type { Clock } from '../ports/host.ts';
import { timeLimit, within } from '../time-limit.ts';

/** What a reading may take, in ms; with one before the grace and one after it, the hook is still there to be answered. */
const READING_LIMIT_MS = 1_900;
/** What handing keys over may take at least, in ms, however much of the grace is left. */
const HAND_OVER_LEAST_MS = 1_500;

export class AnswerTime {
  readonly #clock: Clock;
  readonly #graceEndMs: number;

  /** Begins now. */
  constructor(clock: Clock, graceMs: number) {
    this.#clock = clock;
    this.#graceEndMs = clock.monotonicMs() + graceMs;
  }

  /** What is left of the grace, in ms; negative when it is over. */
  get graceLeftMs(): number {
    return this.#graceEndMs - this.#clock.monotonicMs();
  }

  /** What handing keys over may take now, in ms. */
  get handOverMs(): number {
    return Math.max(0, Math.min(this.#leftMs, Math.max(this.graceLeftMs, HAND_OVER_LEAST_MS)));
  }

  /** As `work` ends; TIMEOUT if that takes too long, and then it goes on unseen. */
  async reading<T>(work: Promise<T>): Promise<T> {
    const limitMs = Math.max(0, Math.min(READING_LIMIT_MS, this.#leftMs));
    const said = `The state of the volumes could not be read within ${(limitMs / 1000).toFixed(1)} s.`;
    const limit = timeLimit(this.#clock, limitMs);
    try {
      return await within(limit, work, tooLate(said));
    } finally {
      limit.end();
    }
  }

  /** TIMEOUT if nobody waits for the answer any more. */
  mustNotBeOver(): void {
    if (this.#leftMs > 0) return;
    throw new ProvisionError(
      tooLate('The start was let through too late: nobody waits for the answer any more.'),
    );
  }

  get #leftMs(): number {
    return this.graceLeftMs + ANSWER_AFTER_GRACE_MS;
  }
}

function tooLate(message: string): Problem {
  return { code: 'TIMEOUT', message, hint: 'LVM or libvirt is busy or stuck; try again in a moment.' };
}
