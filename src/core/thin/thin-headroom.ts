/**
 * Whether a volume more may be made in a thin pool, so that all that are there can still grow to their full size. What
 * counts is what volumes may come to hold, not what they hold now: no guest is starved by another.
 */
import { isGolden } from '../owner.ts';
import { approximateSize } from '../size.ts';
import type { LogicalVolume, ThinPool } from '../volume/volume.ts';
import { readMark } from '../volume/volume.ts';
import type { PoolTrouble } from './pool-trouble.ts';
import { poolTrouble } from './pool-trouble.ts';
import type { ThinLimits } from './thin-limits.ts';

/** With them each volume can be written to its end. */
export const THIN_LIMITS: ThinLimits = { overcommit: 1, warnPercent: 80, stopPercent: 95 };

/**
 * What the metadata takes for a mapped chunk: by this LVM sizes the metadata of a new pool (lvmthin(7), "Metadata size",
 * and `man lvcreate`, --poolmetadatasize: pool size / chunk size * 64 bytes).
 */
const METADATA_BYTES_PER_CHUNK = 64;

/** Data or metadata of a pool, in bytes. */
export interface ThinSpace {
  readonly limitBytes: number;
  /** What the volumes that are there may come to take. */
  readonly promisedBytes: number;
  /** What others were promised that are just being made. */
  readonly reservedBytes: number;
  readonly wantedBytes: number;
}

export interface ThinHeadroom {
  readonly fits: boolean;
  readonly data: ThinSpace;
  readonly metadata: ThinSpace;
  /** Nothing is made however much is promised: so full is the pool, or it is not in order. */
  readonly stopped?: PoolTrouble | undefined;
}

/** A volume that is just being made, and the size it is to have. */
export interface ThinReservation {
  /** The volume's name now, if it is there. */
  readonly lv?: string | undefined;
  readonly sizeBytes: number;
}

/**
 * `reserved` are those that others make; `own` is the volume itself, if some of it is there. Both count once, with what
 * they are to have.
 */
export function thinHeadroomOf(
  pool: ThinPool,
  volumes: readonly LogicalVolume[],
  limits: ThinLimits,
  reserved: readonly ThinReservation[],
  wanted: ThinReservation,
): ThinHeadroom {
  const { chunkBytes } = pool;
  const made = new Set([...reserved, wanted].flatMap(({ lv }) => (lv === undefined ? [] : [lv])));
  const chunks = {
    promised: volumes
      .filter((volume) => volume.vg === pool.vg && volume.thinPool === pool.lv && !made.has(volume.lv))
      .reduce((sum, volume) => sum + chunksOf(growsTo(volume), chunkBytes), 0),
    reserved: reserved.reduce((sum, { sizeBytes }) => sum + chunksOf(sizeBytes, chunkBytes), 0),
    wanted: chunksOf(wanted.sizeBytes, chunkBytes),
  };
  const space = (sizeBytes: number, chunkCostBytes: number): ThinSpace => ({
    limitBytes: Math.floor(sizeBytes * limits.overcommit),
    promisedBytes: chunks.promised * chunkCostBytes,
    reservedBytes: chunks.reserved * chunkCostBytes,
    wantedBytes: chunks.wanted * chunkCostBytes,
  });
  const data = space(pool.sizeBytes, chunkBytes);
  const metadata = space(pool.metadataBytes, METADATA_BYTES_PER_CHUNK);
  const stopped = poolTrouble(pool, limits);
  return {
    ...{ data, metadata },
    ...(stopped === undefined ? {} : { stopped }),
    fits: stopped === undefined && hasRoom(data) && hasRoom(metadata),
  };
}

function hasRoom({ limitBytes, promisedBytes, reservedBytes, wantedBytes }: ThinSpace): boolean {
  return promisedBytes + reservedBytes + wantedBytes <= limitBytes;
}

/** What all volumes of a pool may come to hold of its data. */
export function promisedBytes(pool: ThinPool, volumes: readonly LogicalVolume[]): number {
  return volumes
    .filter(({ vg, thinPool }) => vg === pool.vg && thinPool === pool.lv)
    .reduce((sum, volume) => sum + chunksOf(growsTo(volume), pool.chunkBytes) * pool.chunkBytes, 0);
}

/** What a volume may come to hold of its pool, in bytes. */
function growsTo(volume: LogicalVolume): number {
  const mark = readMark(volume.tags);
  // What clones share with it is counted with it; what they write, with them.
  if (mark.state === 'golden' && !volume.writable) return mark.mappedBytes;
  // A clone of a golden volume that is only read, to check that one.
  const isForCheck = mark.state === 'filling' && isGolden(mark.domainUuid) && volume.origin !== undefined;
  return isForCheck ? 0 : volume.sizeBytes;
}

function chunksOf(bytes: number, chunkBytes: number): number {
  return Math.ceil(bytes / chunkBytes);
}

/** In words and numbers, why something does not fit. */
export function describeThinHeadroom({ data, metadata, stopped }: ThinHeadroom): string {
  if (stopped !== undefined) return `it ${stopped.says}`;
  const [what, space] = hasRoom(data) ? (['metadata', metadata] as const) : (['data', data] as const);
  const shown = (bytes: number) => `${bytes} bytes (${approximateSize(bytes)})`;
  return (
    `of its ${what} ${shown(space.wantedBytes)} are wanted; ${shown(space.limitBytes)} may be promised, ` +
    `${shown(space.promisedBytes)} are promised to volumes that are there and ${shown(space.reservedBytes)} to other fills`
  );
}
