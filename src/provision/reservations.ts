/**
 * Space that fills were promised and have not taken yet, so that no two of them count on the same free space.
 * A fill reserves when its size is known, right before its volume is made; from then on LVM's own count has it.
 *
 * A reading of the volume groups is as old as the call that asked for it: a volume that was made meanwhile may
 * or may not be in it. Therefore a promise counts for every reading that began before its end, unless the
 * reading itself shows the volume. (The helper does one thing at a time, so the free space of a reading is that
 * beside the volumes it shows.)
 */
import { ProvisionError, toProblem } from '../core/errors.ts';
import type { Headroom, KeepFree } from '../core/volume/headroom.ts';
import { describeHeadroom, headroomOf, KEEP_NOTHING_FREE } from '../core/volume/headroom.ts';
import { isGolden } from '../core/owner.ts';
import type { PoolTrouble } from '../core/thin/pool-trouble.ts';
import type { ThinLimits } from '../core/thin/thin-limits.ts';
import { describeThinHeadroom, THIN_LIMITS, thinHeadroomOf } from '../core/thin/thin-headroom.ts';
import { privateName, readMark } from '../core/volume/volume.ts';
import type { LogicalVolume } from '../core/volume/volume.ts';
import type { Log } from './ports/host.ts';
import type { GroupSpace, SpaceVerbs } from './ports/verbs.ts';
import type { PrivateVolume, Volumes } from './ports/volumes.ts';
import type { RecentListing } from './recent-listing.ts';

const REFUSED_MAX = 4096;

type Listing = Awaited<ReturnType<Volumes['list']>>;

/** Space for a volume, in its group or, if it is thin, in its thin pool. */
export interface Wanted extends PrivateVolume {
  readonly thinPool?: string | undefined;
}

/** Whether it fits, and the numbers, in words that follow a colon. */
export interface Room {
  readonly fits: boolean;
  readonly says: string;
  /** Nothing at all is made in its thin pool. */
  readonly stopped?: PoolTrouble | undefined;
}

interface Promised {
  readonly volume: Wanted;
  readonly sizeBytes: number;
  /** When it ended, in turns; undefined while it is held. */
  endedAt: number | undefined;
}

/** Fills that found too little space. */
interface Refused {
  readonly volume: Wanted;
  readonly sizeBytes: number;
}

interface ReservationNeeds {
  readonly volumes: Pick<Volumes, 'list'>;
  /** Without it the volumes are read for each reservation. */
  readonly recentListing?: Pick<RecentListing, 'recent'> | undefined;
  readonly log: Log;
  /** By volume group; without one nothing is kept free there. */
  readonly keepFree?: ReadonlyMap<string, KeepFree> | undefined;
  /** For all thin pools. */
  readonly thinLimits?: ThinLimits | undefined;
}

export class Reservations implements SpaceVerbs {
  readonly #needs: ReservationNeeds;
  readonly #promised = new Map<string, Promised>();
  /** By domain and final name: a fill that is tried again has another id. */
  readonly #refused = new Map<string, Refused>();
  /** When the readings that are under way began. */
  readonly #readings = new Set<number>();
  #turn = 0;
  /** Called with the domain of a fill that found too little space, once it would find enough. */
  onRoom: (domainUuid: string) => void = () => undefined;

  constructor(needs: ReservationNeeds) {
    this.#needs = needs;
  }

  /**
   * Runs `make` while the space for the volume is reserved; VG_FULL, and nothing is made, if there is too little, and
   * POOL_UNSUITABLE if its thin pool is not in order.
   * What is already there needs none.
   */
  async whileReserved<T>(volume: Wanted, sizeBytes: number, make: () => Promise<T>): Promise<T> {
    await this.#reserve(volume, sizeBytes);
    try {
      return await make();
    } finally {
      this.#release(volume.fillId);
    }
  }

  /**
   * What a new volume would find in a reading; undefined if that says nothing of the group. Nothing is reserved by it.
   * All promises count that the reading does not show, for nothing is known of when it began.
   */
  headroomIn(
    listing: Listing,
    { vg, thinPool }: Pick<Wanted, 'vg' | 'thinPool'>,
    sizeBytes: number,
  ): Room | undefined {
    return this.#headroom(listing, -1, { vg, thinPool, fillId: '' }, sizeBytes);
  }

