/**
 * Brings what is there and what is asked for together. Every signal, timer and request only puts a domain's
 * UUID in the queue; the worker reads the domain again, plans, and acts. Nothing else begins a fill, but for
 * the gate, which hands over the XML of a domain that libvirt will not talk about while its start waits.
 */
import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { mayBeAnnotated } from '../core/domain-xml.ts';
import type { ErrorCode } from '../core/errors.ts';
import { describeProblem, toProblem } from '../core/errors.ts';
import { domainOfJob } from '../core/job.ts';
import { isUntouched } from '../core/last-end.ts';
import { isJob, ownerOfJob } from '../core/owner.ts';
import type { DiskPlan, Plan } from '../core/plan.ts';
import { isStartable } from '../core/plan.ts';
import { goesOn, sameRequest, volumeKey } from '../core/planned-fill.ts';
import type { Domain } from '../core/request.ts';
import { carriedOver, givenUp } from '../core/retired.ts';
import { libvirtPool } from '../core/thin-place.ts';
import type { Seal } from '../core/volume.ts';
import { Arrivals } from './arrivals/arrivals.ts';
import { DomainEnds } from './ends/domain-ends.ts';
import { DomainNews } from './domains/domain-news.ts';
import { EndOfVolumes } from './ends/end-of-volume.ts';
import { forgetDisksNotIn, forgetDomain, forgetEarlierTries, forgetIfOver } from './ends/forget-domain.ts';
import type { FillProgress } from './fill/fill-progress.ts';
import type { GuestKeys } from './keys/guest-keys.ts';
import { IncomingDomains } from './arrivals/incoming.ts';
import { JobEnds } from './jobs/job-ends.ts';
import { LooksLater } from './domains/looks-later.ts';
import type { Observation } from './observe.ts';
import { observe } from './observe.ts';
import type { PoolKeeper } from './pools/pool-keeper.ts';
import type { FillRecord, KnownDomain } from './ports/ledger.ts';
import type { DomainChange, Domains, LibvirtDomain } from './ports/libvirt.ts';
import { ReadDomains } from './domains/read-domains.ts';
import type { ReclaimNeeds } from './ends/reclaim.ts';
import { reclaim } from './ends/reclaim.ts';
import type { Reservations } from './reservations.ts';
import { settleRetired } from './ends/settle-retired.ts';
import { ShownVolumes } from './domains/shown-volumes.ts';
import { StartingDomains } from './gate/starting.ts';
import { dropStartWish, startIfWished, startWishAfter } from './gate/start-wishes.ts';

/** A start that was refused and never came back: its fill is given up after this time, in ms. */
const GATE_ORIGIN_KEPT_MS = 24 * 3_600_000;
const READ_AGAIN_MS = 5_000;
/** What store and key server, and whoever asks them in vain, say of this host's settings. */
const DENIALS: readonly ErrorCode[] = [
  'STORE_ACCESS_DENIED',
  'KEY_DENIED',
  'KEY_SERVER_UNREACHABLE',
  'CONFIG_INVALID',
];
/** Until QEMU has ended, or whatever was in the way of an arrival's volumes has passed. */
const ARRIVAL_LOOK_MS = 5_000;
const RESTORE_AGAIN_MS = 5_000;
/**
 * Annotated domains read for one observation: few at first, so that work begins at once, then twice as many each
 * time, so that many domains do not cost as many readings of LVM.
 */
const OBSERVED_FIRST = 64;
/** So many others may be read along with each of them: those that change all the time hold nobody up. */
const PLAIN_FOR_EACH = 32;
/** Plans are acted on for so long before others, such as the gate, get their turn, in ms. */
const BUSY_MAX_MS = 15;

/** An annotated domain as it was just read; `found` is undefined if it is only remembered from a first start. */
interface Annotated {
  readonly domain: Domain;
  readonly found: LibvirtDomain | undefined;
  readonly reading: object;
}

