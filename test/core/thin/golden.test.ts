/**
 * Goal: it is always the same golden volume that serves an image, it is one that nobody can have changed, and all others
 * for the same bytes are found useless. Method: volumes by their tags.
 */
import { describe, expect, it } from 'vitest';
import {
  goldenVolumes,
  servingGolden,
  unnamedGoldens,
  uselessGoldens,
} from '../../../src/core/thin/golden.ts';
import type { LogicalVolume } from '../../../src/core/volume/volume.ts';
import { goldenName, goldenTags } from '../../../src/core/volume/volume.ts';

const sha256 = 'a'.repeat(64);
const place = { vg: 'vg0', thinPool: 'pool0' };
const content = { sha256, format: 'raw' as const };

function golden(digit: string, fields: Partial<LogicalVolume> = {}, format = 'raw'): LogicalVolume {
  const fillId = digit.repeat(16);
  const seal = { fillId, image: 'images/a', sha256, format, sizeBytes: 1000, contentSha256: sha256 };
  return {
    ...{ vg: 'vg0', lv: goldenName(fillId), uuid: fillId, sizeBytes: 4096, active: false, open: false },
    ...{ segmentType: 'thin', thinPool: 'pool0', writable: false },
    tags: goldenTags({ ...seal, mappedBytes: 1000 }),
    ...fields,
  };
}

const serving = (...volumes: LogicalVolume[]) => servingGolden(goldenVolumes(volumes), place, content)?.lv;

describe('the golden volume that serves', () => {
  it('is the one of the smallest fill, in whichever order they are listed', () => {
    expect(serving(golden('2'), golden('1'))).toBe(goldenName('1'.repeat(16)));
    expect(serving(golden('1'), golden('2'))).toBe(goldenName('1'.repeat(16)));
  });

  it.each([
    ['of another pool', { thinPool: 'pool1' }],
    ['of another group', { vg: 'vg1' }],
    ['that can be written to', { writable: true }],
    ['that is open', { open: true }],
    ['that is too small', { sizeBytes: 999 }],
    ['that is not thin', { thinPool: undefined }],
    ['under a private name', { lv: 'lvp-fill-1111111111111111' }],
    ['under the name of a guest', { lv: 'vm1' }],
  ])('is none %s', (_, fields) => {
    expect(serving(golden('1', fields))).toBeUndefined();
  });

  it('holds the image read in the same way', () => {
    expect(serving(golden('1', {}, 'raw+zstd'))).toBeUndefined();
    const zipped = { ...content, compression: 'zstd' as const };
    expect(servingGolden(goldenVolumes([golden('1', {}, 'raw+zstd')]), place, zipped)).toBeDefined();
  });
});

describe('a golden volume that serves nobody', () => {
  const useless = (...volumes: LogicalVolume[]) =>
    uselessGoldens(goldenVolumes(volumes)).map(({ golden: { lv }, why }) => `${lv.slice(-1)} ${why}`);

  it('is the second one for the same bytes, or one that somebody has been at', () => {
    expect(useless(golden('2'), golden('1'))).toEqual(['2 another one holds the same']);
    expect(useless(golden('1', { writable: true }), golden('2'))).toEqual(['1 it can be written to']);
    expect(useless(golden('1'), golden('2', { thinPool: 'pool1' }), golden('3', {}, 'qcow2'))).toEqual([]);
  });
});

describe('a golden volume without its final name', () => {
  it('is found, and is none that serves', () => {
    const unnamed = golden('1', { lv: 'lvp-fill-1111111111111111' });
    expect(unnamedGoldens([unnamed, golden('2')]).map(({ volume }) => volume)).toEqual([unnamed]);
  });
});
