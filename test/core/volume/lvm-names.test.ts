import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isLvName,
  isVgName,
  lvNameMistake,
  mapperName,
  splitMapperName,
  targetNameMistake,
  vgNameMistake,
} from '../../../src/core/volume/lvm-names.ts';
import { privateName } from '../../../src/core/volume/volume.ts';

describe('names of volume groups and volumes', () => {
  it.each(['vg0', 'a', 'web1-root', '_x', '.hidden', '+a', 'A.b_c-d+e', 'x'.repeat(127), 'my-snapshot'])(
    'may be %s',
    (name) => {
      expect(isVgName(name)).toBe(true);
      expect(isLvName(name)).toBe(true);
    },
  );

  it.each([
    ['', 'is empty'],
    ['-a', 'begins with a hyphen'],
    ['--force', 'begins with a hyphen'],
    ['.', 'is a dot or two'],
    ['..', 'is a dot or two'],
    ['a b', 'has characters other than'],
    ['a/b', 'has characters other than'],
    ['a\n', 'has characters other than'],
    ['a;b', 'has characters other than'],
    ['é', 'has characters other than'],
    ['x'.repeat(128), 'is longer than 127'],
  ])('may not be %j', (name, says) => {
    expect(vgNameMistake(name)).toContain(says);
    expect(lvNameMistake(name)).toContain(says);
  });

  it.each([
    ['snapshot', 'begins with "snapshot"'],
    ['snapshot0', 'begins with "snapshot"'],
    ['pvmove0', 'begins with "pvmove"'],
    ['a_rimage_0', 'has "_rimage" in it'],
    ['pool_tdata', 'has "_tdata" in it'],
    ['x_mlog', 'has "_mlog" in it'],
  ])('may be %s for a volume group only', (name, says) => {
    expect(isVgName(name)).toBe(true);
    expect(lvNameMistake(name)).toContain(says);
  });
});

describe('the name of a volume to be provisioned', () => {
  it.each([
    ['lvp-fill-0123456789abcdef', 'begins with "lvp-"'],
    ['lvp-x', 'begins with "lvp-"'],
    ['x'.repeat(118), 'is longer than 117 characters'],
    ['-'.repeat(3), 'begins with a hyphen'],
    [`a${'-'.repeat(70)}`, 'is too long for /dev/mapper together with the volume group "vg-0"'],
  ])('may not be %s', (lv, says) => {
    expect(targetNameMistake('vg-0', lv)).toContain(says);
  });

  it('may have 117 characters', () => {
    expect(targetNameMistake('vg0', 'x'.repeat(117))).toBeUndefined();
  });

  it('leaves private names legal for LVM', () => {
    expect(isLvName(privateName('0123456789abcdef'))).toBe(true);
  });
});

describe('names in /dev/mapper', () => {
  it.each([
    ['vg0', 'lv0', 'vg0-lv0'],
    ['my-vg', 'my-lv', 'my--vg-my--lv'],
    ['a-', 'b', 'a---b'],
    ['a', 'b-', 'a-b--'],
  ])('%s and %s make %s', (vg, lv, name) => {
    expect(mapperName(vg, lv)).toBe(name);
    expect(splitMapperName(name)).toEqual({ vg, lv });
  });

  it.each(['', 'vg0', 'vg0-', '-lv0', 'vg0-lv0-cow', 'my--vg', 'control', 'a-b-c'])(
    '%j is that of no volume',
    (name) => {
      expect(splitMapperName(name)).toBeUndefined();
    },
  );

  it('can be taken apart again whatever the names', () => {
    const legal = fc.string({ unit: fc.constantFrom('a', '-', '.', 'Z', '0', '_', '+'), minLength: 1 });
    fc.assert(
      fc.property(legal.filter(isVgName), legal.filter(isLvName), (vg, lv) => {
        expect(splitMapperName(mapperName(vg, lv))).toEqual({ vg, lv });
      }),
    );
  });
});
