/**
 * One reading for all who look: however many they are and however often they ask, the host is asked one question at a
 * time, and rests nine times as long as the answer took.
 */
import type { Problem } from '../../../core/errors.ts';
import { toProblem } from '../../../core/errors.ts';
import type { Clock } from '../../../provision/ports/host.ts';

const PAUSE_MIN_MS = 1_000;
const PAUSES_PER_READING = 9;
/** Whoever looks is answered then, with what is known. */
const WAIT_MS = 5_000;

/** The last that was read, and why it is not of now. */
export interface Known<T> {
  readonly value?: T | undefined;
  /** Unix time in ms. */
  readonly atMs?: number | undefined;
  readonly problem?: Problem | undefined;
}

export class SharedReading<T> {
  readonly #what: string;
  readonly #read: () => Promise<T>;
  readonly #clock: Clock;
  #known: Known<T> = {};
  #nextMs = -Infinity;
  #reading: Promise<void> | undefined;

  /** `what`: for whoever waits in vain, such as `the domains`. */
  constructor(what: string, read: () => Promise<T>, clock: Clock) {
    this.#what = what;
    this.#read = read;
    this.#clock = clock;
  }

  /** Does not throw, and takes no longer than 5 s. */
  async known(): Promise<Known<T>> {
    if (this.#reading === undefined && this.#clock.monotonicMs() >= this.#nextMs) {
      this.#reading = this.#readNow().finally(() => {
        this.#reading = undefined;
      });
    }
    if (this.#reading === undefined || (await this.#isOverInTime(this.#reading))) return this.#known;
    const message = `This host has not said within ${WAIT_MS / 1_000} s how ${this.#what} are.`;
    const hint = 'It may be busy, or libvirt or LVM may hang: lvp doctor looks what it is.';
    return { ...this.#known, problem: { code: 'TIMEOUT', message, hint } };
  }

  async #readNow(): Promise<void> {
    const beganMs = this.#clock.monotonicMs();
    try {
      this.#known = { value: await this.#read(), atMs: this.#clock.nowMs() };
    } catch (error) {
      const { value, atMs } = this.#known;
      this.#known = { value, atMs, problem: toProblem(error) };
    }
    const endedMs = this.#clock.monotonicMs();
    this.#nextMs = endedMs + Math.max(PAUSE_MIN_MS, PAUSES_PER_READING * (endedMs - beganMs));
  }

  async #isOverInTime(reading: Promise<void>): Promise<boolean> {
    const over = new AbortController();
    const late = this.#clock.sleep(WAIT_MS, over.signal).then(
      () => false,
      () => true,
    );
    const isOver = await Promise.race([reading.then(() => true), late]);
    over.abort();
    return isOver;
  }
}
