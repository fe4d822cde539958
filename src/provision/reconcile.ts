/**
 * Brings what is there and what is asked for together. Every signal, timer and request only puts a domain's
 * UUID in the queue; the worker reads the domain again, plans, and acts. Nothing else begins a fill, but for
 * the gate, which hands over the XML of a domain that libvirt will not talk about while its start waits.
 * First comes what asks for a look, then how one goes: observe, plan, act. What each step does is in reconcile/.
 */
import { toProblem } from '../core/errors.ts';
import { isUntouched } from '../core/plan/last-end.ts';
import { isJob, ownerOfJob } from '../core/owner.ts';
import type { Plan } from '../core/plan.ts';
import { isStartable } from '../core/plan.ts';
import { libvirtPool } from '../core/thin/thin-place.ts';
import { Arrivals } from './arrivals/arrivals.ts';
import { IncomingDomains } from './arrivals/incoming.ts';
import { DomainNews } from './domains/domain-news.ts';
import { LooksLater } from './domains/looks-later.ts';
import { ShownVolumes } from './domains/shown-volumes.ts';
import { DomainEnds } from './ends/domain-ends.ts';
import { EndOfVolumes } from './ends/end-of-volume.ts';
import type { ReclaimNeeds } from './ends/reclaim.ts';
import { reclaim } from './ends/reclaim.ts';
import type { FillProgress } from './fill/fill-progress.ts';
import { dropStartWish, startIfWished } from './gate/start-wishes.ts';
import { StartingDomains } from './gate/starting.ts';
import { JobEnds } from './jobs/job-ends.ts';
import type { GuestKeys } from './keys/guest-keys.ts';
import type { Observation } from './observe.ts';
import { observe } from './observe.ts';
import type { PoolKeeper } from './pools/pool-keeper.ts';
import type { FillRecord, KnownDomain } from './ports/ledger.ts';
import type { DomainChange, Domains } from './ports/libvirt.ts';
import type { Annotated } from './reconcile/annotated-domains.ts';
import { AnnotatedDomains } from './reconcile/annotated-domains.ts';
import { DiskActions } from './reconcile/disk-actions.ts';
import { DomainActions } from './reconcile/domain-actions.ts';
import { Pauses } from './reconcile/pauses.ts';
import { QueuedDomains } from './reconcile/queued-domains.ts';
import { RetiredVolumes } from './reconcile/retired-volumes.ts';
import { WaitingDomains } from './reconcile/waiting-domains.ts';
import type { Reservations } from './reservations.ts';

/** Plans are acted on for so long before others, such as the gate, get their turn, in ms. */
const BUSY_MAX_MS = 15;

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
  readonly pauses: Pauses;
  readonly starting: StartingDomains;
  /** Told of each domain that is shut off, and what is planned for it. */
  onStopped: (planned: Plan) => void = () => undefined;
  readonly #needs: ReconcileNeeds;
  readonly #queue: QueuedDomains;
  readonly #annotated: AnnotatedDomains;
  readonly #actions: DomainActions;
  readonly #later: LooksLater;
  readonly #shown: ShownVolumes;
  readonly #waiting: WaitingDomains;
  readonly #retired: RetiredVolumes;
  #lookingAtAll: Promise<void> | undefined;

  constructor(needs: ReconcileNeeds) {
    const look = (uuid: string): void => {
      this.request(uuid);
    };
    this.#needs = needs;
    this.incoming = new IncomingDomains(needs.clock);
    this.starting = new StartingDomains(needs.clock);
    this.arrivals = new Arrivals(needs);
    this.pauses = new Pauses(needs, look);
    this.#shown = new ShownVolumes(needs);
    this.#later = new LooksLater(needs.clock, look);
    this.#waiting = new WaitingDomains(needs.ledger, look);
    this.#retired = new RetiredVolumes(needs, look);
    this.ends = new DomainEnds(needs, this.incoming);
    this.jobs = new JobEnds(needs);
    const { arrivals, incoming, ends, jobs } = this;
    const [later, shown, waiting, retired] = [this.#later, this.#shown, this.#waiting, this.#retired];
    const news = new DomainNews(needs.log);
    const endOfVolumes = new EndOfVolumes(needs, ends);
    this.#annotated = new AnnotatedDomains(needs, { arrivals, ends, endOfVolumes, jobs, later, news });
    const disks = new DiskActions(needs, { incoming, jobs, later, news, retired, shown, waiting }, look);
    this.#actions = new DomainActions(needs, { disks, ends, jobs, news });
    this.#queue = new QueuedDomains({
      read: (uuid) => this.#annotated.read(uuid),
      reconcile: (annotated) => this.#reconcile(annotated),
      later,
      log: needs.log,
    });
    needs.fills.onSettled = (record, progress) => {
      this.#fillSettled(record, progress);
      needs.reservations.lookAgain();
    };
    needs.reservations.onRoom = (uuid) => {
      this.pauses.tryForRoom(uuid);
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
    return this.#queue.isBusy;
  }

  /** Looks at one domain again, soon. */
  request(uuid: string): void {
    this.#queue.add(uuid);
    this.#queue.wake();
  }

  /** Looks at all annotated domains, and jobs, again: a pool came, went or changed. */
  requestKnown(): void {
    const { ledger } = this.#needs;
    for (const { domain } of ledger.domains()) this.#queue.add(domain.uuid);
    for (const { id } of ledger.unfinishedJobs()) this.#queue.add(ownerOfJob(id));
    // Also those that have ended, and whose row a crash has kept.
    for (const { domainUuid } of ledger.fills()) if (isJob(domainUuid)) this.#queue.add(domainUuid);
    this.#queue.wake();
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

  #fillSettled(record: FillRecord, progress: FillProgress): void {
    const { domainUuid: owner } = record;
    try {
      this.jobs.settled(record, progress);
    } catch (error) {
      this.#needs.log.warn({ problem: toProblem(error), owner }, 'the end of a job is written down later');
    }
    this.request(owner);
    this.#waiting.settled(owner);
  }

  /** Domains whose annotation cannot be read, for `lvp list`. */
  get unreadable(): ReadonlySet<string> {
    return this.#annotated.unreadable;
  }

  /** Resolves when nothing is queued, nobody works, and libvirt has seen what the ledger is to be told of. */
  async idle(): Promise<void> {
    for (let work = this.#nextWork(); work !== undefined; work = this.#nextWork()) await work;
  }

  #nextWork(): Promise<void> | undefined {
    return this.#queue.working ?? this.#shown.next();
  }

  async stop(): Promise<void> {
    this.#shown.stop();
    this.#queue.stop();
    this.#later.stop();
    await Promise.all([this.#queue.working, this.#retired.settling]);
  }

  async #reconcile(annotated: readonly Annotated[]): Promise<void> {
    let left = annotated;
    while (left.length > 0 && !this.#queue.isStopped) {
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
        if (this.#queue.isStopped || !observation.isFresh()) return annotated.slice(index);
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

  /**
   * Does what a plan says. Synchronous, so that nothing can come between the reading and the intent. `seen`
   * says who has just shown us the domain; undefined: nobody, it is remembered from an earlier first start.
   */
  act(planned: Plan, seen: KnownDomain['origin'] | undefined): void {
    this.#actions.act(planned, seen);
  }
}
