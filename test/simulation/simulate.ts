/** `npm run simulate -- --seed N [--count M] [--trace] [--only 1,2,3]` */
import { parseArgs } from 'node:util';
import { shrink } from './shrink.ts';
import type { Outcome } from './simulation.ts';
import { simulate } from './simulation.ts';

const print = (text: string): boolean => process.stdout.write(`${text}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      count: { type: 'string', default: '1' },
      only: { type: 'string' },
      trace: { type: 'boolean', default: false },
      shrink: { type: 'boolean', default: true },
    },
    allowNegative: true,
  });
  const first = Number(values.seed);
  const count = Number(values.count);
  const only = values.only === undefined ? undefined : new Set(values.only.split(',').map(Number));
  const startedMs = performance.now();
  for (let seed = first; seed < first + count; seed++) {
    const outcome = await simulate(seed, { only });
    if (values.trace) print(outcome.trace.join('\n'));
    if (outcome.violation !== undefined) {
      if (!values.trace) await report(outcome, only, values.shrink);
      return 1;
    }
  }
  const seconds = (performance.now() - startedMs) / 1000;
  print(`${count} runs from seed ${first}, no promise broken; ${(count / seconds).toFixed(0)} runs a second`);
  return 0;
}

async function report(
  outcome: Outcome,
  only: ReadonlySet<number> | undefined,
  isShrunk: boolean,
): Promise<void> {
  const smallest = isShrunk ? await shrink(outcome, only) : { outcome, only };
  const kept = smallest.only === undefined ? '' : ` --only ${[...smallest.only].join(',')}`;
  print(smallest.outcome.trace.join('\n'));
  print(`\nBroken with seed ${outcome.seed}: ${smallest.outcome.violation?.message ?? ''}`);
  print(`To see it again: npm run simulate -- --seed ${outcome.seed}${kept} --trace`);
}

process.exitCode = await main();
