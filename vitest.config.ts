import { configDefaults, defineConfig } from 'vitest/config';

/** Takes its time, and longer if asked: `npm run storm`. */
const STORM = 'test/host/storm.test.ts';
/** A busy machine is no failure, and a host boots in half a minute on a good day. */
const ON_A_HOST = { testTimeout: 300_000, hookTimeout: 900_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'test/{core,provision,adapters,cli,helper,doctor,docs,replay,packaging}/**/*.test.ts',
            'test/simulation/mutations/*.test.ts',
          ],
          // Far beyond a good day: a busy machine is no failure.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 2 },
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'fuzz',
          include: ['test/fuzz/**/*.test.ts'],
          sequence: { groupOrder: 2 },
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'simulation',
          include: ['test/simulation/*.test.ts'],
          // It takes all processors by itself: before the others.
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'host',
          include: ['test/host/**/*.test.ts'],
          exclude: [...configDefaults.exclude, STORM],
          // Each file boots a host of its own; with three of them on two cores, none ends sooner.
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
          ...ON_A_HOST,
        },
      },
      { test: { name: 'storm', include: [STORM], sequence: { groupOrder: 4 }, ...ON_A_HOST } },
    ],
  },
});
