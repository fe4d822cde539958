/**
 * The golden volumes of this host: one for each image and thin pool, made when it is first wanted, by one for all who
 * want it, and cloned for guests. What is known of them is what their tags say; here is only who uses which just now.
 */
import { randomBytes } from 'node:crypto';
import type { Problem } from '../core/errors.ts';
import { ProvisionError, toProblem } from '../core/errors.ts';
import type { GoldenContent, GoldenPlace, GoldenVolume } from '../core/golden.ts';
import { goldenKey, goldenVolumes, servingGolden, unnamedGoldens, uselessGoldens } from '../core/golden.ts';
import { GOLDEN_OWNER } from '../core/owner.ts';
import type { ImageReference } from '../core/request.ts';
import type { GoldenSeal, LogicalVolume, NewGoldenSeal } from '../core/volume.ts';
import { formatTag, goldenName } from '../core/volume.ts';
import { digestOfGolden } from './check-golden.ts';
import type { MakeGoldenNeeds } from './make-golden.ts';
import { makeGolden } from './make-golden.ts';
import type { GoldenWatch, Log, PrivateVolume } from './ports.ts';
import type { Member } from './shared-work.ts';
import { SharedWork } from './shared-work.ts';

export type { GoldenVolume } from '../core/golden.ts';

/** Which image is to be on this host; the digest says which bytes, the rest how to come by them. */
export interface GoldenRequest extends GoldenContent {
  readonly image: ImageReference;
  readonly version?: string | undefined;
}

export interface GoldenRun extends Member {
  readonly log: Log;
}

export interface GoldenNeeds extends MakeGoldenNeeds {
  readonly log: Log;
  /** The thin pool of each volume group that has one. */
  readonly thinPools: ReadonlyMap<string, string>;
  readonly watch?: GoldenWatch | undefined;
}

export class GoldenVolumes {
  readonly #needs: GoldenNeeds;
  readonly #making = new SharedWork<GoldenVolume>();
  /** Private volumes that are worked on in this process, by their fills. */
  readonly #filling = new Set<string>();
  /** How many are just using one, by the fill in its seal. */
  readonly #users = new Map<string, number>();
  readonly #dropping = new Set<string>();
  /** They hold something else than they were sealed with, and are never served again. */
  readonly #damaged = new Set<string>();
  /** Those that were there at the last look. */
  #seen: ReadonlyMap<string, string> = new Map();

  constructor(needs: GoldenNeeds) {
    this.#needs = needs;
  }

  /** Fills of private volumes that nobody else may take for litter. */
  get filling(): ReadonlySet<string> {
    return this.#filling;
  }

  /** All there are, also those that serve nobody. */
  async list(): Promise<readonly GoldenVolume[]> {
    const { volumes } = await this.#needs.volumes.list();
    return goldenVolumes(volumes);
  }

