/** Domains that are to be looked at again at some time: one time each, the one that was set last. */
import { RETRY_MAX_MS } from '../../core/plan/retry-pause.ts';
import type { Clock } from '../ports/host.ts';

export class LooksLater {
  readonly #clock: Clock;
  readonly #look: (uuid: string) => void;
  readonly #timers = new Map<string, AbortController>();
  #stopped = false;

  constructor(clock: Clock, look: (uuid: string) => void) {
    this.#clock = clock;
    this.#look = look;
  }

  at(uuid: string, atMs: number): void {
    if (this.#stopped) return;
    this.#timers.get(uuid)?.abort();
    const timer = new AbortController();
    this.#timers.set(uuid, timer);
    // The clock may have been set back meanwhile: no pause is longer than the longest.
    const waitMs = Math.min(Math.max(0, atMs - this.#clock.nowMs()), RETRY_MAX_MS);
    this.#clock.sleep(waitMs, timer.signal).then(
      () => {
        this.#timers.delete(uuid);
        this.#look(uuid);
      },
      // Set anew, or the end of the program.
      () => undefined,
    );
  }

  in(uuid: string, pauseMs: number): void {
    this.at(uuid, this.#clock.nowMs() + pauseMs);
  }

  /** Nobody is looked at any more. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.abort();
  }
}
