/** Annotated domains, and jobs, as they are read for one look; what is not there any more, or no longer asks, ends here. */
import { describeProblem, toProblem } from '../../core/errors.ts';
import { domainOfJob } from '../../core/job.ts';
import { isJob } from '../../core/owner.ts';
import type { Domain } from '../../core/request.ts';
import { mayBeAnnotated } from '../../core/xml/domain-xml.ts';
import type { Arrivals } from '../arrivals/arrivals.ts';
import type { DomainNews } from '../domains/domain-news.ts';
import type { LooksLater } from '../domains/looks-later.ts';
import { ReadDomains } from '../domains/read-domains.ts';
import type { DomainEnds } from '../ends/domain-ends.ts';
import type { EndOfVolumes } from '../ends/end-of-volume.ts';
import { forgetDomain } from '../ends/forget-domain.ts';
import type { Fills } from '../fill/fills.ts';
import type { JobEnds } from '../jobs/job-ends.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { Domains, LibvirtDomain } from '../ports/libvirt.ts';

/** A start that was refused and never came back: its fill is given up after this time, in ms. */
const GATE_ORIGIN_KEPT_MS = 24 * 3_600_000;
/** Whatever could not be read is read again after this time, in ms. */
export const READ_AGAIN_MS = 5_000;
/** Until QEMU has ended, or whatever was in the way of an arrival's volumes has passed. */
const ARRIVAL_LOOK_MS = 5_000;

/** An annotated domain as it was just read; `found` is undefined if it is only remembered from a first start. */
export interface Annotated {
  readonly domain: Domain;
  readonly found: LibvirtDomain | undefined;
  readonly reading: object;
}

interface ReadingNeeds {
  readonly domains: Pick<Domains, 'xml' | 'read'>;
  readonly ledger: Ledger;
  readonly fills: Fills;
  readonly clock: Clock;
  readonly log: Log;
  readonly firstStarts: Map<string, string>;
}

/** Who is told of what is read, or knows more of it. */
interface ReadingParts {
  readonly arrivals: Arrivals;
  readonly ends: DomainEnds;
  readonly endOfVolumes: EndOfVolumes;
  readonly jobs: JobEnds;
  readonly later: LooksLater;
  readonly news: DomainNews;
}

export class AnnotatedDomains {
  readonly #needs: ReadingNeeds;
  readonly #parts: ReadingParts;
  readonly #readDomains = new ReadDomains();
  /** Domains whose annotation cannot be read, for `lvp list`. */
  readonly #unreadable = new Set<string>();

  constructor(needs: ReadingNeeds, parts: ReadingParts) {
    this.#needs = needs;
    this.#parts = parts;
  }

  get unreadable(): ReadonlySet<string> {
    return this.#unreadable;
  }

  /** Undefined if there is nothing to plan: no such domain, none with an annotation, or it cannot be read now. */
  async read(uuid: string): Promise<Annotated | undefined> {
    if (isJob(uuid)) return this.#readJob(uuid);
    const { domains } = this.#needs;
    const { arrivals, ends, later } = this.#parts;
    const reading = ends.look(uuid);
    try {
      const xml = await domains.xml(uuid);
      const isAsked = xml !== undefined && mayBeAnnotated(xml);
      if (!isAsked) this.#unreadable.delete(uuid);
      // What else there is to know is asked of these alone.
      const isWatched = arrivals.isWatched(uuid);
      const found = isAsked || (isWatched && xml !== undefined) ? await domains.read(uuid) : undefined;
      if (isWatched && !(await arrivals.settle(uuid, found))) later.in(uuid, ARRIVAL_LOOK_MS);
      const isThere = isAsked ? found !== undefined : xml !== undefined;
      const domain = found === undefined ? undefined : this.#parse(found);
      const known = isThere ? domain : this.#firstStartOf(uuid);
      if (known !== undefined) return { domain: known, found, reading };
      await this.#forget(uuid, isThere);
    } catch (error) {
      this.#readLater(uuid, error);
    }
    return undefined;
  }

  /** libvirt has never heard of it, so it is not asked. */
  #readJob(owner: string): Annotated | undefined {
    const { fills, log } = this.#needs;
    const { jobs, news } = this.#parts;
    try {
      const job = jobs.unfinished(owner);
      if (job !== undefined) return { domain: domainOfJob(job), found: undefined, reading: {} };
      jobs.tidy(owner, fills.running);
    } catch (error) {
      log.warn({ owner, problem: toProblem(error) }, 'could not read a job');
    }
    news.forget(owner);
    return undefined;
  }

  /** One domain that cannot be read does not keep the others from being looked at. */
  #readLater(uuid: string, error: unknown): void {
    this.#needs.log.warn({ domain: uuid, problem: toProblem(error) }, 'could not read a domain');
    this.#parts.later.in(uuid, READ_AGAIN_MS);
  }

  /** A domain whose first start was refused and that nobody has defined yet: its fill goes on for a while. */
  #firstStartOf(uuid: string): Domain | undefined {
    const known = this.#needs.ledger.domainOf(uuid);
    const isFresh = known !== undefined && this.#needs.clock.nowMs() - known.seenAtMs < GATE_ORIGIN_KEPT_MS;
    return known?.origin === 'gate' && isFresh ? known.domain : undefined;
  }

  /** The annotated domain, or undefined if it has no annotation or one that cannot be read. */
  #parse({ uuid, name, xml }: LibvirtDomain): Domain | undefined {
    try {
      const domain = this.#readDomains.parse(uuid, xml);
      this.#unreadable.delete(uuid);
      return domain.annotation === undefined ? undefined : domain;
    } catch (error) {
      const problem = toProblem(error);
      this.#unreadable.add(uuid);
      this.#parts.news.sayOnce(uuid, `refused: ${describeProblem(problem)}`, { domain: uuid, name, problem });
      return undefined;
    }
  }

  async #forget(uuid: string, isThere: boolean): Promise<void> {
    const { ends, endOfVolumes, later, news } = this.#parts;
    this.#readDomains.forget(uuid);
    if (!isThere) this.#unreadable.delete(uuid);
    const needs = { ...this.#needs, endOfVolumes };
    const { isForgotten, againAtMs } = await forgetDomain(needs, uuid, isThere);
    if (againAtMs !== undefined) later.at(uuid, againAtMs);
    if (isForgotten) ends.forget(uuid);
    else if (!isThere) ends.notThere(uuid);
    // The mistakes of an annotation were just said.
    if (isForgotten && !isThere) news.forget(uuid);
  }
}
