/** What keeps volumes from being made in a thin pool, and what is to be done about it. */
import type { ThinPool } from '../volume/volume.ts';
import type { ThinLimits } from './thin-limits.ts';

export interface PoolTrouble {
  readonly code: 'VG_FULL' | 'POOL_UNSUITABLE';
  /** Follows the name of the pool: "vg0/pool0 …". */
  readonly says: string;
  readonly remedy: string;
}

/** Of data or metadata, in percent: what is in use, from when on it is warned of, and from when on nothing is made. */
export interface PoolUse {
  readonly what: 'data' | 'metadata';
  readonly usedPercent: number;
  readonly warnPercent: number;
  readonly stopPercent: number;
}

/**
 * So much of a pool's metadata LVM wants to be free when it makes a thin volume, or a quarter of it if that is less:
 * thin_pool_metadata_min_threshold() in lib/metadata/thin_manip.c; `lvcreate` says "Remaining free space in metadata of
 * thin pool vg1/pool0 is too low (97.95% >= 75.00%)" of one that has 4 MiB.
 */
const METADATA_FREE_MIN_BYTES = 4 * 1024 * 1024;
const METADATA_FREE_MIN_PERCENT = 25;

/** What LVM says of it; undefined of one that is well, however full it is. */
export function brokenPool(pool: Omit<ThinPool, 'sizeBytes'>): PoolTrouble | undefined {
  const { vg, lv, health } = pool;
  if (health === undefined) return undefined;
  const name = `${vg}/${lv}`;
  if (health === 'out_of_data') {
    return {
      ...{ code: 'VG_FULL', says: 'has no space left for data' },
      remedy: `Extend it (lvextend --size +SIZE ${name}), or remove thin volumes that nobody needs.`,
    };
  }
  if (health === 'metadata_read_only' && pool.metadataUsedBytes >= pool.metadataBytes) {
    return {
      ...{ code: 'VG_FULL', says: 'has no space left for metadata, and can only be read' },
      remedy: `Extend that (lvextend --poolmetadatasize +SIZE ${name}): it can be written to at once, and what waits goes on by itself.`,
    };
  }
  return {
    code: 'POOL_UNSUITABLE',
    says:
      health === 'needs_check'
        ? 'must be checked: its metadata could not be written, and until then it can only be read'
        : `is not in order: LVM says ${health}`,
    remedy: repairOf(pool),
  };
}

/** Metadata that LVM does not trust; it wants nobody to use the pool meanwhile. */
export function repairOf({ vg, lv }: Pick<ThinPool, 'vg' | 'lv'>): string {
  const name = `${vg}/${lv}`;
  return `Look for the disk's errors first (dmesg). Then, with its guests shut down and its volumes and itself inactive (lvchange -an): lvconvert --repair ${name}, and lvchange -ay ${name}. See man lvmthin, "Metadata check and repair".`;
}

/** The same, or that so much of it is in use that nothing more is made. */
export function poolTrouble(pool: ThinPool, limits: ThinLimits): PoolTrouble | undefined {
  const broken = brokenPool(pool);
  if (broken !== undefined) return broken;
  const full = useOfPool(pool, limits).find(({ usedPercent, stopPercent }) => usedPercent >= stopPercent);
  if (full === undefined) return undefined;
  const { what, usedPercent, stopPercent } = full;
  const option = what === 'data' ? '--size' : '--poolmetadatasize';
  return {
    code: 'VG_FULL',
    says: `is too full: ${usedPercent.toFixed(1)} % of its ${what} are in use, and from ${stopPercent} % on nothing is made`,
    remedy: `Extend it (lvextend ${option} +SIZE ${pool.vg}/${pool.lv}), or remove thin volumes that nobody needs (lvp image gc).`,
  };
}

/** How full it is, in percent as LVM says it, and where the limits are; of metadata that is small they come sooner. */
export function poolUse(
  usedPercents: { readonly data: number; readonly metadata: number },
  metadataBytes: number,
  { warnPercent, stopPercent }: Omit<ThinLimits, 'overcommit'>,
): readonly PoolUse[] {
  const metadataStop = Math.min(stopPercent, 100 - metadataFreePercent(metadataBytes));
  return [
    { what: 'data', usedPercent: usedPercents.data, warnPercent, stopPercent },
    {
      ...{ what: 'metadata', usedPercent: usedPercents.metadata, stopPercent: metadataStop },
      // As far before its end as with data.
      warnPercent: Math.round((warnPercent * metadataStop) / stopPercent),
    },
  ];
}

export function useOfPool(pool: ThinPool, limits: Omit<ThinLimits, 'overcommit'>): readonly PoolUse[] {
  const { sizeBytes, usedBytes, metadataBytes, metadataUsedBytes } = pool;
  const percents = {
    data: percentOf(usedBytes, sizeBytes),
    metadata: percentOf(metadataUsedBytes, metadataBytes),
  };
  return poolUse(percents, metadataBytes, limits);
}

function metadataFreePercent(metadataBytes: number): number {
  return Math.min(METADATA_FREE_MIN_PERCENT, percentOf(METADATA_FREE_MIN_BYTES, metadataBytes));
}

function percentOf(bytes: number, ofBytes: number): number {
  return ofBytes === 0 ? 0 : (100 * bytes) / ofBytes;
}
