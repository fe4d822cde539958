/**
 * What goes wrong by itself, and how often. Each run has some kinds of faults and not others: a run in which
 * everything fails all the time never gets far enough to be interesting.
 */
import type { Census } from './census.ts';
import type { Random } from './random.ts';

const FAULTS = [
  ...['helperGone', 'helperAnswerLost', 'lvmFails', 'storeFails', 'storeTruncates', 'storeCorrupts'],
  ...['storeStalls', 'writeFails', 'syncFails', 'ledgerFails', 'libvirtFails', 'eventLost', 'eventTwice'],
  ...['journalFails', 'refreshFails'],
] as const;
/** A disk that spoils what it is told to keep is only noticed where volumes are read back; not every run has keys. */
export type Fault = (typeof FAULTS)[number] | 'diskCorrupts' | 'keyServerFails';

const LIKELY = 0.12;

export class Faults {
  readonly #rates = new Map<Fault, number>();
  readonly #random: Random;
  readonly #census: Census;
  isOver = false;

  constructor(random: Random, census: Census) {
    this.#random = random;
    this.#census = census;
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
    if (rate === undefined || this.isOver || !this.#random.chance(rate)) return false;
    this.#census.count(`fault ${fault}`);
    return true;
  }

  toString(): string {
    return (
      [...this.#rates].map(([fault, rate]) => `${fault} ${(100 * rate).toFixed(0)} %`).join(', ') || 'none'
    );
  }
}
