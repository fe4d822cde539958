/**
 * Goal: whatever keeps volumes from being made in a thin pool is named together with what helps. Method: pools as LVM
 * shows them.
 */
import { describe, expect, it } from 'vitest';
import { poolTrouble, poolUse } from '../../../src/core/thin/pool-trouble.ts';
import { THIN_LIMITS } from '../../../src/core/thin/thin-headroom.ts';
import type { ThinPool } from '../../../src/core/volume/volume.ts';

const MIB = 1 << 20;
const pool: ThinPool = {
  ...{ vg: 'vg0', lv: 'pool0', sizeBytes: 1000, usedBytes: 10, chunkBytes: 1, zeroes: true, active: true },
  ...{ metadataBytes: 4 * MIB, metadataUsedBytes: MIB },
};
const trouble = (fields: Partial<ThinPool>) => poolTrouble({ ...pool, ...fields }, THIN_LIMITS);

describe('a thin pool', () => {
  it('that is well and has room is in no trouble', () => {
    expect(trouble({})).toBeUndefined();
    expect(trouble({ usedBytes: 949, metadataUsedBytes: 2.99 * MIB })).toBeUndefined();
  });

  const cases: Record<string, [Partial<ThinPool>, string, RegExp]> = {
    'without space for data': [{ health: 'out_of_data' }, 'VG_FULL', /lvextend --size \+SIZE vg0\/pool0/],
    'without space for metadata': [
      { health: 'metadata_read_only', metadataUsedBytes: 4 * MIB },
      'VG_FULL',
      /lvextend --poolmetadatasize \+SIZE vg0\/pool0/,
    ],
    'whose metadata can only be read for another reason': [
      { health: 'metadata_read_only' },
      'POOL_UNSUITABLE',
      /lvconvert --repair vg0\/pool0/,
    ],
    'that must be checked, though it is full as well': [
      { health: 'needs_check', metadataUsedBytes: 4 * MIB },
      'POOL_UNSUITABLE',
      /lvconvert --repair vg0\/pool0/,
    ],
    'that has failed': [{ health: 'failed' }, 'POOL_UNSUITABLE', /dmesg/],
    'with little space for data': [{ usedBytes: 950 }, 'VG_FULL', /lvextend --size/],
    'with little space for metadata': [
      { metadataUsedBytes: 3 * MIB },
      'VG_FULL',
      /lvextend --poolmetadatasize/,
    ],
  };
  it.each(Object.entries(cases))('%s says so, and what helps', (_, [fields, code, remedy]) => {
    expect(trouble(fields)).toMatchObject({ code, remedy: expect.stringMatching(remedy) as string });
  });
});

it.each([
  [2, 75, 63],
  [16, 75, 63],
  [40, 90, 76],
  [80, 95, 80],
  [16_000, 95, 80],
])(
  'metadata of %i MiB are full from %i % on, and warned of from %i %',
  (metadataMiB, stopPercent, warnPercent) => {
    const [data, metadata] = poolUse({ data: 1, metadata: 2 }, metadataMiB * MIB, THIN_LIMITS);
    expect(data).toEqual({ what: 'data', usedPercent: 1, warnPercent: 80, stopPercent: 95 });
    expect(metadata).toEqual({ what: 'metadata', usedPercent: 2, warnPercent, stopPercent });
  },
);
