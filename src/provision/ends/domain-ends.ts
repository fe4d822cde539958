/**
 * What is proven of how guests have ended: read off domains that are shut off, and told by libvirt's events of
 * domains that nobody can look at any more. Only what was seen while nothing was missed counts; after every gap
 * (our own restart, libvirt's) it has to be seen again. The ledger keeps what must outlive that: that a guest
 * has moved away, and that a domain is gone with its end proven.
 */
import { toProblem } from '../../core/errors.ts';
import type { LastEnd } from '../../core/plan/last-end.ts';
import { lastEndAfter, saysHowItEnded } from '../../core/plan/last-end.ts';
import type { IncomingDomains } from '../arrivals/incoming.ts';
import type { Log } from '../ports/host.ts';
import type { KnownDomain, Ledger } from '../ports/ledger.ts';
import type { DomainChange, LibvirtDomain } from '../ports/libvirt.ts';

interface EndsNeeds {
  readonly ledger: Ledger;
  readonly log: Log;
}

export class DomainEnds {
  readonly #needs: EndsNeeds;
  readonly #incoming: IncomingDomains;
  /**
   * Domains whose last end was seen since the last gap, and that have not begun to run since. `untouched`: there
   * was no end, as no guest can have run on their volumes.
   */
  readonly #witnessed = new Map<string, 'seen' | 'untouched'>();
  /** Domains that are not known as libvirt has them: their annotation may say something else. */
  readonly #unread = new Set<string>();
  /** Readings under way that nothing has overtaken yet. */
  readonly #readings = new Map<string, object>();
  /** Domains that were not there when last looked at, and of which volumes are left. */
  readonly #gone = new Set<string>();
  /** Domains that were announced to another host and have not begun to run here since. */
  readonly #handedOver = new Set<string>();
  /** Domains whose volumes are being deleted at this moment. */
  readonly #deleting = new Set<string>();

  constructor(needs: EndsNeeds, incoming: IncomingDomains) {
    this.#needs = needs;
    this.#incoming = incoming;
  }

  /** Anything may have happened unseen. */
  forgetAll(): void {
    this.#witnessed.clear();
    this.#readings.clear();
  }

