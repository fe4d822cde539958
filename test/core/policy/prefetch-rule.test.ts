/** Goal: of what a bucket lists, exactly that is chosen which the rules mean. Method: lists made by hand. */
import { describe, expect, it } from 'vitest';
import type { ListedObject, PrefetchRule } from '../../../src/core/policy/prefetch-rule.ts';
import { bucketOf, chooseImages, keyPrefixOf } from '../../../src/core/policy/prefetch-rule.ts';

const RULE: PrefetchRule = {
  ...{ images: 'images/*', format: 'raw', toCache: true, toGroups: [], pin: false },
  ...{ countMax: 10, sizeMaxBytes: Infinity },
};

function listed(key: string, modifiedAtMs = 0, sizeBytes = 10): ListedObject {
  return { key, sizeBytes, etag: `of ${key}`, modifiedAtMs };
}

const names = (objects: readonly ListedObject[], rule = RULE, rules = [rule], roomBytes = Infinity) =>
  chooseImages(rules, rule, objects, roomBytes).chosen.map(({ name }) => name);

describe('a rule', () => {
  it.each([
    ['images/debian-*.qcow2', 'images', 'debian-'],
    ['images/a/b?.raw', 'images', 'a/b'],
    ['images/one.raw', 'images', 'one.raw'],
    ['images/*', 'images', ''],
  ])('%s lists the bucket %s from "%s" on', (images, bucket, prefix) => {
    expect([bucketOf({ images }), keyPrefixOf({ images })]).toEqual([bucket, prefix]);
  });

  it('chooses images, and not what proves them, nor what no annotation could name', () => {
    const odd = [
      'a.raw.sha256',
      'a.raw.sha512',
      'a.raw.minisig',
      'x/SHA256SUMS',
      'a//b',
      '../a',
      'a\u0007',
      '/a',
      'd/',
    ];
    expect(names([...odd, 'a.raw', 'x/b'].map((key) => listed(key)))).toEqual(['images/a.raw', 'images/x/b']);
  });

  it('takes the newest, as many and as large as it may', () => {
    const objects = [listed('old', 1), listed('new', 3), listed('mid', 2), listed('huge', 9, 1_000)];
    const rule = { ...RULE, countMax: 2, sizeMaxBytes: 100 };
    expect(names(objects, rule)).toEqual(['images/new', 'images/mid']);
    expect(chooseImages([rule], rule, objects, Infinity).beyond).toBe(2);
    expect(names(objects, RULE, [RULE], 15)).toEqual(['images/new']);
  });

  it('leaves to an earlier one what fits that', () => {
    const first = { ...RULE, images: 'images/prod/*' };
    const objects = [listed('prod/a'), listed('b')];
    expect(names(objects, RULE, [first, RULE])).toEqual(['images/b']);
    expect(names(objects, first, [first, RULE])).toEqual(['images/prod/a']);
  });

  it('sees that an image is another one when its proof is', () => {
    const stateOf = (...objects: ListedObject[]) =>
      chooseImages([RULE], RULE, objects, Infinity).chosen[0]?.state;
    const before = stateOf(listed('a'));
    expect(stateOf(listed('a'))).toBe(before);
    for (const proof of ['a.sha256', 'a.sha512', 'SHA256SUMS', 'a.minisig']) {
      expect(stateOf(listed('a'), listed(proof))).not.toBe(before);
    }
    expect(stateOf({ ...listed('a'), etag: 'other' })).not.toBe(before);
  });
});