  async space(): Promise<readonly GroupSpace[]> {
    const listing = await this.#needs.volumes.list();
    return listing.groups
      .flatMap(({ vg, sizeBytes }) => {
        const headroom = this.#thickHeadroom(listing, -1, { vg, fillId: '' }, 0);
        if (headroom === undefined) return [];
        const { freeBytes, reservedBytes, keepFreeBytes } = headroom;
        return [{ vg, sizeBytes, freeBytes, reservedBytes, keepFreeBytes }];
      })
      .sort((a, b) => a.vg.localeCompare(b.vg));
  }

  /** What is promised and has not been taken yet, by volume group; thin pools have their own. */
  reservedBytes(): ReadonlyMap<string, number> {
    const reserved = new Map<string, number>();
    for (const { volume, sizeBytes, endedAt } of this.#promised.values()) {
      if (endedAt === undefined && volume.thinPool === undefined)
        reserved.set(volume.vg, (reserved.get(volume.vg) ?? 0) + sizeBytes);
    }
    return reserved;
  }

  /** Looks whether those that found too little space would find enough now. */
  lookAgain(): void {
    if (this.#refused.size === 0) return;
    this.#read((listing, beganAt) => {
      this.#tellWhoeverFits(listing, beganAt);
    }).catch((error: unknown) => {
      this.#needs.log.warn(
        { problem: toProblem(error) },
        'could not look for free space; fills try by themselves',
      );
    });
  }

  async #reserve(volume: Wanted, sizeBytes: number): Promise<void> {
    if (this.#reserveByRecent(volume, sizeBytes)) return;
    await this.#read((listing, beganAt) => {
      const headroom = this.#headroom(listing, beganAt, volume, sizeBytes);
      this.#refused.delete(keyOf(volume));
      if (headroom?.fits === false) {
        // Whoever wants a golden volume waits on its own account.
        if (!isGolden(volume.domainUuid)) this.#remember({ volume, sizeBytes });
        throw full(volume, headroom);
      }
      // A group that is not there is the helper's to complain about.
      if (headroom !== undefined)
        this.#promised.set(volume.fillId, { volume, sizeBytes, endedAt: undefined });
    });
  }

  /**
   * Where volumes were just read nothing of ours has changed any since, so that no promise can have been kept and
   * forgotten that this reading does not show. Only for a thin volume, of which the helper looks at the pool again, and
   * only if it fits: before one is refused, LVM is read.
   */
  #reserveByRecent(volume: Wanted, sizeBytes: number): boolean {
    const recent = volume.thinPool === undefined ? undefined : this.#needs.recentListing?.recent();
    if (recent === undefined || this.#headroom(recent, -1, volume, sizeBytes)?.fits !== true) return false;
    this.#refused.delete(keyOf(volume));
    this.#promised.set(volume.fillId, { volume, sizeBytes, endedAt: undefined });
    return true;
  }

  /** The oldest are forgotten when there are too many: they are tried again after their pause all the same. */
  #remember(refused: Refused): void {
    const [oldest] = this.#refused.keys();
    if (oldest !== undefined && this.#refused.size >= REFUSED_MAX) this.#refused.delete(oldest);
    this.#refused.set(keyOf(refused.volume), refused);
  }

  #release(fillId: string): void {
    const promised = this.#promised.get(fillId);
    if (promised !== undefined) promised.endedAt = this.#turn++;
    this.#forgetEnded();
  }

  /** What is done with the reading is done before anything else can happen. */
  async #read<T>(use: (listing: Listing, beganAt: number) => T): Promise<T> {
    const beganAt = this.#turn++;
    this.#readings.add(beganAt);
    try {
      return use(await this.#needs.volumes.list(), beganAt);
    } finally {
      this.#readings.delete(beganAt);
      this.#forgetEnded();
    }
  }

  /** Undefined if no space is needed, or if nothing is known about the group. */
  #headroom(
    listing: Listing,
    beganAt: number,
    volume: Pick<Wanted, 'vg' | 'fillId' | 'thinPool'>,
    sizeBytes: number,
  ): Room | undefined {
    if (volume.thinPool !== undefined) return this.#thinHeadroom(listing, beganAt, volume, sizeBytes);
    const headroom = this.#thickHeadroom(listing, beganAt, volume, sizeBytes);
    return headroom && { fits: headroom.fits, says: describeHeadroom(headroom) };
  }

  /** Promises to others from the same place that the reading may not show. */
  #othersThan(volume: Pick<Wanted, 'vg' | 'fillId' | 'thinPool'>, beganAt: number): readonly Promised[] {
    return [...this.#promised.values()].filter(
      ({ volume: other, endedAt = Infinity }) =>
        other.vg === volume.vg &&
        other.thinPool === volume.thinPool &&
        other.fillId !== volume.fillId &&
        endedAt > beganAt,
    );
  }

  #thickHeadroom(
    { volumes, groups }: Listing,
    beganAt: number,
    volume: Pick<Wanted, 'vg' | 'fillId'>,
    sizeBytes: number,
  ): Headroom | undefined {
    const group = groups.find(({ vg }) => vg === volume.vg);
    if (group === undefined || findOf(volumes, volume) !== undefined) return undefined;
    const others = this.#othersThan(volume, beganAt);
    return headroomOf(
      { ...group, unitBytes: group.extentBytes },
      this.#needs.keepFree?.get(volume.vg) ?? KEEP_NOTHING_FREE,
      others.filter((other) => findOf(volumes, other.volume) === undefined).map((other) => other.sizeBytes),
      sizeBytes,
    );
  }

  /** A thin volume that is there may not have its full size yet: it counts with what it was promised. */
  #thinHeadroom(
    { volumes, groups, thinPools }: Listing,
    beganAt: number,
    volume: Pick<Wanted, 'vg' | 'fillId' | 'thinPool'>,
    sizeBytes: number,
  ): Room | undefined {
    const pool = thinPools.find(({ vg, lv }) => vg === volume.vg && lv === volume.thinPool);
    if (pool === undefined) return undefined;
    const extentBytes = groups.find(({ vg }) => vg === volume.vg)?.extentBytes ?? 1;
    const inExtents = (bytes: number) => Math.ceil(bytes / extentBytes) * extentBytes;
    const headroom = thinHeadroomOf(
      pool,
      volumes,
      this.#needs.thinLimits ?? THIN_LIMITS,
      this.#othersThan(volume, beganAt).map((other) => ({
        lv: findOf(volumes, other.volume)?.lv,
        sizeBytes: inExtents(other.sizeBytes),
      })),
      { lv: findOf(volumes, volume)?.lv, sizeBytes: inExtents(sizeBytes) },
    );
    const { fits, stopped } = headroom;
    return { fits, says: describeThinHeadroom(headroom), stopped };
  }

  #tellWhoeverFits(listing: Listing, beganAt: number): void {
    for (const [key, { volume, sizeBytes }] of this.#refused) {
      if (this.#headroom(listing, beganAt, volume, sizeBytes)?.fits === false) continue;
      // Once: if others are quicker it is refused, and waits, again.
      this.#refused.delete(key);
      this.onRoom(volume.domainUuid);
    }
  }

  #forgetEnded(): void {
    const oldest = Math.min(...this.#readings);
    for (const [fillId, { endedAt = Infinity }] of this.#promised) {
      if (endedAt < oldest) this.#promised.delete(fillId);
    }
  }
}