  /** An event of libvirt: what is being read of this domain may be out of date. */
  heard(uuid: string, change: DomainChange | undefined): void {
    this.#readings.delete(uuid);
    if (change === 'defined' || change === 'begun') this.#gone.delete(uuid);
    if (change === undefined) return;
    if (change === 'defined') {
      this.#unread.add(uuid);
      this.#isBack(uuid);
      return;
    }
    if (change === 'begun') {
      this.#handedOver.delete(uuid);
      this.#prove(uuid, undefined);
      return;
    }
    // One that is arriving may be ended here and go on where it came from.
    if (change === 'ended' && this.#incoming.has(uuid)) this.#prove(uuid, undefined);
    else this.#prove(uuid, change === 'ended' ? 'here' : 'migrated');
  }

  /**
   * Another host was told that it is to receive the domain. If its definition alone moves there (`virsh migrate
   * --offline`), that looks like `virsh undefine`, and the only bytes are here.
   */
  handedOver(uuid: string): void {
    this.#handedOver.add(uuid);
  }

  /** A start was let through, or may have been: whatever ended before, its last run has not. */
  admitted(uuid: string): void {
    this.#readings.delete(uuid);
    this.#prove(uuid, undefined);
  }

  /**
   * The gate was shown another domain than libvirt had when it was last read. It may be a start that comes to nothing,
   * of a definition that libvirt never keeps: what that one wants done with volumes does not count.
   */
  shownOtherwise(uuid: string): void {
    this.#unread.add(uuid);
  }

  /** A reading begins; hand what it returns to `saw`. */
  look(uuid: string): object {
    const reading = {};
    this.#readings.set(uuid, reading);
    return reading;
  }

  /** The domain is there; its row in the ledger, too. `untouched`: see `isUntouched`. */
  saw(found: LibvirtDomain, reading: object, untouched: boolean): void {
    const { uuid, shutoff } = found;
    const known = this.#needs.ledger.domainOf(uuid);
    if (this.#readings.get(uuid) !== reading || known === undefined) return;
    const isNew = untouched && shutoff === 'unknown';
    const lastEnd = isNew ? 'here' : lastEndAfter(known.lastEnd, found);
    if (known.lastEnd !== lastEnd || known.goneAtMs !== undefined) {
      this.#needs.ledger.putDomain({ ...known, lastEnd, goneAtMs: undefined });
    }
    this.#readings.delete(uuid);
    this.#unread.delete(uuid);
    this.#gone.delete(uuid);
    if (isNew) this.#witnessed.set(uuid, 'untouched');
    else if (lastEnd === undefined) this.#witnessed.delete(uuid);
    else if (saysHowItEnded(shutoff)) this.#witnessed.set(uuid, 'seen');
    // libvirt knew how it ended and does not any more: it was started anew, and who knows what happened before.
    else if (shutoff === 'unknown' && this.#witnessed.get(uuid) === 'seen') this.#witnessed.delete(uuid);
  }

  /** How the domain, which is gone, has ended, if that is proven. */
  provenEnd(known: KnownDomain): LastEnd | undefined {
    if (this.#unread.has(known.domain.uuid)) return undefined;
    if (known.lastEnd === 'here' && this.#handedOver.has(known.domain.uuid)) return undefined;
    const isProven = known.goneAtMs !== undefined || this.#witnessed.has(known.domain.uuid);
    return isProven ? known.lastEnd : undefined;
  }

  /** Nothing is asked for this domain any more. */
  forget(uuid: string): void {
    this.#readings.delete(uuid);
    this.#unread.delete(uuid);
    this.#gone.delete(uuid);
    this.#witnessed.delete(uuid);
  }

  /** It is not there, and volumes of it are. */
  notThere(uuid: string): void {
    this.#gone.add(uuid);
  }

  /** A start of such a domain is a first start again. */
  isGone(uuid: string): boolean {
    return this.#gone.has(uuid);
  }

  isDeleting(uuid: string): boolean {
    return this.#deleting.has(uuid);
  }

  /** No start of the domain is let through meanwhile. */
  async whileDeleting<T>(uuid: string, work: () => Promise<T>): Promise<T> {
    this.#deleting.add(uuid);
    try {
      return await work();
    } finally {
      this.#deleting.delete(uuid);
    }
  }

  /** It is defined: that it was gone does not count any more. How its last run ended stays true. */
  #isBack(uuid: string): void {
    const known = this.#needs.ledger.domainOf(uuid);
    if (known?.goneAtMs === undefined) return;
    this.#write({ ...known, goneAtMs: undefined });
  }

  /** What is not written down is not proven; and it is worse to forget than to keep that a domain is gone. */
  #prove(uuid: string, lastEnd: LastEnd | undefined): void {
    this.#witnessed.delete(uuid);
    const known = this.#needs.ledger.domainOf(uuid);
    if (known === undefined) return;
    if (lastEnd === undefined) {
      if (known.goneAtMs !== undefined) this.#write({ ...known, goneAtMs: undefined, lastEnd });
      return;
    }
    // One that has ended has run: libvirt knew it, whoever had shown it to us before.
    if (this.#write({ ...known, origin: 'libvirt', lastEnd })) this.#witnessed.set(uuid, 'seen');
  }

  /** True if it is written down; if not, nothing is proven of the domain before it is read again. */
  #write(known: KnownDomain): boolean {
    const { uuid } = known.domain;
    try {
      this.#needs.ledger.putDomain(known);
      return true;
    } catch (error) {
      this.#unread.add(uuid);
      const problem = toProblem(error);
      this.#needs.log.warn({ domain: uuid, problem }, 'the ledger could not be told how a guest ended');
      return false;
    }
  }
}
