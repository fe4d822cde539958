/**
 * What goes wrong by itself, and how often. Each run has some kinds of faults and not others: a run in which
 * everything fails all the time never gets far enough to be interesting.
 */
import type { Random } from './random.ts';

export const FAULTS = [
  ...['helperGone', 'helperAnswerLost', 'lvmFails', 'storeFails', 'storeTruncates', 'storeCorrupts'],
  ...['storeStalls', 'writeFails', 'syncFails', 'ledgerFails', 'libvirtFails', 'eventLost', 'eventTwice'],
  ...['journalFails', 'refreshFails'],
] as const;
/** A disk that spoils what it is told to keep is only noticed where volumes are read back. */
export type Fault = (typeof FAULTS)[number] | 'diskCorrupts';

const LIKELY = 0.12;

export class Faults {
  readonly #rates = new Map<Fault, number>();
  readonly #random: Random;
  isOver = false;

  constructor(random: Random) {
    this.#random = random;
    if (random.chance(0.2)) return;
    for (const fault of FAULTS) {
      if (random.chance(0.35)) this.#rates.set(fault, random.next() * LIKELY);
    }
  }

  /** A fault that not every run can bear. */
  add(fault: Fault, random: Random): void {
    if (this.#rates.size > 0) this.#rates.set(fault, random.next() * LIKELY);
  }

  strikes(fault: Fault): boolean {
    const rate = this.#rates.get(fault);
    return rate !== undefined && !this.isOver && this.#random.chance(rate);
  }

  toString(): string {
    return (
      [...this.#rates].map(([fault, rate]) => `${fault} ${(100 * rate).toFixed(0)} %`).join(', ') || 'none'
    );
  }
}
