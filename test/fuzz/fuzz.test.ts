/**
 * Goal: no image, however spoiled, crashes the reader, hangs it, has it read outside the object or write
 * outside the volume, or makes it need much memory. Method: a million small images from a stated seed.
 */
import { expect, it } from 'vitest';
import { fuzzQcow2 } from './fuzz-qcow2.ts';

const SEED = 20_261_122;
const COUNT = 1_000_000;
const RSS_GROWTH_MAX_KIB = 256 * 1024;

it(`${COUNT} spoiled qcow2 images of seed ${SEED}`, { timeout: 1_200_000 }, async () => {
  const beforeKib = process.resourceUsage().maxRSS;
  const { slowestMs, ...verdicts } = await fuzzQcow2({ seed: SEED, count: COUNT });
  // Neither everything nor nothing: else the changes would show nothing.
  expect(verdicts.accepted).toBeGreaterThan(COUNT / 20);
  expect(verdicts.refused).toBeGreaterThan(COUNT / 4);
  expect(verdicts['refused while decoding']).toBeGreaterThan(COUNT / 1000);
  expect(slowestMs).toBeLessThan(5_000);
  expect(process.resourceUsage().maxRSS - beforeKib).toBeLessThan(RSS_GROWTH_MAX_KIB);
});
