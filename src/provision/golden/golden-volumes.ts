/**
 * The golden volumes of this host: one for each image and thin pool, made when it is first wanted, by one for all who
 * want it, and cloned for guests. What is known of them is what their tags say, and the book beside them.
 */
import { randomBytes } from 'node:crypto';
import type { Problem } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import type { GoldenPlace, GoldenVolume } from '../../core/thin/golden.ts';
import { goldenKey, servingGolden, unnamedGoldens } from '../../core/thin/golden.ts';
import { GOLDEN_OWNER } from '../../core/owner.ts';
import type { GoldenSeal, LogicalVolume, NewGoldenSeal } from '../../core/volume/volume.ts';
import { formatTag, goldenName } from '../../core/volume/volume.ts';
import { digestOfGolden } from './check-golden.ts';
import { GoldenBook } from './golden-book.ts';
import { goldenGone, goldenVanished, nameOfGolden, noThinPool } from './golden-problems.ts';
import type { GoldenListing, RemovalNeeds } from './golden-removals.ts';
import { GoldenRemovals } from './golden-removals.ts';
import type { LowPriority } from '../stream/low-priority.ts';
import type { GoldenRequest, MakeGoldenNeeds, MakeGoldenRun } from './make-golden.ts';
import { makeGolden } from './make-golden.ts';
import type { Log } from '../ports/host.ts';
import type { GoldenEnd, GoldenRows } from '../ports/ledger.ts';
import type { PrivateVolume, Volumes } from '../ports/volumes.ts';
import type { RecentListing } from '../recent-listing.ts';
import type { Member } from '../shared-work.ts';
import { SharedWork } from '../shared-work.ts';

export type { GoldenVolume } from '../../core/thin/golden.ts';
export type { GoldenRequest } from './make-golden.ts';

export interface GoldenRun extends Member {
  readonly log: Log;
  /** Of one that is patient: how it makes way for others. */
  readonly priority?: LowPriority | undefined;
}

export interface GoldenNeeds extends MakeGoldenNeeds, RemovalNeeds {
  readonly volumes: Volumes;
  readonly ledger: GoldenRows;
  /** Without it the volumes are read again for each question. */
  readonly recentListing?: Pick<RecentListing, 'recent'> | undefined;
}

/** How golden volumes stand towards the budget of their pool, in bytes. */
export interface GoldenSpace extends GoldenPlace {
  readonly maxBytes: number;
  readonly heldBytes: number;
}

/** Somebody who wants one gets it, unless it is removed so often in a row in the moment before. */
const HOLD_TRIES_MAX = 5;

export class GoldenVolumes {
  readonly #needs: GoldenNeeds;
  readonly #book: GoldenBook;
  readonly #removals: GoldenRemovals;
  readonly #making = new SharedWork<GoldenVolume>();
  /** Private volumes that are worked on in this process, by their fills. */
  readonly #filling = new Set<string>();
  #retiring: Promise<unknown> = Promise.resolve();

  constructor(needs: GoldenNeeds) {
    this.#needs = needs;
    this.#book = new GoldenBook(needs);
    this.#removals = new GoldenRemovals(needs, this.#book);
  }

  /** Fills of private volumes that nobody else may take for litter. */
  get filling(): ReadonlySet<string> {
    return this.#filling;
  }

  /** All there are, also those that serve nobody. */
  async list(): Promise<readonly GoldenVolume[]> {
    return this.#removals.among((await this.#needs.volumes.list()).volumes);
  }

  /** Unix time in ms; undefined of one that was not looked at yet. */
  usedAtMs({ seal }: GoldenVolume): number | undefined {
    return this.#book.usedAtMs(seal);
  }

  /** Whether a volume is just being made of it, or it is being read. */
  isInUse(golden: GoldenVolume): boolean {
    return this.#removals.isInUse(golden);
  }

  isPinned(golden: GoldenVolume): boolean {
    return this.#removals.isPinned(golden);
  }

