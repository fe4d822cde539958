/**
 * One life of a process. After its end nothing it has waited for ever comes back to it: that is what a kill
 * looks like from inside, at whichever await the program stood.
 */
import type { Clock } from '../../src/provision/ports/host.ts';
import type { Agenda } from './agenda.ts';
import type { Census } from './census.ts';
import type { Random } from './random.ts';

/** How long calls between processes take. */
export interface Pace {
  /** How many of them take any time at all. */
  readonly slowness: number;
  readonly delayMaxMs: number;
}

export interface LifeNeeds {
  readonly agenda: Agenda;
  readonly random: Random;
  readonly census: Census;
  readonly pace: () => Pace;
  /** Where the source stands at an await, for those who want to know more than which port was asked. */
  readonly where?: (() => string) | undefined;
}

/** Ends a life, or more than that, at an await to come, also at one that takes no time. */
interface Fuse {
  steps: number;
  /** What the steps that count begin with. */
  readonly at: string;
  readonly blow: () => void;
}

export class Life {
  /** Whose life it is, in the census. */
  readonly who: 'daemon' | 'helper';
  readonly #needs: LifeNeeds;
  readonly #deathbed: (() => void)[] = [];
  /** Awaits that have not come back. */
  readonly #waitingAt = new Set<{ readonly at: string }>();
  #fuse: Fuse | undefined;
  #isAlive = true;

  constructor(who: 'daemon' | 'helper', needs: LifeNeeds) {
    this.who = who;
    this.#needs = needs;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** What the kernel does when a process ends, such as closing what it had open. */
  atEnd(run: () => void): void {
    this.#deathbed.push(run);
  }

  /** Blows at the given number of such steps from now, if the life lasts as long. */
  light(steps: number, at: string, blow: () => void): void {
    this.#fuse = { steps, at, blow };
  }

  putOut(): void {
    this.#fuse = undefined;
  }

  /** `by` is what has ended it; undefined: the run is over, and that is no crash. */
  end(by?: string): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    if (by !== undefined) {
      for (const { at } of this.#waitingAt) this.#needs.census.count(`crash ${by}, ${this.who} at ${at}`);
    }
    for (const run of this.#deathbed) run();
  }

  /** Any await may be the last one. */
  async step(at: string): Promise<void> {
    if (!this.#isAlive) await never();
    const { census, pace, random, where } = this.#needs;
    const place = { at: where === undefined ? at : `${at} ${where()}` };
    census.count(`await ${this.who} at ${place.at}`);
    this.#waitingAt.add(place);
    this.#burn(at);
    const { slowness, delayMaxMs } = pace();
    if (this.#isAlive && random.chance(slowness)) await this.#pass(random.skewed(delayMaxMs));
    if (!this.#isAlive) await never();
    this.#waitingAt.delete(place);
  }

  async wait(durationMs: number, at = 'a pause'): Promise<void> {
    const place = { at };
    this.#needs.census.count(`await ${this.who} at ${at}`);
    this.#waitingAt.add(place);
    this.#burn(at);
    await this.#pass(durationMs);
    this.#waitingAt.delete(place);
  }

  clock(): Clock {
    const { agenda, census } = this.#needs;
    return {
      nowMs: () => agenda.nowMs,
      monotonicMs: () => agenda.nowMs,
      sleep: (durationMs, signal) =>
        new Promise((resolve, reject) => {
          const place = { at: 'sleep' };
          census.count(`await ${this.who} at sleep`);
          this.#waitingAt.add(place);
          const drop = agenda.after(durationMs, () => {
            this.#waitingAt.delete(place);
            if (this.#isAlive) resolve();
          });
          signal?.addEventListener('abort', () => {
            drop();
            this.#waitingAt.delete(place);
            reject(signal.reason as Error);
          });
        }),
    };
  }

  #burn(at: string): void {
    if (this.#fuse?.at === undefined || !at.startsWith(this.#fuse.at)) return;
    this.#fuse.steps -= 1;
    if (this.#fuse.steps > 0) return;
    const { blow } = this.#fuse;
    this.#fuse = undefined;
    blow();
  }

  async #pass(durationMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#needs.agenda.after(durationMs, () => {
        if (this.#isAlive) resolve();
      });
    });
  }
}

export function never(): Promise<never> {
  return new Promise<never>(() => undefined);
}
