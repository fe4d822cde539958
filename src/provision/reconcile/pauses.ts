/** Pauses after failures, which are ended before their time when what was in the way may have gone. */
import type { ErrorCode } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import type { Log } from '../ports/host.ts';
import type { Ledger } from '../ports/ledger.ts';

/** What store and key server, and whoever asks them in vain, say of this host's settings. */
const DENIALS: readonly ErrorCode[] = [
  'STORE_ACCESS_DENIED',
  'KEY_DENIED',
  'KEY_SERVER_UNREACHABLE',
  'CONFIG_INVALID',
];

interface PausesNeeds {
  readonly ledger: Ledger;
  readonly log: Log;
}

export class Pauses {
  readonly #needs: PausesNeeds;
  readonly #look: (uuid: string) => void;

  constructor(needs: PausesNeeds, look: (uuid: string) => void) {
    this.#needs = needs;
    this.#look = look;
  }

  /** Failures of this domain that may have passed, or those of some kinds, are tried again now, without a pause. */
  end(uuid: string, codes?: readonly ErrorCode[]): void {
    for (const fill of this.#needs.ledger.fillsOf(uuid)) {
      if ((fill.retryAtMs ?? 0) === 0) continue;
      if (codes !== undefined && (fill.problem === undefined || !codes.includes(fill.problem.code))) continue;
      this.#needs.ledger.putFill({ ...fill, retryAtMs: 0 });
    }
  }

  /** Store or key server are asked otherwise now: what they refused before is tried again. */
  tryDeniedAgain(): void {
    for (const { domain } of this.#needs.ledger.domains()) {
      this.end(domain.uuid, DENIALS);
      this.#look(domain.uuid);
    }
  }

  /** There is room now; where the ledger cannot be told, the pause goes on. */
  tryForRoom(uuid: string): void {
    try {
      // Or its thin pool is in order again.
      this.end(uuid, ['VG_FULL', 'POOL_UNSUITABLE']);
      this.#look(uuid);
    } catch (error) {
      this.#needs.log.warn({ domain: uuid, problem: toProblem(error) }, 'its pause could not be ended');
    }
  }
}
