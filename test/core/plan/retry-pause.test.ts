/** Goal: pauses grow, have an end, never become endless, and are not the same for all. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RETRY_MAX_MS, retryPauseMs } from '../../../src/core/plan/retry-pause.ts';

describe('retryPauseMs', () => {
  it('doubles from 5 s up to 10 minutes', () => {
    expect([1, 2, 3, 7, 8, 9, 1000].map((attempts) => retryPauseMs(attempts, 0) / 1000)).toEqual([
      5, 10, 20, 320, 600, 600, 600,
    ]);
  });

  it('leaves up to a quarter to chance, and is never longer for it', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 10_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempts, chance) => {
          const [longest, pause] = [retryPauseMs(attempts, 0), retryPauseMs(attempts, chance)];
          expect(pause).toBeLessThanOrEqual(Math.min(longest, RETRY_MAX_MS));
          expect(pause).toBeGreaterThanOrEqual(0.75 * longest);
        },
      ),
    );
    expect(retryPauseMs(1, 0.5)).not.toBe(retryPauseMs(1, 0));
  });
});
