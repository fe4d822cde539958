/**
 * `npm run scale`: what many domains cost. Each number of domains has a process of its own, so that its memory
 * is its own; the table is the one of docs/reliability.md.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { CrowdedHost, propertyReadsOf, xmlReadsOf } from './crowded-host.ts';

const SIZES = [250, 500, 1000, 2000];
const SAMPLE_MS = 5;
const TICK_MS = 1;

interface Measured {
  readonly domains: number;
  readonly annotated: number;
  /** With an empty ledger, as after its loss: everything is written down anew. */
  readonly first: Spent;
  readonly again: Spent;
  readonly list: Spent;
  readonly busCalls: number;
  /** Asked about the domain without annotation that was asked about most. */
  readonly plainCallsMax: number;
  readonly helperLists: number;
  readonly heapMiB: number;
}

interface Spent {
  readonly tookMs: number;
  /** Of a processor, which does not depend on what else the machine does. */
  readonly cpuMs: number;
  /** The longest time for which nothing else could be done, with the measure's own millisecond. */
  readonly blockedMs: number;
  /** The most processor time the thread had at a stretch: the rest was others', or the disk's. */
  readonly ownMs: number;
}

async function measure(size: number): Promise<Measured> {
  const host = await CrowdedHost.of(size);
  const heapBefore = process.memoryUsage().heapUsed;
  let heapPeak = 0;
  const sampler = setInterval(() => {
    heapPeak = Math.max(heapPeak, process.memoryUsage().heapUsed);
  }, SAMPLE_MS);
  const first = await spent(() => host.lookAtEverything());
  const { counts } = host;
  const plain = Array.from({ length: size }, (_, index) => index).filter((index) => index % 5 !== 0);
  const plainCallsMax = Math.max(
    ...plain.map((index) => counts.of(xmlReadsOf(index)) + counts.of(propertyReadsOf(index))),
  );
  const [busCalls, helperLists] = [counts.of('bus'), counts.of('helper list')];
  const again = await spent(() => host.lookAtEverything());
  const list = await spent(async () => {
    const begunMs = performance.now();
    const { length } = await host.verbs.domains();
    if (length !== host.annotated) throw new Error(`${length} of ${host.annotated} domains are listed`);
    return performance.now() - begunMs;
  });
  clearInterval(sampler);
  await host.close();
  return {
    ...{ domains: size, annotated: host.annotated, busCalls, plainCallsMax, helperLists },
    ...{ first, again, list },
    heapMiB: (heapPeak - heapBefore) / 2 ** 20,
  };
}

async function spent(work: () => Promise<number>): Promise<Spent> {
  const before = process.cpuUsage();
  let [blockedMs, ownMs] = [0, 0];
  let [tickedMs, cpuMs] = [performance.now(), threadCpuMs()];
  const ticker = setInterval(() => {
    blockedMs = Math.max(blockedMs, performance.now() - tickedMs);
    ownMs = Math.max(ownMs, threadCpuMs() - cpuMs);
    [tickedMs, cpuMs] = [performance.now(), threadCpuMs()];
  }, TICK_MS);
  const tookMs = await work();
  clearInterval(ticker);
  const { user, system } = process.cpuUsage(before);
  return { tookMs, cpuMs: (user + system) / 1000, blockedMs, ownMs };
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

function row(cells: readonly (string | number)[]): string {
  return `| ${cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(0) : cell)).join(' | ')} |`;
}

/** How long it took, how much of that was a processor's; how long nothing else was done at most, and its own part. */
function spentText({ tookMs, cpuMs, blockedMs, ownMs }: Spent): string {
  return [tookMs, cpuMs, blockedMs, ownMs].map((ms) => ms.toFixed(0)).join(' / ');
}

function printTable(all: readonly Measured[]): void {
  const lines: [string, (one: Measured) => number | string][] = [
    ['domains', ({ domains }) => domains],
    ['of them annotated', ({ annotated }) => annotated],
    ['first look at everything, ledger empty, ms', ({ first }) => spentText(first)],
    ['second look at everything, ms', ({ again }) => spentText(again)],
    ['`lvp list`, ms', ({ list }) => spentText(list)],
    ['calls on the bus at the first look', ({ busCalls }) => busCalls],
    ['calls about a domain without annotation', ({ plainCallsMax }) => plainCallsMax],
    ['readings of LVM at the first look', ({ helperLists }) => helperLists],
    ['heap above what was there before, MiB', ({ heapMiB }) => heapMiB],
  ];
  const [heading, ...rest] = lines.map(([name, cell]) => row([name, ...all.map(cell)]));
  process.stdout.write(`${[heading, row(['---', ...all.map(() => '--:')]), ...rest].join('\n')}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { size: { type: 'string' } } });
  if (values.size !== undefined) {
    process.stdout.write(JSON.stringify(await measure(Number(values.size))));
    return;
  }
  const all = SIZES.map((size) => {
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [import.meta.filename, '--size', String(size)],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as Measured;
  });
  printTable(all);
}

await main();
