import fc from 'fast-check';
import { expect, it } from 'vitest';
import { approximateDuration, formatDuration, parseDuration } from '../../src/core/duration.ts';

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

it('for people it is a rounded one, in two units at the most', () => {
  expect([0, 0.2, 59, 60, 185, 7_805, 172_799, 270_000].map(approximateDuration)).toEqual([
    ...['0 s', '1 s', '59 s', '1 min 0 s', '3 min 5 s', '2 h 10 min', '47 h 59 min', '3 d 3 h'],
  ]);
});
