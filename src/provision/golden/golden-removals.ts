/**
 * How golden volumes go: asked for, because they serve nobody, hold something else by now, or are beyond the budget of
 * their pool. None goes while it is used, and that one goes is written down before; one that another daemon had begun to
 * remove is met again.
 */
import { toProblem } from '../../core/errors.ts';
import type { GoldenPlace, GoldenVolume } from '../../core/thin/golden.ts';
import { goldenVolumes, uselessGoldens } from '../../core/thin/golden.ts';
import type { GoldenMax } from '../../core/thin/golden-budget.ts';
import { GOLDEN_MAX, goldenMaxBytes, goldensBeyond } from '../../core/thin/golden-budget.ts';
import type { LogicalVolume } from '../../core/volume/volume.ts';
import type { GoldenBook } from './golden-book.ts';
import { goldenInUse, goldenPinned, nameOfGolden } from './golden-problems.ts';
import type { Log } from '../ports/host.ts';
import type { GoldenEnd } from '../ports/ledger.ts';
import type { VolumeListing, Volumes } from '../ports/volumes.ts';
import type { GoldenWatch } from '../ports/watches.ts';

export interface RemovalNeeds {
  readonly volumes: Pick<Volumes, 'drop'>;
  readonly log: Log;
  /** The thin pool of each volume group that has one. */
  readonly thinPools: ReadonlyMap<string, string>;
  /** What golden volumes may hold of it, by volume group. */
  readonly goldenMax?: ReadonlyMap<string, GoldenMax> | undefined;
  /** Whether the configuration wants it here, or may: asked each time. */
  readonly isGoldenPinned?: ((golden: GoldenVolume) => boolean) | undefined;
  readonly watch?: GoldenWatch | undefined;
}

export type GoldenListing = Pick<VolumeListing, 'volumes' | 'thinPools'>;

/** So many that were removed are remembered, for readings from before that still show them. */
const REMOVED_MAX = 1_000;

export class GoldenRemovals {
  readonly #needs: RemovalNeeds;
  readonly #book: GoldenBook;
  /** How many are just using one, by the fill in its seal. */
  readonly #users = new Map<string, number>();
  readonly #dropping = new Map<string, Promise<void>>();
  readonly #removed = new Set<string>();
  /** Those that were there at the last look. */
  #seen: ReadonlyMap<string, string> = new Map();

  constructor(needs: RemovalNeeds, book: GoldenBook) {
    this.#needs = needs;
    this.#book = book;
  }

  /** Those of a reading that are still there as far as is known. */
  among(volumes: readonly LogicalVolume[]): readonly GoldenVolume[] {
    return goldenVolumes(volumes).filter(({ uuid }) => !this.#removed.has(uuid));
  }

  isInUse({ seal }: GoldenVolume): boolean {
    return this.#users.has(seal.fillId);
  }

  isPinned(golden: GoldenVolume): boolean {
    return this.#needs.isGoldenPinned?.(golden) ?? false;
  }

  /** It serves nobody any more. */
  isGoing({ seal, uuid }: GoldenVolume): boolean {
    return this.#dropping.has(seal.fillId) || this.#removed.has(uuid) || this.#book.isDamaged(seal);
  }

  /** Nobody removes it until `use` has ended; isGoing() is to be asked right before. */
  async whileUsed<T>({ seal: { fillId } }: GoldenVolume, use: () => Promise<T>): Promise<T> {
    this.#users.set(fillId, (this.#users.get(fillId) ?? 0) + 1);
    try {
      return await use();
    } finally {
      const left = (this.#users.get(fillId) ?? 1) - 1;
      if (left > 0) this.#users.set(fillId, left);
      else this.#users.delete(fillId);
    }
  }

  /** What the golden volumes of a pool may hold of it; undefined of a pool that the configuration does not name. */
  budgetBytes({ thinPools }: GoldenListing, { vg, thinPool }: GoldenPlace): number | undefined {
    const { goldenMax, thinPools: configured } = this.#needs;
    const pool = thinPools.find((one) => one.vg === vg && one.lv === thinPool);
    if (pool === undefined || configured.get(vg) !== thinPool) return undefined;
    return goldenMaxBytes(pool, goldenMax?.get(vg) ?? GOLDEN_MAX);
  }

  /** See GoldenVolumes. */
  drop(golden: GoldenVolume, why: GoldenEnd): Promise<void> {
    const { fillId } = golden.seal;
    if (this.isInUse(golden)) return Promise.reject(goldenInUse(golden));
    if (isServing(why) && this.isPinned(golden)) return Promise.reject(goldenPinned(golden));
    const dropping =
      this.#dropping.get(fillId) ??
      this.#drop(golden, why).finally(() => {
        this.#dropping.delete(fillId);
      });
    this.#dropping.set(fillId, dropping);
    return dropping;
  }

