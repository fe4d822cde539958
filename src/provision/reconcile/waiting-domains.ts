/** Domains that wait for a fill of somebody else, and are looked at when that has ended. */
import type { DiskPlan } from '../../core/plan.ts';
import type { Domain } from '../../core/request.ts';
import type { Ledger } from '../ports/ledger.ts';

export class WaitingDomains {
  readonly #ledger: Pick<Ledger, 'fillsAt'>;
  readonly #look: (uuid: string) => void;
  /** By whose fill it is. */
  readonly #waiters = new Map<string, Set<string>>();

  constructor(ledger: Pick<Ledger, 'fillsAt'>, look: (uuid: string) => void) {
    this.#ledger = ledger;
    this.#look = look;
  }

  /** Whoever waits for what is filled for somebody else hears of its end. */
  lookAfterOther(domain: Domain, disk: Extract<DiskPlan, { readonly action: 'wait' }>): void {
    const fill = this.#ledger.fillsAt(disk.location).find(({ fillId }) => fillId === disk.fillId);
    if (fill === undefined || fill.domainUuid === domain.uuid) return;
    const waiters = this.#waiters.get(fill.domainUuid) ?? new Set();
    this.#waiters.set(fill.domainUuid, waiters.add(domain.uuid));
  }

  /** A fill of this domain or job has ended. */
  settled(owner: string): void {
    for (const uuid of this.#waiters.get(owner) ?? []) this.#look(uuid);
    this.#waiters.delete(owner);
  }
}
