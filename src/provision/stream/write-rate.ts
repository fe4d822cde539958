/**
 * How fast all fills of this host may write together, so that running guests have the disk too. Whoever wants
 * to write waits until what was let through before him is paid for; nobody is woken before his turn.
 */
import type { Clock } from '../ports/host.ts';
import type { VolumeDevice } from '../ports/volumes.ts';

/** A timer that is late by up to this is made up for, so that the rate is reached. */
const CREDIT_MS = 50;
/** A longer write goes in pieces, so that no burst is longer than one of them. */
const PIECE_BYTES = 1024 * 1024;

interface Turn {
  readonly bytes: number;
  readonly go: () => void;
}

export class WriteRate {
  readonly #clock: Clock;
  readonly #bytesPerMs: number;
  readonly #waiting = new Set<Turn>();
  /** All that was let through is paid for at this time. */
  #paidAtMs = -Infinity;
  /** Ends the sleep until the next turn; undefined while nobody waits. */
  #pause: AbortController | undefined;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Resolves when so many bytes may be written; an abort ends the wait at once, and they cost nothing. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#waiting.size === 0 && this.#paidAtMs <= this.#clock.monotonicMs()) {
      this.#charge(bytes);
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const turn: Turn = {
      bytes,
      go: () => {
        resolve(undefined);
      },
    };
    const giveUp = (): void => {
      reject(signal.reason as Error);
      this.#waiting.delete(turn);
      // Nothing is to keep the program alive for nobody.
      if (this.#waiting.size === 0) this.#pause?.abort();
    };
    signal.addEventListener('abort', giveUp, { once: true });
    this.#waiting.add(turn);
    this.#wakeInTime();
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** One sleep at a time, until what was let through is paid for. */
  #wakeInTime(): void {
    if (this.#pause !== undefined || this.#waiting.size === 0) return;
    const pause = new AbortController();
    this.#pause = pause;
    // Timers count whole ms: one that rings too early would be set again and again.
    const waitMs = Math.max(0, Math.ceil(this.#paidAtMs - this.#clock.monotonicMs()));
    this.#clock
      .sleep(waitMs, pause.signal)
      .then(
        () => {
          this.#letThrough();
        },
        // Everybody had gone.
        () => undefined,
      )
      .finally(() => {
        this.#pause = undefined;
        this.#wakeInTime();
      });
  }

  #letThrough(): void {
    for (const turn of this.#waiting) {
      if (this.#paidAtMs > this.#clock.monotonicMs()) return;
      this.#waiting.delete(turn);
      this.#charge(turn.bytes);
      turn.go();
    }
  }

  #charge(bytes: number): void {
    const fromMs = Math.max(this.#paidAtMs, this.#clock.monotonicMs() - CREDIT_MS);
    this.#paidAtMs = fromMs + bytes / this.#bytesPerMs;
  }
}

/**
 * The device, written to no faster than the rate allows; `signal` and any failed write end all waiting. Zeroing
 * is not counted: most disks do it by themselves, without a byte on the way.
 */
export function paced(device: VolumeDevice, rate: WriteRate | undefined, signal: AbortSignal): VolumeDevice {
  if (rate === undefined) return device;
  const failure = new AbortController();
  const ended = AbortSignal.any([signal, failure.signal]);
  return {
    sizeBytes: device.sizeBytes,
    zero: (...range) => device.zero(...range),
    read: (...range) => device.read(...range),
    sync: () => device.sync(),
    close: () => device.close(),
    async write(bytes, offsetBytes) {
      for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
        const piece = bytes.subarray(start, start + PIECE_BYTES);
        await rate.take(piece.length, ended);
        try {
          await device.write(piece, offsetBytes + start);
        } catch (error) {
          // Whoever waits behind it would write for nothing.
          failure.abort(error);
          throw error;
        }
      }
    },
  };
}