  /**
   * The golden volume that holds the image in the group's thin pool; it is made if there is none, once for all who ask
   * at the same time. POOL_UNSUITABLE without a thin pool; what the making of it throws.
   */
  ensure(vg: string, request: GoldenRequest, run: GoldenRun): Promise<GoldenVolume> {
    const thinPool = this.#needs.thinPools.get(vg);
    if (thinPool === undefined) return Promise.reject(noThinPool(vg));
    const key = goldenKey({ vg, thinPool }, { ...request, format: formatTag(request) });
    return this.#making.run(key, run, async (announce) => {
      const found = await this.#find({ vg, thinPool }, request);
      if (found !== undefined) return found;
      return this.#make({ vg, thinPool }, request, { ...announce, signal: run.signal, log: run.log });
    });
  }

  /** Makes the private volume of a fill as a clone. VOLUME_MISSING if the golden volume is gone, or about to go. */
  async clone(golden: GoldenVolume, volume: PrivateVolume, sizeBytes: number): Promise<void> {
    const { reservations, volumes } = this.#needs;
    if (this.#isGoing(golden)) throw gone(golden);
    await this.#whileUsed(golden, async () => {
      await reservations.whileReserved({ ...volume, thinPool: golden.thinPool }, sizeBytes, () =>
        volumes.clone(volume, golden.seal, sizeBytes),
      );
    });
    this.#needs.watch?.cloned();
  }

  /** Removes it; clones that were made of it stay. GOLDEN_IN_USE while one is being made. */
  async drop(golden: GoldenVolume, why: 'asked' | 'useless' | 'damaged' = 'asked'): Promise<void> {
    const { fillId } = golden.seal;
    if (this.#users.has(fillId)) throw inUse(golden);
    this.#dropping.add(fillId);
    try {
      await this.#needs.volumes.drop(golden.vg, golden.seal);
      this.#damaged.delete(fillId);
      this.#seen = new Map([...this.#seen].filter(([uuid]) => uuid !== golden.uuid));
      this.#needs.watch?.dropped(why);
    } finally {
      this.#dropping.delete(fillId);
    }
  }

  /**
   * Reads all of it, slowly, through a clone that nobody else gets, and compares. One that holds something else is
   * removed, and made again when it is next wanted.
   */
  async check(golden: GoldenVolume, signal: AbortSignal): Promise<'sound' | Problem> {
    if (this.#isGoing(golden)) throw gone(golden);
    const fillId = randomBytes(8).toString('hex');
    this.#filling.add(fillId);
    try {
      const found = await this.#whileUsed(golden, () => digestOfGolden(this.#needs, golden, fillId, signal));
      const isSound = found === golden.seal.contentSha256;
      this.#needs.watch?.checked(isSound ? 'sound' : 'damaged');
      return isSound ? 'sound' : await this.#retireDamaged(golden);
    } catch (error) {
      if (!signal.aborted) this.#needs.watch?.checked('failed');
      throw error;
    } finally {
      this.#filling.delete(fillId);
    }
  }

  /**
   * Finishes what only lacks its name, removes what serves nobody, and says which are missed. What fails is met again
   * at the next look.
   */
  async settle(volumes: readonly LogicalVolume[]): Promise<void> {
    let goldens = goldenVolumes(volumes);
    for (const { volume, seal } of unnamedGoldens(volumes)) {
      if (this.#filling.has(seal.fillId)) continue;
      await this.#orWarn(volume, async () => {
        await this.#finish(volume.vg, seal);
        // Another one may have been made in its place meanwhile.
        goldens = await this.list();
      });
    }
    this.#sayMissing(goldens);
    for (const { golden, why } of uselessGoldens(goldens)) {
      // Somebody looks at it just now.
      if (golden.unfit === 'is open') continue;
      await this.#orWarn(golden, async () => {
        await this.drop(golden, 'useless');
        this.#needs.log.warn(
          { volume: nameOf(golden), why },
          'a golden volume that served nobody is removed',
        );
      });
    }
    for (const golden of goldens.filter(({ seal }) => this.#damaged.has(seal.fillId))) {
      await this.#orWarn(golden, () => this.drop(golden, 'damaged'));
    }
  }

  async #find(place: GoldenPlace, content: GoldenContent): Promise<GoldenVolume | undefined> {
    const { volumes } = await this.#needs.volumes.list();
    const usable = goldenVolumes(volumes).filter((golden) => !this.#isGoing(golden));
    return servingGolden(usable, place, content);
  }

  async #make(place: GoldenPlace, request: GoldenRequest, run: GoldenRun): Promise<GoldenVolume> {
    const fillId = randomBytes(8).toString('hex');
    this.#filling.add(fillId);
    try {
      const log = run.log.child({ golden: fillId });
      await makeGolden(this.#needs, { ...place, fillId }, request, { ...run, log });
    } finally {
      this.#filling.delete(fillId);
    }
    this.#needs.watch?.made();
    const made = await this.#find(place, request);
    if (made !== undefined) return made;
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `The golden volume ${place.vg}/${goldenName(fillId)} was made and is gone.`,
      hint: 'Somebody removed it; it is made again.',
    });
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

  async #retireDamaged(golden: GoldenVolume): Promise<Problem> {
    const { log, volumes } = this.#needs;
    this.#damaged.add(golden.seal.fillId);
    const listed = await volumes.list().catch(() => undefined);
    const clones = listed?.volumes.filter(({ vg, origin }) => vg === golden.vg && origin === golden.lv) ?? [];
    const problem: Problem = {
      code: 'GOLDEN_DAMAGED',
      message: `The golden volume ${nameOf(golden)} does not hold what it was sealed with.`,
      hint: `It is made again when it is next wanted. Look at the guests on its clones: ${clones.map(({ lv }) => lv).join(', ') || 'none is known'}.`,
    };
    log.error({ problem, volume: nameOf(golden) }, 'a golden volume is damaged, and is removed');
    await this.#orWarn(golden, () => this.drop(golden, 'damaged'));
    return problem;
  }

  #sayMissing(goldens: readonly GoldenVolume[]): void {
    const now = new Map(goldens.map((golden) => [golden.uuid, nameOf(golden)]));
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

  #isGoing({ seal }: GoldenVolume): boolean {
    return this.#dropping.has(seal.fillId) || this.#damaged.has(seal.fillId);
  }

  async #whileUsed<T>({ seal: { fillId } }: GoldenVolume, use: () => Promise<T>): Promise<T> {
    this.#users.set(fillId, (this.#users.get(fillId) ?? 0) + 1);
    try {
      return await use();
    } finally {
      const left = (this.#users.get(fillId) ?? 1) - 1;
      if (left > 0) this.#users.set(fillId, left);
      else this.#users.delete(fillId);
    }
  }

  async #orWarn({ vg, lv }: Pick<LogicalVolume, 'vg' | 'lv'>, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const fields = { volume: `${vg}/${lv}`, problem: toProblem(error) };
      this.#needs.log.warn(fields, 'a golden volume could not be seen to yet');
    }
  }
}

function nameOf({ vg, lv }: Pick<GoldenVolume, 'vg' | 'lv'>): string {
  return `${vg}/${lv}`;
}

function noThinPool(vg: string): ProvisionError {
  return new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `The volume group ${vg} has no thin pool, so that no golden volume can be in it.`,
    hint: 'Name one under thin_pools in the configuration.',
  });
}

function gone(golden: GoldenVolume): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `The golden volume ${nameOf(golden)} is being removed.`,
    hint: 'It is made again when it is next wanted.',
  });
}

function inUse(golden: GoldenVolume): ProvisionError {
  return new ProvisionError({
    code: 'GOLDEN_IN_USE',
    message: `The golden volume ${nameOf(golden)} is just being cloned or checked.`,
    hint: 'Try again in a moment.',
  });
}
