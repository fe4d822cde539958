/** `npm run fuzz -- --seed N --count M [--from K]`: as long and as often as wanted. */
import { parseArgs } from 'node:util';
import { fuzzQcow2 } from './fuzz-qcow2.ts';

const { values } = parseArgs({
  options: { seed: { type: 'string' }, count: { type: 'string' }, from: { type: 'string' } },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const count = Number(values.count ?? 100_000);
const startMs = performance.now();
const { slowestMs, ...verdicts } = await fuzzQcow2({ seed, count, from: Number(values.from ?? 0) });
const seconds = (performance.now() - startMs) / 1000;
process.stdout.write(
  `${count} images, seed ${seed}: ${JSON.stringify(verdicts)}, ${seconds.toFixed(1)} s, ` +
    `slowest ${slowestMs.toFixed(0)} ms, ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB at most\n`,
);
