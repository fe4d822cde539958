/**
 * Domains whose start was let through a moment ago: libvirt calls them shut off until QEMU runs, and what the gate has
 * looked at has to stay as it was until then.
 */
import type { Clock } from '../ports/host.ts';

/** QEMU has opened its disks by then, in ms; where it has not, a start fails and can be repeated. */
const START_MAX_MS = 30_000;

export class StartingDomains {
  readonly #clock: Clock;
  /** In the order of their times. */
  readonly #sinceMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  mark(uuid: string): void {
    this.#sinceMs.delete(uuid);
    this.#sinceMs.set(uuid, this.#clock.monotonicMs());
    this.#forgetOld();
  }

  has(uuid: string): boolean {
    this.#forgetOld();
    return this.#sinceMs.has(uuid);
  }

  /** Whether a start was let through at this time, in monotonic ms, or since: by now it may have ended as well. */
  hasSince(uuid: string, sinceMs: number): boolean {
    return (this.#sinceMs.get(uuid) ?? -Infinity) >= sinceMs;
  }

  #forgetOld(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [uuid, sinceMs] of this.#sinceMs) {
      if (nowMs - sinceMs < START_MAX_MS) return;
      this.#sinceMs.delete(uuid);
    }
  }
}
