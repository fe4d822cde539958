/**
 * Goal: a thin pool promises no more than it can hold, whatever its volumes hold now. Method: pools and volumes in
 * numbers.
 */
import { describe, expect, it } from 'vitest';
import type { ThinReservation } from '../../../src/core/thin/thin-headroom.ts';
import {
  describeThinHeadroom,
  promisedBytes,
  THIN_LIMITS,
  thinHeadroomOf,
} from '../../../src/core/thin/thin-headroom.ts';
import type { LogicalVolume, ThinPool } from '../../../src/core/volume/volume.ts';
import { fillTags, goldenName, goldenTags } from '../../../src/core/volume/volume.ts';

const CHUNK = 64 * 1024;
const pool: ThinPool = {
  ...{ vg: 'vg0', lv: 'pool0', sizeBytes: 100 * CHUNK, usedBytes: 0, chunkBytes: CHUNK },
  ...{ metadataBytes: 1000 * 64, metadataUsedBytes: 0, zeroes: true, active: true },
};

function thin(lv: string, chunks: number, fields: Partial<LogicalVolume> = {}): LogicalVolume {
  return {
    ...{ vg: 'vg0', lv, uuid: lv, sizeBytes: chunks * CHUNK, tags: [], active: true, open: false },
    ...{ segmentType: 'thin', writable: true, thinPool: 'pool0' },
    ...fields,
  };
}

const golden = (mappedChunks: number, writable = false) => {
  const fillId = '00000000000000aa';
  return thin(goldenName(fillId), 50, {
    writable,
    tags: goldenTags({
      ...{ fillId, image: 'images/a', sha256: 'a'.repeat(64), format: 'raw', sizeBytes: 50 * CHUNK },
      ...{ contentSha256: 'b'.repeat(64), mappedBytes: mappedChunks * CHUNK },
    }),
  });
};

const fits = (volumes: readonly LogicalVolume[], chunks: number, reserved: readonly ThinReservation[] = []) =>
  thinHeadroomOf(pool, volumes, THIN_LIMITS, reserved, { sizeBytes: chunks * CHUNK }).fits;

describe('room in a thin pool', () => {
  it.each([
    ['an empty pool, to its last chunk', [], 100, true],
    ['an empty pool, and a chunk more', [], 101, false],
    ['what others may grow to, whoever made them', [thin('a', 40), thin('theirs', 10)], 50, true],
    ['the same, and a chunk more', [thin('a', 40), thin('theirs', 10)], 51, false],
    ['a golden volume, which counts with what it holds', [golden(10)], 90, true],
    ['the same, and a chunk more', [golden(10)], 91, false],
    ['a golden volume that can be written to again', [golden(10, true)], 51, false],
    [
      'volumes of other pools and groups',
      [thin('a', 99, { thinPool: 'pool1' }), thin('b', 99, { vg: 'vg1' })],
      100,
      true,
    ],
  ] as const)('counts %s', (_, volumes, chunks, expected) => {
    expect(fits(volumes, chunks)).toBe(expected);
  });

  it('does not count a clone of a golden volume that is only read', () => {
    const mark = { fillId: '00000000000000bb', target: 'lvp-gold-00000000000000bb', domainUuid: 'golden' };
    const check = thin('lvp-fill-00000000000000bb', 50, {
      tags: fillTags(mark),
      origin: 'lvp-gold-00000000000000aa',
    });
    expect(fits([check], 100)).toBe(true);
    expect(fits([{ ...check, origin: undefined }], 51)).toBe(false);
    expect(promisedBytes(pool, [check, thin('a', 3)])).toBe(3 * CHUNK);
  });

  it('counts what is being made with its final size, and once', () => {
    const half = thin('lvp-fill-1', 10);
    expect(fits([half], 60, [{ lv: 'lvp-fill-1', sizeBytes: 40 * CHUNK }])).toBe(true);
    expect(fits([half], 61, [{ lv: 'lvp-fill-1', sizeBytes: 40 * CHUNK }])).toBe(false);
    expect(fits([], 60, [{ sizeBytes: 40 * CHUNK - 1 }])).toBe(true);
    expect(
      thinHeadroomOf(pool, [half], THIN_LIMITS, [], { lv: 'lvp-fill-1', sizeBytes: 100 * CHUNK }).fits,
    ).toBe(true);
  });

  it('may be promised more than once', () => {
    const limits = { ...THIN_LIMITS, overcommit: 1.5 };
    const wanted = (chunks: number) =>
      thinHeadroomOf(pool, [thin('a', 100)], limits, [], { sizeBytes: chunks * CHUNK });
    expect(wanted(50).fits).toBe(true);
    expect(wanted(51).fits).toBe(false);
  });

  it('is also room in its metadata', () => {
    const small = { ...pool, metadataBytes: 50 * 64 };
    const headroom = thinHeadroomOf(small, [], THIN_LIMITS, [], { sizeBytes: 51 * CHUNK });
    expect(headroom.fits).toBe(false);
    expect(describeThinHeadroom(headroom)).toContain('of its metadata 3264 bytes');
  });

  it.each([
    ['data', { usedBytes: 95 * CHUNK }, /95 %/],
    ['metadata', { metadataUsedBytes: 750 * 64 }, /metadata.*75 %/],
    ['health', { health: 'out_of_data' }, /no space left for data/],
  ])('is none when its %s say stop', (_, fields, why) => {
    const headroom = thinHeadroomOf({ ...pool, ...fields }, [], THIN_LIMITS, [], { sizeBytes: 1 });
    expect(headroom.fits).toBe(false);
    expect(describeThinHeadroom(headroom)).toMatch(why);
  });
});
