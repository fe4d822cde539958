/** Starts of guests with encrypted disks: which may be under way, and which were refused a key and are tried again. */
import type { Problem } from '../../core/errors.ts';
import { isPassing } from '../../core/errors.ts';
import { retryPauseMs } from '../../core/plan/retry-pause.ts';
import type { Clock } from '../ports/host.ts';

/** From the gate's answer to the start of QEMU, for which libvirt waits for other hooks; then it runs or has failed. */
const ADMITTED_MS = 120_000;
/** A refusal does not make the next pause longer any more. */
const FORGOTTEN_MS = 3_600_000;

/** Whoever was refused a key is not asked for again at once. */
interface Refusal {
  readonly tries: number;
  readonly untilMs: number;
}

export class GuestStarts {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #createdMs: number;
  /** Until when a start that was let through counts as under way, in monotonic ms, by domain. */
  readonly #admittedUntilMs = new Map<string, number>();
  /** Another one for each start: what was decided of a domain before is out of date. */
  readonly #starts = new Map<string, object>();
  readonly #refusals = new Map<string, Refusal>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
    this.#createdMs = clock.monotonicMs();
  }

  /** One has begun. Returns what says, as long as it holds, that there was no other since. */
  begin(uuid: string): () => boolean {
    this.#starts.set(uuid, {});
    this.#admit(uuid);
    return this.unchanged(uuid);
  }

  /** What says, as long as it holds, that no start of the domain has begun since. */
  unchanged(uuid: string): () => boolean {
    const start = this.#starts.get(uuid);
    return () => this.#starts.get(uuid) === start;
  }

  /** It is let through; from now on it may be under way. */
  admitted(uuid: string): void {
    this.#admit(uuid);
    this.#refusals.delete(uuid);
  }

  /** `isLast`: no other start of the domain has begun since. */
  refused(uuid: string, problems: readonly Problem[], isLast: boolean): void {
    if (isLast) this.#admittedUntilMs.set(uuid, -Infinity);
    if (!problems.every(isPassing)) {
      this.#refusals.delete(uuid);
      return;
    }
    const tries = (this.#refusals.get(uuid)?.tries ?? 0) + 1;
    const untilMs = this.#clock.monotonicMs() + retryPauseMs(tries, Math.random());
    this.#refusals.set(uuid, { tries, untilMs });
  }

  /** Its guest runs: from now on libvirt can tell. */
  begun(uuid: string): void {
    this.#admittedUntilMs.set(uuid, -Infinity);
  }

  /** A start was let through and may be under way; also one that was let through before this program began. */
  isUnderWay(uuid: string | undefined): boolean {
    const untilMs = this.#admittedUntilMs.get(uuid ?? '') ?? this.#createdMs + ADMITTED_MS;
    return this.#clock.monotonicMs() < untilMs;
  }

  /** For so long, in ms, no start is to be tried again, as its key was refused; undefined: it was not. */
  pauseMs(uuid: string): number | undefined {
    const refusal = this.#refusals.get(uuid);
    return refusal && Math.max(0, refusal.untilMs - this.#clock.monotonicMs());
  }

  /** Of domains that may never come back nothing is kept, but of these. */
  forgetEarlier(kept: ReadonlySet<string>): void {
    const nowMs = this.#clock.monotonicMs();
    for (const uuid of new Set([...this.#starts.keys(), ...this.#admittedUntilMs.keys()])) {
      if (this.isUnderWay(uuid) || kept.has(uuid)) continue;
      // Before that, one that is not known counts as under way.
      if (nowMs < this.#createdMs + ADMITTED_MS) continue;
      this.#starts.delete(uuid);
      this.#admittedUntilMs.delete(uuid);
    }
    for (const [uuid, { untilMs }] of this.#refusals) {
      if (untilMs + FORGOTTEN_MS < nowMs) this.#refusals.delete(uuid);
    }
  }

  #admit(uuid: string): void {
    this.#admittedUntilMs.set(uuid, this.#clock.monotonicMs() + ADMITTED_MS);
  }
}