export interface ReconcileNeeds extends ReclaimNeeds {
  readonly pools: PoolKeeper;
  readonly domains: Domains;
  readonly reservations: Reservations;
  readonly guestKeys: Pick<GuestKeys, 'heard' | 'pauseMs'>;
  /** In memory alone: whoever was admitted without us, while we were away, must not be in it. */
  readonly firstStarts: Map<string, string>;
}

export class Reconciler {
  readonly incoming: IncomingDomains;
  readonly arrivals: Arrivals;
  readonly ends: DomainEnds;
  readonly jobs: JobEnds;
  readonly starting: StartingDomains;
  /** Told of each domain that is shut off, and what is planned for it. */
  onStopped: (planned: Plan) => void = () => undefined;
  readonly #endOfVolumes: EndOfVolumes;
  readonly #needs: ReconcileNeeds;
  readonly #queue = new Set<string>();
  readonly #news: DomainNews;
  /** Domains whose annotation cannot be read, for `lvp list`. */
  readonly #unreadable = new Set<string>();
  readonly #readDomains = new ReadDomains();
  readonly #later: LooksLater;
  readonly #shown: ShownVolumes;
  /** Domains that wait for a fill of somebody else, by whose it is. */
  readonly #waiters = new Map<string, Set<string>>();
  /** Rows of the domain that is acted on, as they were before, that name a volume they replace; by their fills. */
  #replacing: ReadonlyMap<string, FillRecord> = new Map();
  #working: Promise<void> | undefined;
  #settling: Promise<void> | undefined;
  #lookingAtAll: Promise<void> | undefined;
  #stopped = false;

