/** Acts on the plan of a domain or job: what is remembered of it first, then each of its disks. */
import { isDeepStrictEqual } from 'node:util';
import { isJob } from '../../core/owner.ts';
import type { DiskPlan, Plan } from '../../core/plan.ts';
import type { Domain } from '../../core/request.ts';
import type { DomainNews } from '../domains/domain-news.ts';
import type { DomainEnds } from '../ends/domain-ends.ts';
import { forgetEarlierTries } from '../ends/forget-domain.ts';
import type { Fills } from '../fill/fills.ts';
import { startWishAfter } from '../gate/start-wishes.ts';
import type { JobEnds } from '../jobs/job-ends.ts';
import type { Clock } from '../ports/host.ts';
import type { KnownDomain, Ledger } from '../ports/ledger.ts';
import type { DiskActions } from './disk-actions.ts';

interface ActNeeds {
  readonly ledger: Ledger;
  readonly fills: Fills;
  readonly clock: Clock;
  readonly firstStarts: Map<string, string>;
}

interface ActParts {
  readonly disks: DiskActions;
  readonly ends: DomainEnds;
  readonly jobs: JobEnds;
  readonly news: DomainNews;
}

export class DomainActions {
  readonly #needs: ActNeeds;
  readonly #parts: ActParts;

  constructor(needs: ActNeeds, parts: ActParts) {
    this.#needs = needs;
    this.#parts = parts;
  }

  /**
   * Does what a plan says. Synchronous, so that nothing can come between the reading and the intent. `seen`
   * says who has just shown us the domain; undefined: nobody, it is remembered from an earlier first start.
   */
  act(planned: Plan, seen: KnownDomain['origin'] | undefined): void {
    const { ledger } = this.#needs;
    const { disks, ends, jobs, news } = this.#parts;
    const { domain } = planned;
    if (isJob(domain.uuid)) {
      // It may have been cancelled since it was read.
      if (jobs.unfinished(domain.uuid) !== undefined) disks.act(planned, undefined);
      return;
    }
    const known = ledger.domainOf(domain.uuid);
    const startWish = startWishAfter(known, planned, seen);
    if (seen === 'libvirt') this.#needs.firstStarts.delete(domain.uuid);
    if (seen === 'gate' && known === undefined && isNewHere(planned)) {
      this.#needs.firstStarts.set(domain.uuid, domain.name);
    }
    // It names other volumes than at its first start: what is published of these may be from an earlier life of it.
    if (seen === 'gate' && known !== undefined && !isSameDomain(known.domain, domain) && !isNewHere(planned))
      this.#needs.firstStarts.delete(domain.uuid);
    if (seen === 'gate') for (const uuid of forgetEarlierTries(this.#needs, domain)) news.forget(uuid);
    if (seen === 'gate' && known?.origin === 'libvirt' && !isSameDomain(known.domain, domain)) {
      ends.shownOtherwise(domain.uuid);
    }
    if (seen !== undefined) {
      const origin = known?.origin === 'libvirt' && !ends.isGone(domain.uuid) ? 'libvirt' : seen;
      this.#remember({
        domain,
        origin,
        startWish,
        seenAtMs: this.#needs.clock.nowMs(),
        lastEnd: known?.lastEnd,
      });
    }
    disks.act(planned, seen);
  }

  /** Every write to the ledger waits for the disk: what is known already is not written again. */
  #remember(known: KnownDomain): void {
    const before = this.#needs.ledger.domainOf(known.domain.uuid);
    const isSame =
      before?.origin === 'libvirt' &&
      known.origin === 'libvirt' &&
      before.goneAtMs === undefined &&
      before.startWish === known.startWish &&
      isSameDomain(before.domain, known.domain);
    if (!isSame) this.#needs.ledger.putDomain(known);
  }
}

/** A domain may have been here before, under the same UUID, and its guest have run on what was published for it. */
function isNewHere({ disks, problems }: Plan): boolean {
  const isPublished = (disk: DiskPlan) =>
    disk.action === 'none' || (disk.action === 'refuse' && disk.sealed !== undefined);
  return problems.length === 0 && disks.every((disk) => !isPublished(disk) && disk.aside === undefined);
}

/** `remembered` has been in the ledger, where what is undefined is absent. */
function isSameDomain(remembered: Domain, domain: Domain): boolean {
  return isDeepStrictEqual(remembered, JSON.parse(JSON.stringify(domain)));
}
