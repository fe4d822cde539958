/** `npm run simulate -- --seed N [--count M] [--trace] [--only 1,2,3] [--census | --where]` */
import { parseArgs } from 'node:util';
import type { Census } from './census.ts';
import { runSeeds, SEEDS } from './seeds.ts';
import { shrink } from './shrink.ts';
import type { Outcome } from './simulation.ts';
import { simulate } from './simulation.ts';

const print = (text: string): boolean => process.stdout.write(`${text}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      from: { type: 'string', default: '1' },
      count: { type: 'string' },
      only: { type: 'string' },
      trace: { type: 'boolean', default: false },
      shrink: { type: 'boolean', default: true },
      threads: { type: 'string' },
      census: { type: 'boolean', default: false },
      where: { type: 'boolean', default: false },
    },
    allowNegative: true,
  });
  const only = values.only === undefined ? undefined : new Set(values.only.split(',').map(Number));
  if (values.seed !== undefined && values.count === undefined) {
    return one(Number(values.seed), only, values);
  }
  const from = Number(values.seed ?? values.from);
  const count = Number(values.count ?? SEEDS);
  const startedMs = performance.now();
  const { broken, census } = await runSeeds(from, count, {
    threads: values.threads === undefined ? undefined : Number(values.threads),
    isWhere: values.where,
  });
  if (broken !== undefined) return one(broken, undefined, values);
  if (values.census) for (const [name, times] of census.entries()) print(`${`${times}`.padStart(9)} ${name}`);
  if (values.where) printCrashes(census);
  const seconds = (performance.now() - startedMs) / 1000;
  print(`${count} runs from seed ${from}, no promise broken; ${(count / seconds).toFixed(0)} runs a second`);
  return 0;
}

async function one(
  seed: number,
  only: ReadonlySet<number> | undefined,
  options: { readonly trace: boolean; readonly shrink: boolean; readonly census: boolean },
): Promise<number> {
  const outcome = await simulate(seed, { only });
  if (options.trace) print(outcome.trace.join('\n'));
  if (options.census) for (const [name, times] of outcome.census.entries()) print(`${times} ${name}`);
  if (outcome.violation === undefined) {
    print(`seed ${seed}: no promise broken`);
    return 0;
  }
  await report(outcome, only, options.shrink);
  return 1;
}

/** Every await that was passed, and how often somebody died there; the rarest first. */
function printCrashes(census: Census): void {
  const crashes = census.entries('crash');
  const rows = census.entries('await').map(([place, passed]) => {
    const times = (by: string): number => crashes.find(([name]) => name === `${by}, ${place}`)?.[1] ?? 0;
    return { place, passed, killed: times('kill'), cut: times('power cut') };
  });
  rows.sort((a, b) => a.killed + a.cut - b.killed - b.cut);
  print(`${'passed'.padStart(9)} ${'killed'.padStart(9)} ${'power cut'.padStart(9)}`);
  for (const { place, passed, killed, cut } of rows) {
    print(`${`${passed}`.padStart(9)} ${`${killed}`.padStart(9)} ${`${cut}`.padStart(9)} ${place}`);
  }
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
