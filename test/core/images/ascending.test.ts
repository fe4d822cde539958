/** The order in which an image's bytes come by must be right for any image, also for one made to be slow. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ascendingOrder } from '../../../src/core/images/ascending.ts';
import { COMPRESSED_CLUSTERS_MAX, CompressedList } from '../../../src/core/images/compressed-list.ts';

/** Array.prototype.sort() is stable. */
const sorted = (places: readonly number[]) =>
  places.map((_, index) => index).sort((a, b) => (places[a] ?? 0) - (places[b] ?? 0));
const ordered = (places: readonly number[]) => [...ascendingOrder(Float64Array.from(places))];

/** At the edges of the sort's digits, and small enough that many are equal. */
const EDGES = [16, 32, 48].flatMap((bits) => [2 ** bits - 1, 2 ** bits, 2 ** bits + 1]);
const place = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(3),
  fc.nat(2 ** 20),
  fc.constantFrom(0, ...EDGES, Number.MAX_SAFE_INTEGER),
);

describe('the ascending order of places', () => {
  it.each<readonly [string, readonly number[]]>([
    ['none', []],
    ['one', [7]],
    ['ascending', [0, 1, 1, 2 ** 16, 2 ** 40, Number.MAX_SAFE_INTEGER]],
    ['descending', [Number.MAX_SAFE_INTEGER, 2 ** 48, 2 ** 32, 2 ** 16, 1, 0]],
    ['equal', [5, 5, 5]],
    ['equal in pairs', [2 ** 33, 3, 2 ** 33, 3]],
    ['not there, behind one that is', [2 ** 20, 0, 0]],
  ])('is that of a stable sort: %s', (_name, places) => {
    expect(ordered(places)).toEqual(sorted(places));
  });

  it('is that of a stable sort, whatever the places', () => {
    fc.assert(
      fc.property(fc.array(place, { maxLength: 200 }), (places) => {
        expect(ordered(places)).toEqual(sorted(places));
      }),
      { numRuns: 300, seed: 1 },
    );
  });
});

it('no more compressed clusters are listed than there is memory for', () => {
  const list = new CompressedList();
  for (let index = 0; index < COMPRESSED_CLUSTERS_MAX; index++) list.add(index, 0, 512);
  expect(() => {
    list.add(0, 77, 512);
  }).toThrow(expect.objectContaining({ code: 'IMAGE_TOO_LARGE' }));
  expect(list.count).toBe(COMPRESSED_CLUSTERS_MAX);
});
