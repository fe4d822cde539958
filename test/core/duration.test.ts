import fc from 'fast-check';
import { expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../src/core/duration.ts';

it('a duration is written in the largest unit that fits, and read back', () => {
  expect([0, 1, 1_500, 90_000, 3_600_000, 21_600_000].map(formatDuration)).toEqual([
    ...['0ms', '1ms', '1500ms', '90s', '1h', '6h'],
  ]);
  fc.assert(
    fc.property(fc.nat(999_999_999), (ms) => {
      expect(parseDuration(formatDuration(ms))).toBe(ms);
    }),
  );
});

it.each(['', '5', 's', '-1s', '1.5s', '1 s', '1d', '1S', '1234567890s'])('%j is none', (text) => {
  expect(parseDuration(text)).toBeUndefined();
});