  constructor(needs: ReconcileNeeds) {
    this.#needs = needs;
    this.incoming = new IncomingDomains(needs.clock);
    this.starting = new StartingDomains(needs.clock);
    this.arrivals = new Arrivals(needs);
    this.#news = new DomainNews(needs.log);
    this.#shown = new ShownVolumes(needs);
    this.#later = new LooksLater(needs.clock, (uuid) => {
      this.request(uuid);
    });
    this.ends = new DomainEnds(needs, this.incoming);
    this.#endOfVolumes = new EndOfVolumes(needs, this.ends);
    this.jobs = new JobEnds(needs);
    needs.fills.onSettled = (record, progress) => {
      this.#fillSettled(record, progress);
      needs.reservations.lookAgain();
    };
    needs.reservations.onRoom = (uuid) => {
      this.#tryAgain(uuid);
    };
  }

  /** From now on a guest may have written to the domain's volumes. */
  admitted(uuid: string): void {
    this.starting.mark(uuid);
    this.#needs.firstStarts.delete(uuid);
    this.ends.admitted(uuid);
  }

  /** An event of libvirt about a domain. */
  heard(uuid: string, change: DomainChange | undefined): void {
    this.ends.heard(uuid, change);
    this.#needs.guestKeys.heard(uuid, change);
    this.request(uuid);
    if (change === 'begun') dropStartWish(this.#needs.ledger, uuid);
  }

  /** Whether there are domains still to be looked at. */
  get isBusy(): boolean {
    return this.#working !== undefined || this.#queue.size > 0;
  }

  /** Looks at one domain again, soon. */
  request(uuid: string): void {
    this.#queue.add(uuid);
    this.#wake();
  }

  /** Looks at all annotated domains, and jobs, again: a pool came, went or changed. */
  requestKnown(): void {
    const { ledger } = this.#needs;
    for (const { domain } of ledger.domains()) this.#queue.add(domain.uuid);
    for (const { id } of ledger.unfinishedJobs()) this.#queue.add(ownerOfJob(id));
    // Also those that have ended, and whose row a crash has kept.
    for (const { domainUuid } of ledger.fills()) if (isJob(domainUuid)) this.#queue.add(domainUuid);
    this.#wake();
  }

  /** Looks at everything again: after a connection was made, and from time to time. */
  requestAll(): Promise<void> {
    this.#lookingAtAll ??= this.#requestAll().finally(() => {
      this.#lookingAtAll = undefined;
    });
    return this.#lookingAtAll;
  }

  async #requestAll(): Promise<void> {
    this.#needs.fills.stopIfFrozen();
    for (const uuid of await this.#needs.domains.list()) this.#queue.add(uuid);
    this.requestKnown();
    for (const uuid of await reclaim(this.#needs, this.arrivals)) this.request(uuid);
    this.#needs.reservations.lookAgain();
  }

  get unreadable(): ReadonlySet<string> {
    return this.#unreadable;
  }

  /** Failures of this domain that may have passed, or those of some kinds, are tried again now, without a pause. */
  endPauses(uuid: string, codes?: readonly ErrorCode[]): void {
    for (const fill of this.#needs.ledger.fillsOf(uuid)) {
      if ((fill.retryAtMs ?? 0) === 0) continue;
      if (codes !== undefined && (fill.problem === undefined || !codes.includes(fill.problem.code))) continue;
      this.#needs.ledger.putFill({ ...fill, retryAtMs: 0 });
    }
  }

  #fillSettled(record: FillRecord, progress: FillProgress): void {
    const { domainUuid: owner } = record;
    try {
      this.jobs.settled(record, progress);
    } catch (error) {
      this.#needs.log.warn({ problem: toProblem(error), owner }, 'the end of a job is written down later');
    }
    this.request(owner);
    for (const uuid of this.#waiters.get(owner) ?? []) this.request(uuid);
    this.#waiters.delete(owner);
  }

  /** Store or key server are asked otherwise now: what they refused before is tried again. */
  tryDeniedAgain(): void {
    for (const { domain } of this.#needs.ledger.domains()) {
      this.endPauses(domain.uuid, DENIALS);
      this.request(domain.uuid);
    }
  }

  /** There is room now; where the ledger cannot be told, the pause goes on. */
  #tryAgain(uuid: string): void {
    try {
      // Or its thin pool is in order again.
      this.endPauses(uuid, ['VG_FULL', 'POOL_UNSUITABLE']);
      this.request(uuid);
    } catch (error) {
      this.#needs.log.warn({ domain: uuid, problem: toProblem(error) }, 'its pause could not be ended');
    }
  }

  /** Resolves when nothing is queued, nobody works, and libvirt has seen what the ledger is to be told of. */
  async idle(): Promise<void> {
    for (let work = this.#nextWork(); work !== undefined; work = this.#nextWork()) await work;
  }

  #nextWork(): Promise<void> | undefined {
    return this.#working ?? this.#shown.next();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#shown.stop();
    this.#queue.clear();
    this.#later.stop();
    await Promise.all([this.#working, this.#settling]);
  }

  /**
   * Does what a plan says. Synchronous, so that nothing can come between the reading and the intent. `seen`
   * says who has just shown us the domain; undefined: nobody, it is remembered from an earlier first start.
   */
  act(planned: Plan, seen: KnownDomain['origin'] | undefined): void {
    const { ledger } = this.#needs;
    const { domain } = planned;
    if (isJob(domain.uuid)) {
      // It may have been cancelled since it was read.
      if (this.jobs.unfinished(domain.uuid) !== undefined) this.#actOnDisks(planned, undefined);
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
    if (seen === 'gate') for (const uuid of forgetEarlierTries(this.#needs, domain)) this.#news.forget(uuid);
    if (seen === 'gate' && known?.origin === 'libvirt' && !isSameDomain(known.domain, domain)) {
      this.ends.shownOtherwise(domain.uuid);
    }
    if (seen !== undefined) {
      const origin = known?.origin === 'libvirt' && !this.ends.isGone(domain.uuid) ? 'libvirt' : seen;
      this.#remember({
        domain,
        origin,
        startWish,
        seenAtMs: this.#needs.clock.nowMs(),
        lastEnd: known?.lastEnd,
      });
    }
    this.#actOnDisks(planned, seen);
  }

  #actOnDisks(planned: Plan, seen: KnownDomain['origin'] | undefined): void {
    const { domain, disks, problems } = planned;
    // A volume may have become another disk's, whose row is written before: what it replaces is not to be forgotten.
    const replacing = this.#needs.ledger
      .fillsOf(domain.uuid)
      .filter(({ replaces }) => replaces !== undefined);
    this.#replacing = new Map(replacing.map((record) => [record.fillId, record]));
    forgetDisksNotIn(this.#needs, planned);
    if (problems.length === 0) for (const disk of disks) this.#actOnDisk(domain, disk, seen);
    this.#news.say(planned);
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

  #actOnDisk(domain: Domain, disk: DiskPlan, seen: KnownDomain['origin'] | undefined): void {
    const { fills, ledger } = this.#needs;
    const record = ledger.fillOf(domain.uuid, disk.request.target);
    switch (disk.action) {
      case 'none':
        this.#followSeal(domain, disk, disk);
        if (
          disk.aside !== undefined &&
          ledger.fillOf(domain.uuid, disk.request.target)?.replaces !== undefined
        ) {
          this.#settleRetired();
        }
        return;
      case 'restore':
        // From here on the row keeps nothing aside any more.
        if (record?.replaces === disk.fillId) {
          const over = givenUp(record);
          if (over !== record) ledger.putFill(over);
        }
        this.#settleRetired();
        this.#later.in(domain.uuid, RESTORE_AGAIN_MS);
        return;
      case 'fill':
        // A domain on its way in brings its bytes along.
        if (this.incoming.has(domain.uuid)) return;
        fills.begin(
          this.#newRecord(domain, disk, record, disk.fillId),
          { from: disk.from },
          seen === 'gate' ? 'urgent' : 'patient',
        );
        return;
      case 'finish':
        fills.begin(this.#newRecord(domain, disk, record, disk.fillId), { from: 'finish', seal: disk.seal });
        return;
      case 'claim':
        // Only for a guest that is here: tries that were given up do not compete for the volume.
        if (seen === undefined || !this.#makeWayFor(domain, disk)) {
          this.#dropIfCutOff(record);
          return;
        }
        fills.begin(this.#newRecord(domain, disk, record, disk.fillId), { from: 'claim', seal: disk.seal });
        return;
      case 'cancel':
        fills.cancel(disk.fillId, disk.why);
        return;
      case 'hold':
        if (disk.retryAtMs !== undefined) this.#later.at(domain.uuid, disk.retryAtMs);
        return;
      case 'refuse':
        if (disk.sealed !== undefined) this.#followSeal(domain, disk, disk.sealed);
        // What was cut off, by a crash or else, is not gone on with: its space comes back, and nobody else waits for it.
        else this.#dropIfCutOff(record);
        return;
      case 'wait':
        this.#lookAfterOther(domain, disk);
        return;
    }
  }

  #dropIfCutOff(record: FillRecord | undefined): void {
    const { fills, ledger } = this.#needs;
    if (record === undefined || !goesOn(record) || fills.running.has(record.fillId)) return;
    ledger.removeFill(record.domainUuid, record.request.target);
  }

  /** What was filled for an earlier try, or by a job, is this domain's from here on; false if it is not to be. */
  #makeWayFor(domain: Domain, disk: Extract<DiskPlan, { readonly action: 'claim' }>): boolean {
    const { domainUuid: owner } = disk.seal;
    if (isJob(owner)) {
      const isArriving = this.incoming.has(domain.uuid);
      if (!isArriving) this.jobs.claimed(owner, disk.seal);
      return !isArriving;
    }
    this.#needs.ledger.removeFill(owner, disk.request.target);
    if (forgetIfOver(this.#needs, owner)) this.#news.forget(owner);
    return true;
  }

  /** Whoever waits for what is filled for somebody else hears of its end. */
  #lookAfterOther(domain: Domain, disk: Extract<DiskPlan, { readonly action: 'wait' }>): void {
    const fill = this.#needs.ledger.fillsAt(disk.location).find(({ fillId }) => fillId === disk.fillId);
    if (fill === undefined || fill.domainUuid === domain.uuid) return;
    const waiters = this.#waiters.get(fill.domainUuid) ?? new Set();
    this.#waiters.set(fill.domainUuid, waiters.add(domain.uuid));
  }

  #followSeal(domain: Domain, disk: DiskPlan, seal: Pick<Seal, 'fillId' | 'sha256'>): void {
    const { ledger } = this.#needs;
    const record = ledger.fillOf(domain.uuid, disk.request.target);
    if (record?.state === 'ready' && record.fillId === seal.fillId) return;
    const lookAgain = (): void => {
      this.request(domain.uuid);
    };
    const pool = libvirtPool(disk.location);
    if (pool !== undefined && !this.#shown.isSeen(seal.fillId, pool, lookAgain)) return;
    const sealed = this.#newRecord(domain, disk, record, seal.fillId);
    ledger.putFill({ ...sealed, state: 'ready', sha256: seal.sha256 });
  }

  /** What fails is met again by the next plan of the domain, or by the timer. */
  #settleRetired(): void {
    const { log } = this.#needs;
    this.#settling ??= observe(this.#needs, [])
      .then((observation) => settleRetired(this.#needs, observation))
      .then(
        (uuids) => {
          for (const uuid of uuids) this.request(uuid);
        },
        (error: unknown) => {
          log.warn({ problem: toProblem(error) }, 'could not look at volumes that were put aside');
        },
      )
      .finally(() => {
        this.#settling = undefined;
      });
  }

  #newRecord(domain: Domain, disk: DiskPlan, before: FillRecord | undefined, fillId?: string): FillRecord {
    const nowMs = this.#needs.clock.nowMs();
    const again = before !== undefined && sameRequest(before.request, disk.request);
    const isSamePlace = before !== undefined && volumeKey(before.location) === volumeKey(disk.location);
    const earlier = this.#replacing.get(fillId ?? '') ?? (isSamePlace ? before : undefined);
    return {
      fillId: fillId ?? randomBytes(8).toString('hex'),
      domainUuid: domain.uuid,
      domainName: domain.name,
      request: disk.request,
      location: disk.location,
      state: 'waiting',
      attempts: again ? before.attempts : 0,
      ...carriedOver(earlier, fillId),
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
    };
  }

  #wake(): void {
    if (this.#stopped) return;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
      if (this.#queue.size > 0) this.#wake();
    });
  }

  async #work(): Promise<void> {
    for (let countMax = OBSERVED_FIRST; this.#queue.size > 0; countMax *= 2) {
      const taken: string[] = [];
      try {
        await this.#reconcile(await this.#readQueued(countMax, taken));
      } catch (error) {
        // Whatever is in the way now is met again at the next event or by the timer; until then nothing starts.
        const fields = { problem: toProblem(error), domains: taken.length };
        this.#needs.log.warn(fields, 'could not look at domains');
        for (const uuid of taken) this.#later.in(uuid, READ_AGAIN_MS);
        return;
      }
    }
  }

  /** Takes domains out of the queue until it is empty, or until enough, annotated ones or others, are together. */
  async #readQueued(countMax: number, taken: string[]): Promise<Annotated[]> {
    const annotated: Annotated[] = [];
    for (const uuid of this.#queue) {
      this.#queue.delete(uuid);
      taken.push(uuid);
      const one = await this.#readDomain(uuid);
      if (one !== undefined) annotated.push(one);
      if (annotated.length === countMax || taken.length === PLAIN_FOR_EACH * countMax) break;
    }
    return annotated;
  }

  /** Undefined if there is nothing to plan: no such domain, none with an annotation, or it cannot be read now. */
  async #readDomain(uuid: string): Promise<Annotated | undefined> {
    if (isJob(uuid)) return this.#readJob(uuid);
    const { domains } = this.#needs;
    const reading = this.ends.look(uuid);
    try {
      const xml = await domains.xml(uuid);
      const isAsked = xml !== undefined && mayBeAnnotated(xml);
      if (!isAsked) this.#unreadable.delete(uuid);
      // What else there is to know is asked of these alone.
      const isWatched = this.arrivals.isWatched(uuid);
      const found = isAsked || (isWatched && xml !== undefined) ? await domains.read(uuid) : undefined;
      if (isWatched && !(await this.arrivals.settle(uuid, found))) this.#later.in(uuid, ARRIVAL_LOOK_MS);
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
    try {
      const job = this.jobs.unfinished(owner);
      if (job !== undefined) return { domain: domainOfJob(job), found: undefined, reading: {} };
      this.jobs.tidy(owner, fills.running);
    } catch (error) {
      log.warn({ owner, problem: toProblem(error) }, 'could not read a job');
    }
    this.#news.forget(owner);
    return undefined;
  }

  async #reconcile(annotated: readonly Annotated[]): Promise<void> {
    let left = annotated;
    while (left.length > 0 && !this.#stopped) {
      const observation = await observe(
        this.#needs,
        left.map(({ domain }) => domain),
      );
      this.#needs.thinPoolNews?.look(observation.thinPools);
      const ours = new Set<string>();
      try {
        left = await this.#actWhileFresh(observation, left, ours);
      } finally {
        this.#needs.pools.look(observation, ours);
      }
    }
  }

  /** Resolves with those that need another reading; `ours` gets the pools of those that did not. */
  async #actWhileFresh(
    observation: Observation,
    annotated: readonly Annotated[],
    ours: Set<string>,
  ): Promise<readonly Annotated[]> {
    const { clock } = this.#needs;
    let sinceMs = clock.monotonicMs();
    for (const [index, one] of annotated.entries()) {
      // Every write to the ledger waits for the disk, and everybody else for that.
      if (clock.monotonicMs() - sinceMs > BUSY_MAX_MS) {
        await clock.sleep(0);
        if (this.#stopped || !observation.isFresh()) return annotated.slice(index);
        sinceMs = clock.monotonicMs();
      }
      this.#plan(observation, one, ours);
    }
    return [];
  }

  #plan(observation: Observation, { domain, found, reading }: Annotated, ours: Set<string>): void {
    const planned = observation.plan(domain);
    for (const { location } of planned.disks) {
      const pool = libvirtPool(location);
      if (pool !== undefined) ours.add(pool);
    }
    const untouched = isUntouched(planned, this.#needs.ledger.fillsOf(domain.uuid));
    this.act(planned, found === undefined ? undefined : 'libvirt');
    if (isJob(domain.uuid)) this.jobs.planned(planned);
    if (found === undefined) return;
    this.ends.saw(found, reading, untouched);
    if (!found.active) this.onStopped(planned);
    if (!isStartable(planned)) return;
    // A start takes as long as QEMU does: nothing else waits for it.
    startIfWished(this.#needs, domain.uuid).then(
      (againMs) => {
        if (againMs !== undefined) this.#later.in(domain.uuid, againMs);
      },
      (error: unknown) => {
        this.#needs.log.error({ domain: domain.uuid, problem: toProblem(error) }, 'it could not be started');
      },
    );
  }

  /** One domain that cannot be read does not keep the others from being looked at. */
  #readLater(uuid: string, error: unknown): void {
    this.#needs.log.warn({ domain: uuid, problem: toProblem(error) }, 'could not read a domain');
    this.#later.in(uuid, READ_AGAIN_MS);
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
      this.#news.sayOnce(uuid, `refused: ${describeProblem(problem)}`, { domain: uuid, name, problem });
      return undefined;
    }
  }

  async #forget(uuid: string, isThere: boolean): Promise<void> {
    this.#readDomains.forget(uuid);
    if (!isThere) this.#unreadable.delete(uuid);
    const needs = { ...this.#needs, endOfVolumes: this.#endOfVolumes };
    const { isForgotten, againAtMs } = await forgetDomain(needs, uuid, isThere);
    if (againAtMs !== undefined) this.#later.at(uuid, againAtMs);
    if (isForgotten) this.ends.forget(uuid);
    else if (!isThere) this.ends.notThere(uuid);
    // The mistakes of an annotation were just said.
    if (isForgotten && !isThere) this.#news.forget(uuid);
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
