/**
 * One life of a process. After its end nothing it has waited for ever comes back to it: that is what a kill
 * looks like from inside, at whichever await the program stood.
 */
import type { Clock } from '../../src/provision/ports.ts';
import type { Agenda } from './agenda.ts';
import type { Random } from './random.ts';

/** How long calls between processes take. */
export interface Pace {
  /** How many of them take any time at all. */
  readonly slowness: number;
  readonly delayMaxMs: number;
}

export class Life {
  readonly #agenda: Agenda;
  readonly #random: Random;
  readonly #pace: () => Pace;
  readonly #deathbed: (() => void)[] = [];
  #isAlive = true;

  constructor(agenda: Agenda, random: Random, pace: () => Pace) {
    this.#agenda = agenda;
    this.#random = random;
    this.#pace = pace;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** What the kernel does when a process ends, such as closing what it had open. */
  atEnd(run: () => void): void {
    this.#deathbed.push(run);
  }

  end(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    for (const run of this.#deathbed) run();
  }

  /** Any await may be the last one. */
  async step(): Promise<void> {
    const { slowness, delayMaxMs } = this.#pace();
    if (this.#isAlive && this.#random.chance(slowness)) await this.wait(this.#random.skewed(delayMaxMs));
    if (!this.#isAlive) await never();
  }

  async wait(durationMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#agenda.after(durationMs, () => {
        if (this.#isAlive) resolve();
      });
    });
  }

  clock(): Clock {
    return {
      nowMs: () => this.#agenda.nowMs,
      monotonicMs: () => this.#agenda.nowMs,
      sleep: (durationMs, signal) =>
        new Promise((resolve, reject) => {
          const drop = this.#agenda.after(durationMs, () => {
            if (this.#isAlive) resolve();
          });
          signal?.addEventListener('abort', () => {
            drop();
            reject(signal.reason as Error);
          });
        }),
    };
  }
}

export function never(): Promise<never> {
  return new Promise<never>(() => undefined);
}
