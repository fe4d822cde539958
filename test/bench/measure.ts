/** Runs the ways of one case in turn, so that whatever else the machine does meets all of them. */
import { KEYS } from './store.ts';
import { timed } from './shell.ts';
import type { Way } from './ways.ts';
import type { WriteReport } from './write-image.ts';

export interface Measured {
  readonly way: Way;
  readonly medianS: number;
  readonly minS: number;
  readonly maxS: number;
  /** Ours divided by this way, median over the rounds: each round compares neighbours in time. */
  readonly ratio: number;
  /** Of our own ways. */
  readonly own: OwnMeasured | undefined;
}

export interface OwnMeasured {
  readonly peakBytes: number;
  /** Medians. */
  readonly cpuS: number;
  readonly storeCpuS: number;
  readonly storeSentBytes: number;
  /** Of all fills of the counted rounds. */
  readonly from: ReadonlySet<string>;
}

interface Round {
  readonly seconds: number;
  readonly report: WriteReport | undefined;
}

/** The first way is ours; `before` is a command line to run, untimed, before each. */
export async function measure(ways: readonly Way[], rounds: number, before: string): Promise<Measured[]> {
  const runs = new Map<Way, Round[]>(ways.map((way) => [way, []]));
  // A first round that does not count fills the caches of all.
  for (let round = -1; round < rounds; round++) {
    for (const way of ways) {
      await timed(before);
      const run = await runOnce(way);
      process.stderr.write('.');
      if (round >= 0) runs.get(way)?.push(run);
    }
  }
  process.stderr.write('\n');
  const [first] = runs.values();
  return [...runs].map(([way, all]) => measured(way, all, first ?? []));
}

async function runOnce(way: Way): Promise<Round> {
  const { output, seconds } = await timed(way.line, KEYS);
  const report = way.isOurs ? (JSON.parse(output) as WriteReport) : undefined;
  return { seconds: report === undefined ? seconds : report.durationMs / 1000, report };
}

function measured(way: Way, rounds: readonly Round[], ours: readonly Round[]): Measured {
  const all = rounds.map(({ seconds }) => seconds);
  const reports = rounds.flatMap(({ report }) => report ?? []);
  return {
    way,
    medianS: median(all),
    minS: Math.min(...all),
    maxS: Math.max(...all),
    ratio: median(ours.map(({ seconds }, round) => seconds / (all[round] ?? Number.NaN))),
    own: way.isOurs ? ownMeasured(reports) : undefined,
  };
}

function ownMeasured(reports: readonly WriteReport[]): OwnMeasured {
  return {
    peakBytes: Math.max(...reports.map(({ peakBytes }) => peakBytes)),
    cpuS: median(reports.map(({ cpuS }) => cpuS)),
    storeCpuS: median(reports.map(({ storeCpuS }) => storeCpuS)),
    storeSentBytes: median(reports.map(({ storeSentBytes }) => storeSentBytes)),
    from: new Set(reports.flatMap(({ from }) => from)),
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle) - 1] ?? Number.NaN)) / 2;
}