  /** Of each thin pool that the configuration names and that is there. */
  async space(): Promise<readonly GoldenSpace[]> {
    const listing = await this.#needs.volumes.list();
    const goldens = this.#removals.among(listing.volumes);
    return [...this.#needs.thinPools].flatMap(([vg, thinPool]) => {
      const maxBytes = this.#removals.budgetBytes(listing, { vg, thinPool });
      const inPool = goldens.filter((golden) => golden.vg === vg && golden.thinPool === thinPool);
      const heldBytes = inPool.reduce((sum, { seal }) => sum + seal.mappedBytes, 0);
      return maxBytes === undefined ? [] : [{ vg, thinPool, maxBytes, heldBytes }];
    });
  }

  /**
   * The golden volume that holds the image in the group's thin pool, if its bytes were compared with all that proves it;
   * it is made if there is none, once for all who ask at the same time. POOL_UNSUITABLE without a thin pool; what the
   * making of it throws.
   */
  ensure(vg: string, request: GoldenRequest, run: GoldenRun): Promise<GoldenVolume> {
    const thinPool = this.#needs.thinPools.get(vg);
    if (thinPool === undefined) return Promise.reject(noThinPool(vg));
    const place = { vg, thinPool };
    const { sha256 = 'any', provenBy = [] } = request;
    const key = [goldenKey(place, { sha256, format: formatTag(request) }), ...provenBy].join(' ');
    return this.#making.run(key, run, async (announce) => {
      const found = this.#findRecent(place, request) ?? (await this.find(place, request));
      if (found !== undefined) return found;
      const priority = run.priority?.unless(announce.isHurried);
      return this.#make(place, request, { ...announce, priority, signal: run.signal, log: run.log });
    });
  }

  /** The same, and nobody removes it until `use` has ended. */
  async whileHeld<T>(
    vg: string,
    request: GoldenRequest,
    run: GoldenRun,
    use: (golden: GoldenVolume) => Promise<T>,
  ): Promise<T> {
    for (let tries = 1; ; tries++) {
      const golden = await this.ensure(vg, request, run);
      // Between the two nothing else can happen.
      if (!this.#removals.isGoing(golden)) return this.#removals.whileUsed(golden, () => use(golden));
      if (tries === HOLD_TRIES_MAX) throw goldenGone(golden);
    }
  }

  /** Makes the private volume of a fill as a clone. VOLUME_MISSING if the golden volume is gone, or about to go. */
  async clone(golden: GoldenVolume, volume: PrivateVolume, sizeBytes: number): Promise<void> {
    const { reservations, volumes } = this.#needs;
    if (this.#removals.isGoing(golden)) throw goldenGone(golden);
    await this.#removals.whileUsed(golden, async () => {
      this.#book.used(golden.seal);
      await reservations.whileReserved({ ...volume, thinPool: golden.thinPool }, sizeBytes, () =>
        volumes.clone(volume, golden.seal, sizeBytes),
      );
    });
    this.#needs.watch?.cloned();
  }

  /**
   * Removes it; clones that were made of it stay. GOLDEN_IN_USE while one is being made; POLICY_REFUSED if it is pinned,
   * unless it serves nobody.
   */
  drop(golden: GoldenVolume, why: GoldenEnd = 'asked'): Promise<void> {
    return this.#removals.drop(golden, why);
  }

  /**
   * Removes what is beyond the budget of each pool, the least recently used first: none that is in use, none that is
   * pinned. Resolves with those that are gone; what fails is met again at the next look.
   */
  async retire(): Promise<readonly GoldenVolume[]> {
    return this.#removals.retire(await this.#needs.volumes.list());
  }

  /** Resolves when nothing is being removed by itself after a fill. */
  async idle(): Promise<void> {
    await this.#retiring;
  }

  /**
   * Reads all of it, slowly, through a clone that nobody else gets, and compares. One that holds something else is
   * removed, and made again when it is next wanted.
   */
  async check(golden: GoldenVolume, signal: AbortSignal): Promise<'sound' | Problem> {
    if (this.#removals.isGoing(golden)) throw goldenGone(golden);
    const fillId = randomBytes(8).toString('hex');
    this.#filling.add(fillId);
    try {
      const read = () => digestOfGolden(this.#needs, golden, fillId, signal);
      const found = await this.#removals.whileUsed(golden, read);
      const isSound = found === golden.seal.contentSha256;
      this.#needs.watch?.checked(isSound ? 'sound' : 'damaged');
      return isSound ? 'sound' : await this.#removeDamaged(golden);
    } catch (error) {
      if (!signal.aborted) this.#needs.watch?.checked('failed');
      throw error;
    } finally {
      this.#filling.delete(fillId);
    }
  }

  /**
   * Finishes what only lacks its name, removes what serves nobody, what was to be removed when a daemon ended, and what
   * is beyond the budget, and says which are missed. What fails is met again at the next look.
   */
  async settle(listing: GoldenListing): Promise<void> {
    let goldens = this.#removals.among(listing.volumes);
    for (const { volume, seal } of unnamedGoldens(listing.volumes)) {
      if (this.#filling.has(seal.fillId)) continue;
      await this.#orWarn(volume, async () => {
        await this.#finish(volume.vg, seal);
        // Another one may have been made in its place meanwhile.
        goldens = await this.list();
      });
    }
    this.#removals.sayMissing(goldens);
    this.#book.seen(
      goldens.map(({ seal }) => seal),
      this.#filling,
    );
    await this.#removals.goOn(goldens);
    await this.#removals.removeUseless(goldens);
    await this.#removals.retire(listing);
  }

  /** The one that would serve now, if there is one. */
  async find(place: GoldenPlace, request: GoldenRequest): Promise<GoldenVolume | undefined> {
    return this.#findIn(await this.#needs.volumes.list(), place, request);
  }

  /** One that was just seen is not looked for again: the helper looks at it before it makes a volume of it. */
  #findRecent(place: GoldenPlace, request: GoldenRequest): GoldenVolume | undefined {
    const recent = this.#needs.recentListing?.recent();
    return recent && this.#findIn(recent, place, request);
  }

  #findIn(
    { volumes }: Pick<GoldenListing, 'volumes'>,
    place: GoldenPlace,
    request: GoldenRequest,
  ): GoldenVolume | undefined {
    const { format, compression, provenBy = [] } = request;
    const usable = this.#removals
      .among(volumes)
      .filter((golden) => !this.#removals.isGoing(golden) && this.#book.isProvenBy(golden.seal, provenBy));
    const serving = (sha256: string) => servingGolden(usable, place, { sha256, format, compression });
    if (request.sha256 !== undefined) return serving(request.sha256);
    // Only the further proofs say which bytes are meant.
    return provenBy.length === 0
      ? undefined
      : usable.map(({ seal }) => serving(seal.sha256)).find((golden) => golden !== undefined);
  }

  async #make(
    place: GoldenPlace,
    request: GoldenRequest,
    run: Omit<MakeGoldenRun, 'isWanted'>,
  ): Promise<GoldenVolume> {
    const fillId = randomBytes(8).toString('hex');
    this.#filling.add(fillId);
    let sha256: string;
    try {
      const isWanted = this.#judge(place, request, fillId);
      const log = run.log.child({ golden: fillId });
      sha256 = await makeGolden(this.#needs, { ...place, fillId }, request, { ...run, log, isWanted });
    } finally {
      this.#filling.delete(fillId);
    }
    this.#needs.watch?.made();
    this.#retireSoon();
    const made = await this.find(place, { ...request, sha256 });
    if (made !== undefined) return made;
    throw goldenVanished({ vg: place.vg, lv: goldenName(fillId) });
  }

  /**
   * What is written for a golden volume is proven by now. If there is one that holds the same, its bytes are the same:
   * what proves these proves those.
   */
  #judge(place: GoldenPlace, request: GoldenRequest, fillId: string): MakeGoldenRun['isWanted'] {
    return async (sha256, proofs) => {
      const other = await this.find(place, { ...request, sha256, provenBy: [] });
      const seal = other?.seal ?? { fillId, sha256 };
      this.#book.used(seal);
      this.#book.proven(seal, proofs);
      return other === undefined;
    };
  }

  /** Nobody waits for it. */
  #retireSoon(): void {
    const retire = () =>
      this.retire().catch((error: unknown) => {
        this.#needs.log.warn({ problem: toProblem(error) }, 'golden volumes could not be looked at');
      });
    this.#retiring = this.#retiring.then(retire);
  }

  async #finish(vg: string, seal: GoldenSeal): Promise<void> {
    const { fillId, image, sha256, format, sizeBytes, contentSha256, version } = seal;
    const unmeasured: NewGoldenSeal = {
      ...{ state: 'golden', fillId, image, sha256, format, sizeBytes, contentSha256 },
      ...(version === undefined ? {} : { version }),
    };
    const volume = { vg, fillId, target: goldenName(fillId), domainUuid: GOLDEN_OWNER };
    await this.#needs.volumes.publish(volume, unmeasured);
    this.#needs.log.info({ volume: `${vg}/${volume.target}` }, 'finished a golden volume');
  }

  async #removeDamaged(golden: GoldenVolume): Promise<Problem> {
    const { log, volumes } = this.#needs;
    this.#removals.condemn(golden);
    // Before it is gone, and with it what they are clones of.
    const listed = await volumes.list().catch(() => undefined);
    const clones = listed?.volumes.filter(({ vg, origin }) => vg === golden.vg && origin === golden.lv) ?? [];
    const problem: Problem = {
      code: 'GOLDEN_DAMAGED',
      message: `The golden volume ${nameOfGolden(golden)} does not hold what it was sealed with.`,
      hint: `It is made again when it is next wanted. Look at the guests on its clones: ${clones.map(({ lv }) => lv).join(', ') || 'none is known'}.`,
    };
    log.error({ problem, volume: nameOfGolden(golden) }, 'a golden volume is damaged, and is removed');
    await this.#removals.removeDamaged(golden);
    return problem;
  }

  async #orWarn(volume: Pick<LogicalVolume, 'vg' | 'lv'>, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const fields = { volume: nameOfGolden(volume), problem: toProblem(error) };
      this.#needs.log.warn(fields, 'a golden volume could not be finished yet');
    }
  }
}
