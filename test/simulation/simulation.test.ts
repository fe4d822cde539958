/**
 * Goal: no order of events, faults and crashes breaks a promise of docs/reliability.md. Method: runs with the
 * seeds 1 to 2000, about a minute; `npm run simulate -- --count 10000` is the long one.
 */
import { describe, expect, it } from 'vitest';
import { simulate } from './simulation.ts';

const SEEDS = 2000;
const SEEDS_A_TEST = 200;
const firsts = Array.from({ length: SEEDS / SEEDS_A_TEST }, (_, index) => 1 + index * SEEDS_A_TEST);

describe('a host where everything goes wrong', () => {
  it.each(firsts)(
    `keeps every promise, in ${SEEDS_A_TEST} runs from seed %i`,
    { timeout: 600_000 },
    async (first) => {
      for (let seed = first; seed < first + SEEDS_A_TEST; seed++) {
        const { violation, trace } = await simulate(seed);
        expect(violation, [...trace, `npm run simulate -- --seed ${seed}`].join('\n')).toBeUndefined();
      }
    },
  );

  it('is the same with the same seed', { timeout: 300_000 }, async () => {
    for (const seed of [3, 33, 333]) {
      const { trace } = await simulate(seed);
      expect((await simulate(seed)).trace).toEqual(trace);
    }
  });
});
