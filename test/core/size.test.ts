import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatSize, parseSize } from '../../src/core/size.ts';

describe('parseSize', () => {
  it.each([
    ['512', 512],
    ['512B', 512],
    ['1K', 1024],
    ['1KiB', 1024],
    ['3M', 3 * 2 ** 20],
    ['3MiB', 3 * 2 ** 20],
    ['20G', 20 * 2 ** 30],
    ['20GiB', 20 * 2 ** 30],
    ['64T', 2 ** 46],
    ['64TiB', 2 ** 46],
  ])('%s', (text, sizeBytes) => {
    expect(parseSize(text)).toBe(sizeBytes);
  });

  it.each([
    '',
    '0',
    '0GiB',
    '007',
    '+1G',
    '-1',
    '1.5G',
    '1e9',
    '0x10',
    '20 GiB',
    ' 1G',
    '1G\n',
    '20GB',
    '20gib',
  ])('refuses %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  it.each(['8192TiB', '9007199254740992', '9999999999999999T', '9'.repeat(400)])(
    'refuses %s, which a number cannot hold exactly',
    (text) => {
      expect(parseSize(text)).toBeUndefined();
    },
  );
});

describe('formatSize', () => {
  it.each([
    [0, '0B'],
    [513, '513B'],
    [1024, '1KiB'],
    [1536, '1536B'],
    [20 * 2 ** 30, '20GiB'],
    [1.5 * 2 ** 30, '1536MiB'],
  ])('%d', (sizeBytes, text) => {
    expect(formatSize(sizeBytes)).toBe(text);
  });

  it('is read back exactly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (sizeBytes) => {
        expect(parseSize(formatSize(sizeBytes))).toBe(sizeBytes);
      }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 23 - 1 }),
        fc.constantFrom(1, 10, 20, 30),
        (count, power) => {
          expect(parseSize(formatSize(count * 2 ** power))).toBe(count * 2 ** power);
        },
      ),
    );
  });
});