/** Under its private name, or, being taken over, under another one with its marks. */
function findOf(
  volumes: readonly LogicalVolume[],
  { vg, fillId }: Pick<PrivateVolume, 'vg' | 'fillId'>,
): LogicalVolume | undefined {
  return volumes.find((found) => {
    if (found.vg !== vg) return false;
    if (found.lv === privateName(fillId)) return true;
    const mark = readMark(found.tags);
    const isOurs = mark.state === 'filling' || mark.state === 'ready' || mark.state === 'golden';
    return isOurs && mark.fillId === fillId;
  });
}

function keyOf({ domainUuid, target }: PrivateVolume): string {
  return `${domainUuid} ${target}`;
}

function full(volume: Wanted, room: Room): ProvisionError {
  const { vg, thinPool } = volume;
  if (thinPool !== undefined && room.stopped !== undefined) {
    const { code, says, remedy: hint } = room.stopped;
    const message = `The thin pool ${vg}/${thinPool} ${says}, so the volume ${volume.target} is not made.`;
    return new ProvisionError({ code, message, hint });
  }
  if (thinPool !== undefined) {
    return new ProvisionError({
      code: 'VG_FULL',
      message: `The thin pool ${vg}/${thinPool} has too little room for the volume ${volume.target}: ${room.says}.`,
      hint: `Free space in it (lvs ${vg}, lvp image gc) or extend it (lvextend ${vg}/${thinPool}); thin.overcommit in the configuration says how much is promised.`,
    });
  }
  return new ProvisionError({
    code: 'VG_FULL',
    message: `${volume.vg} has too little room for the volume ${volume.target}: ${room.says}.`,
    hint: `Free space in ${volume.vg} (vgs, lvremove) or extend it (vgextend); pools.${volume.vg}.keep_free in the configuration says what stays free.`,
  });
}
