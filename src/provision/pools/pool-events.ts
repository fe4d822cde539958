/**
 * Pool events come in crowds: each refresh is one, and every fill ends with a refresh. All annotated domains are
 * looked at after the first, and once more after the last, but not for each in between.
 */
import type { Clock } from '../ports/host.ts';

const PAUSE_MS = 2_000;

export class PoolEvents {
  readonly #clock: Pick<Clock, 'sleep'>;
  readonly #look: () => void;
  #isPausing = false;
  #isHeard = false;

  constructor(clock: Pick<Clock, 'sleep'>, look: () => void) {
    this.#clock = clock;
    this.#look = look;
  }

  heard(): void {
    this.#isHeard = true;
    if (!this.#isPausing) void this.#lookAndPause();
  }

  async #lookAndPause(): Promise<void> {
    this.#isPausing = true;
    while (this.#isHeard) {
      this.#isHeard = false;
      this.#look();
      await this.#clock.sleep(PAUSE_MS);
    }
    this.#isPausing = false;
  }
}