  /** See GoldenVolumes. */
  async retire(listing: GoldenListing): Promise<readonly GoldenVolume[]> {
    const isKept = (golden: GoldenVolume) => this.isInUse(golden) || this.isPinned(golden);
    const usedAtMs = ({ seal }: GoldenVolume) => this.#book.usedAtMs(seal) ?? Infinity;
    const beyond = goldensBeyond(this.among(listing.volumes), (place) => this.budgetBytes(listing, place), {
      usedAtMs,
      isKept,
    });
    const retired: GoldenVolume[] = [];
    for (const golden of beyond) {
      // Another one was removed meanwhile, which takes its time.
      if (isKept(golden)) continue;
      await this.#orWarn(golden, async () => {
        await this.drop(golden, 'over-budget');
        retired.push(golden);
        const fields = { volume: nameOfGolden(golden), image: golden.seal.image };
        this.#needs.log.info(fields, 'a golden volume is removed: it was beyond the budget of its pool');
      });
    }
    return retired;
  }

  /** Those beside another one that holds the same, and those that somebody has been at. */
  async removeUseless(goldens: readonly GoldenVolume[]): Promise<void> {
    // One that is damaged must not pass for the one that serves.
    for (const { golden, why } of uselessGoldens(goldens.filter((one) => !this.isGoing(one)))) {
      // Somebody looks at it just now.
      if (golden.unfit === 'is open') continue;
      await this.#orWarn(golden, async () => {
        await this.drop(golden, 'useless');
        this.#needs.log.warn(
          { volume: nameOfGolden(golden), why },
          'a golden volume that served nobody is removed',
        );
      });
    }
  }

  /** What was found damaged, and what a daemon had begun to remove when it ended, if nobody has used it since. */
  async goOn(goldens: readonly GoldenVolume[]): Promise<void> {
    for (const golden of goldens) {
      const why = this.#book.leaving(golden.seal);
      if (why === undefined || this.#removed.has(golden.uuid) || this.isInUse(golden)) continue;
      // What is beyond the budget by now is found out anew.
      const isInDoubt = why === 'over-budget' || (why === 'asked' && this.isPinned(golden));
      if (isInDoubt) this.#book.stays(golden.seal);
      else await this.#orWarn(golden, () => this.drop(golden, why));
    }
  }

  /** It holds something else than it was sealed with: from here on nobody gets a clone of it, also after a restart. */
  condemn({ seal }: GoldenVolume): void {
    this.#book.leaves(seal, 'damaged');
  }

  async removeDamaged(golden: GoldenVolume): Promise<void> {
    await this.#orWarn(golden, () => this.drop(golden, 'damaged'));
  }

  sayMissing(goldens: readonly GoldenVolume[]): void {
    const now = new Map(goldens.map((golden) => [golden.uuid, nameOfGolden(golden)]));
    for (const [uuid, name] of this.#seen) {
      if (now.has(uuid)) continue;
      this.#needs.watch?.missed();
      this.#needs.log.warn(
        { volume: name },
        'a golden volume is gone; it is made again when it is next wanted',
      );
    }
    this.#seen = now;
  }

  async #drop(golden: GoldenVolume, why: GoldenEnd): Promise<void> {
    this.#book.leaves(golden.seal, why);
    try {
      await this.#needs.volumes.drop(golden.vg, golden.seal);
    } catch (error) {
      this.#book.stays(golden.seal);
      throw error;
    }
    this.#book.gone(golden.seal);
    this.#removed.add(golden.uuid);
    const [oldest] = this.#removed;
    if (oldest !== undefined && this.#removed.size > REMOVED_MAX) this.#removed.delete(oldest);
    this.#seen = new Map([...this.#seen].filter(([uuid]) => uuid !== golden.uuid));
    this.#needs.watch?.dropped(why);
  }

  async #orWarn(golden: GoldenVolume, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const fields = { volume: nameOfGolden(golden), problem: toProblem(error) };
      this.#needs.log.warn(fields, 'a golden volume could not be removed yet');
    }
  }
}

/** There is nothing wrong with one that goes because of this. */
function isServing(why: GoldenEnd): boolean {
  return why === 'asked' || why === 'over-budget';
}
