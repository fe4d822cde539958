/**
 * Goal: what is beyond the budget of a pool goes, the least recently used first, and never what is kept or was used
 * last. Method: golden volumes of 10 bytes each, by the times of their last use.
 */
import { describe, expect, it } from 'vitest';
import { goldenMaxBytes, goldensBeyond } from '../../../src/core/thin/golden-budget.ts';
import type { GoldenVolume } from '../../../src/core/thin/golden.ts';

function golden(name: string, { thinPool = 'pool0', mappedBytes = 10 } = {}): GoldenVolume {
  const seal = { mappedBytes } as GoldenVolume['seal'];
  return { vg: 'vg0', lv: name, uuid: name, thinPool, seal };
}

/** Used in the order in which they stand there; `kept` by their names. */
function beyond(budgetBytes: number | undefined, there: readonly GoldenVolume[], kept = ''): string {
  const uses = new Map(there.map(({ lv }, at) => [lv, at]));
  const gone = goldensBeyond(
    [...there].reverse(),
    ({ thinPool }) => (thinPool === 'other' ? undefined : budgetBytes),
    {
      usedAtMs: ({ lv }) => uses.get(lv) ?? NaN,
      isKept: ({ lv }) => kept.includes(lv),
    },
  );
  return gone.map(({ lv }) => lv).join('');
}

const abc = ['a', 'b', 'c'].map((name) => golden(name));

describe('of golden volumes beyond the budget of their pool', () => {
  it('go those that were not used for longest, until the others fit', () => {
    expect(beyond(30, abc)).toBe('');
    expect(beyond(29, abc)).toBe('a');
    expect(beyond(10, abc)).toBe('ab');
  });

  it('stays what is kept, and the others make up for it', () => {
    expect(beyond(20, abc, 'a')).toBe('b');
    expect(beyond(1, abc, 'ab')).toBe('');
  });

  it('stays the one that was used last, however large it is', () => {
    expect(beyond(5, [golden('a'), golden('b', { mappedBytes: 1000 })])).toBe('a');
  });

  it('each pool has its own, and one that is not configured keeps all', () => {
    const there = [
      golden('a'),
      golden('b', { thinPool: 'pool1' }),
      golden('c'),
      golden('d', { thinPool: 'other' }),
    ];
    expect(beyond(10, [...there, golden('e', { thinPool: 'other' })])).toBe('a');
  });

  it('the budget is a size, or a part of the pool', () => {
    expect(goldenMaxBytes({ sizeBytes: 1000 }, { percent: 25 })).toBe(250);
    expect(goldenMaxBytes({ sizeBytes: 1000 }, { bytes: 4000 })).toBe(4000);
  });
});
