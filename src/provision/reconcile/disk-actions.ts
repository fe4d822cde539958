/** What the plan of a disk says is done: fills begin, end or go on, and the ledger follows what is published. */
import { randomBytes } from 'node:crypto';
import { isJob } from '../../core/owner.ts';
import type { DiskPlan, Plan } from '../../core/plan.ts';
import { goesOn, sameRequest, volumeKey } from '../../core/plan/planned-fill.ts';
import { carriedOver, givenUp } from '../../core/plan/retired.ts';
import type { Domain } from '../../core/request.ts';
import { libvirtPool } from '../../core/thin/thin-place.ts';
import type { Seal } from '../../core/volume/volume.ts';
import type { IncomingDomains } from '../arrivals/incoming.ts';
import type { DomainNews } from '../domains/domain-news.ts';
import type { LooksLater } from '../domains/looks-later.ts';
import type { ShownVolumes } from '../domains/shown-volumes.ts';
import { forgetDisksNotIn, forgetIfOver } from '../ends/forget-domain.ts';
import type { Fills } from '../fill/fills.ts';
import type { JobEnds } from '../jobs/job-ends.ts';
import type { Clock } from '../ports/host.ts';
import type { FillRecord, KnownDomain, Ledger } from '../ports/ledger.ts';
import type { RetiredVolumes } from './retired-volumes.ts';
import type { WaitingDomains } from './waiting-domains.ts';

const RESTORE_AGAIN_MS = 5_000;

interface DiskNeeds {
  readonly ledger: Ledger;
  readonly fills: Fills;
  readonly clock: Clock;
  readonly firstStarts: Map<string, string>;
}

interface DiskParts {
  readonly incoming: IncomingDomains;
  readonly jobs: JobEnds;
  readonly later: LooksLater;
  readonly news: DomainNews;
  readonly retired: RetiredVolumes;
  readonly shown: ShownVolumes;
  readonly waiting: WaitingDomains;
}

export class DiskActions {
  readonly #needs: DiskNeeds;
  readonly #parts: DiskParts;
  readonly #look: (uuid: string) => void;
  /** Rows of the domain that is acted on, as they were before, that name a volume they replace; by their fills. */
  #replacing: ReadonlyMap<string, FillRecord> = new Map();

  constructor(needs: DiskNeeds, parts: DiskParts, look: (uuid: string) => void) {
    this.#needs = needs;
    this.#parts = parts;
    this.#look = look;
  }

  /** Acts on each disk, if nothing is in the way of the domain. Synchronous, as `DomainActions.act` is. */
  act(planned: Plan, seen: KnownDomain['origin'] | undefined): void {
    const { domain, disks, problems } = planned;
    // A volume may have become another disk's, whose row is written before: what it replaces is not to be forgotten.
    const replacing = this.#needs.ledger
      .fillsOf(domain.uuid)
      .filter(({ replaces }) => replaces !== undefined);
    this.#replacing = new Map(replacing.map((record) => [record.fillId, record]));
    forgetDisksNotIn(this.#needs, planned);
    if (problems.length === 0) for (const disk of disks) this.#actOnDisk(domain, disk, seen);
    this.#parts.news.say(planned);
  }

  #actOnDisk(domain: Domain, disk: DiskPlan, seen: KnownDomain['origin'] | undefined): void {
    const { fills, ledger } = this.#needs;
    const { incoming, later, retired, waiting } = this.#parts;
    const record = ledger.fillOf(domain.uuid, disk.request.target);
    switch (disk.action) {
      case 'none':
        this.#followSeal(domain, disk, disk);
        if (
          disk.aside !== undefined &&
          ledger.fillOf(domain.uuid, disk.request.target)?.replaces !== undefined
        ) {
          retired.settle();
        }
        return;
      case 'restore':
        // From here on the row keeps nothing aside any more.
        if (record?.replaces === disk.fillId) {
          const over = givenUp(record);
          if (over !== record) ledger.putFill(over);
        }
        retired.settle();
        later.in(domain.uuid, RESTORE_AGAIN_MS);
        return;
      case 'fill':
        // A domain on its way in brings its bytes along.
        if (incoming.has(domain.uuid)) return;
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
        if (disk.retryAtMs !== undefined) later.at(domain.uuid, disk.retryAtMs);
        return;
      case 'refuse':
        if (disk.sealed !== undefined) this.#followSeal(domain, disk, disk.sealed);
        // What was cut off, by a crash or else, is not gone on with: its space comes back, and nobody else waits for it.
        else this.#dropIfCutOff(record);
        return;
      case 'wait':
        waiting.lookAfterOther(domain, disk);
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
      const isArriving = this.#parts.incoming.has(domain.uuid);
      if (!isArriving) this.#parts.jobs.claimed(owner, disk.seal);
      return !isArriving;
    }
    this.#needs.ledger.removeFill(owner, disk.request.target);
    if (forgetIfOver(this.#needs, owner)) this.#parts.news.forget(owner);
    return true;
  }

  #followSeal(domain: Domain, disk: DiskPlan, seal: Pick<Seal, 'fillId' | 'sha256'>): void {
    const { ledger } = this.#needs;
    const record = ledger.fillOf(domain.uuid, disk.request.target);
    if (record?.state === 'ready' && record.fillId === seal.fillId) return;
    const lookAgain = (): void => {
      this.#look(domain.uuid);
    };
    const pool = libvirtPool(disk.location);
    if (pool !== undefined && !this.#parts.shown.isSeen(seal.fillId, pool, lookAgain)) return;
    const sealed = this.#newRecord(domain, disk, record, seal.fillId);
    ledger.putFill({ ...sealed, state: 'ready', sha256: seal.sha256 });
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
}
