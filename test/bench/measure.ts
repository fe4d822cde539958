/** Runs the ways of one case in turn, so that whatever else the machine does meets all of them. */
import { OURS } from './cases.ts';
import type { Way } from './cases.ts';
import { KEYS } from './store.ts';
import { timed } from './shell.ts';
import type { WriteReport } from './write-image.ts';

export interface Measured {
  readonly way: Way;
  readonly medianS: number;
  readonly minS: number;
  readonly maxS: number;
  /** Ours divided by this way, median over the rounds: each round compares neighbours in time. */
  readonly ratio: number;
  readonly peakBytes: number | undefined;
}

export async function measure(ways: readonly Way[], rounds: number): Promise<Measured[]> {
  const seconds = new Map<Way, number[]>(ways.map((way) => [way, []]));
  const peaks: number[] = [];
  // A first round that does not count fills the caches of all.
  for (let round = -1; round < rounds; round++) {
    for (const way of ways) {
      const { output, seconds: fromOutside } = await timed(way.line, KEYS);
      const report = way.isOurs ? (JSON.parse(output) as WriteReport) : undefined;
      process.stderr.write('.');
      if (round < 0) continue;
      seconds.get(way)?.push(report === undefined ? fromOutside : report.durationMs / 1000);
      if (report !== undefined && way.name === OURS) peaks.push(report.peakBytes);
    }
  }
  process.stderr.write('\n');
  const oursS = seconds.get(ways.find(({ name }) => name === OURS) ?? ways[0] ?? never()) ?? [];
  return ways.map((way) => {
    const all = seconds.get(way) ?? [];
    return {
      way,
      medianS: median(all),
      minS: Math.min(...all),
      maxS: Math.max(...all),
      ratio: median(oursS.map((s, round) => s / (all[round] ?? Number.NaN))),
      peakBytes: way.name === OURS ? Math.max(...peaks) : undefined,
    };
  });
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle) - 1] ?? Number.NaN)) / 2;
}

function never(): never {
  throw new Error('nothing to measure');
}
