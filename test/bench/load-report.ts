/** The part of docs/performance.md about the HTTP API under load. */
import { cpus, loadavg, release, totalmem } from 'node:os';
import type { BenchImage } from './images.ts';
import type { Seen } from './load-clients.ts';
import type { BadTokens, Durations, FillsUnderLoad, ManyJobs, Soak } from './load-measure.ts';
import { BAD_CLIENTS, CLIENTS, LIST_CLIENTS, LIST_RATE, RATE } from './load-measure.ts';
import { ENDED_JOBS, REQUESTS_PER_SECOND_MAX, TOKENS } from './load-stage.ts';

export interface LoadResult {
  readonly command: string;
  /** What else the machine did: its load before the first measure. */
  readonly loadBefore: number;
  readonly durations: Durations;
  readonly speed: Seen & { readonly cpuS: number };
  readonly jobs: ManyJobs;
  readonly tokens: BadTokens;
  readonly linked: FillsUnderLoad;
  readonly unlinked: FillsUnderLoad;
  readonly soaked: Soak;
  readonly image: BenchImage | undefined;
}

const GOALS = { perSecond: 1_000, statusMs: 50, slower: 1.05, manyJobsMs: 20, grown: 1.05 };

export function loadText(result: LoadResult): string {
  const { command, durations, linked, unlinked, soaked, image, speed } = result;
  const [cpu] = cpus();
  const machine = [
    `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${mib(totalmem())}, Linux ${release()}`,
    `Node ${process.version}, load ${result.loadBefore.toFixed(1)} before the first measure and ${loadavg()[0]?.toFixed(1) ?? ''} after the last`,
  ].join(', ');
  return `## The HTTP API under load

Measured ${new Date().toISOString().slice(0, 10)} with \`${command}\`, on: ${machine}. **Server, fills, store and clients
share these ${cpus().length} processors.**

The process that answers is put together as the daemon is: TLS, tokens, rate limits, audit trail, metrics, ledger in
SQLite, planner, jobs and fills are the real ones, from a real MinIO to loop devices; LVM is a model behind the helper's
protocol, and no libvirt is asked. It runs in a network namespace whose way to the store has 1 Gbit/s, where nothing else is said; the
clients (autocannon) are with it, on its loopback. ${ENDED_JOBS} jobs that have ended are in the ledger. Status is asked for in the Go provisioner's
words and in ours (\`/api/v1/status/ID\`, \`/api/v1/jobs/ID\`), of the jobs that run and of one that has ended long ago. ${CLIENTS} clients with
${TOKENS} tokens are held to ${RATE} requests a second in all, in sixteen groups of which one after the other has its turn in each second. Latencies
count from when a request should have been sent.

| what                                                                           | goal | measured | |
| --- | --- | --- | --- |
${rowsOf(result)
  .map((cells) => `| ${cells.join(' | ')} |`)
  .join('\n')}

- Two fills of ${mib(image?.sizeBytes ?? 0)} each over the link: ${seconds(linked.aloneS)} alone, ${seconds(linked.loadedS)} under load
  (medians of ${durations.rounds}; the ratio is the median of the ratios of neighbours). As fast as they can: ${seconds(unlinked.aloneS)} and
  ${seconds(unlinked.loadedS)}, ${unlinked.ratio.toFixed(2)} ×: there the clients take processors that the fills would use up alone.
- The longest standstill of the server's thread meanwhile: ${linked.stillMs.toFixed(0)} ms over the link, ${unlinked.stillMs.toFixed(0)} ms as fast as they can.
- Without fills and without a limit: ${speed.perSecond.toFixed(0)} requests a second, p99 ${speed.p99} ms, with ${speed.cpuS.toFixed(2)} of a processor for the server;
  of ${speed.answers.good + speed.answers.refused} the limit of ${REQUESTS_PER_SECOND_MAX} a second and identity refused ${speed.answers.refused} (429), and ${speed.answers.failed} failed.
- ${soaked.fills} fills in the ${durations.soakS} s; resident memory, means over a fifth of it each: ${soaked.residentBytes.map(mib).join(', ')}.
- ${BAD_CLIENTS} clients with wrong tokens for names that there are, from the same address, as fast as they can: ${result.tokens.bad.perSecond.toFixed(0)} requests a second, all refused.
`;
}

function rowsOf({ jobs, tokens, linked, unlinked, soaked, speed }: LoadResult): string[][] {
  const loaded = [...linked.seen, ...soaked.seen];
  const held = [...loaded, ...unlinked.seen, jobs.list, jobs.status, tokens.without, tokens.beside];
  const perSecond = Math.min(...loaded.map((seen) => seen.perSecond));
  const statusMs = Math.max(...loaded.map(({ p99 }) => p99));
  const [, early = 0, , , late = 0] = soaked.residentBytes;
  // At full speed the limit of an identity's requests has its word, as it should.
  const failed = held.reduce(
    (sum, seen) => sum + seen.answers.failed + seen.answers.refused,
    speed.answers.failed,
  );
  const answered = [...held, speed].reduce((sum, { answers }) => sum + answers.good, 0);
  const { without, beside } = tokens;
  return [
    row(
      'answers 5xx, or none, or refused below the limit of requests, to good tokens',
      '0',
      `${failed} of ${answered + failed}`,
      failed === 0,
    ),
    row(
      `status while two fills run, ${CLIENTS} clients, least`,
      `≥ ${GOALS.perSecond}/s`,
      `${perSecond.toFixed(0)}/s`,
      perSecond >= GOALS.perSecond,
    ),
    row(
      'the same, worst p99 of all runs',
      `≤ ${GOALS.statusMs} ms`,
      `${statusMs} ms`,
      statusMs <= GOALS.statusMs,
    ),
    row(
      'two fills under that load ÷ alone',
      `≤ ${GOALS.slower}`,
      linked.ratio.toFixed(3),
      linked.ratio <= GOALS.slower,
    ),
    row(
      'resident memory, last fifth ÷ second',
      `≤ ${GOALS.grown}`,
      (late / early).toFixed(3),
      late / early <= GOALS.grown,
    ),
    row(
      `list of 100 among ${ENDED_JOBS}, ${LIST_CLIENTS} clients, ${LIST_RATE}/s, p99`,
      `≤ ${GOALS.manyJobsMs} ms`,
      `${jobs.list.p99} ms`,
      jobs.list.p99 <= GOALS.manyJobsMs,
    ),
    row(
      `status among ${ENDED_JOBS}, ${CLIENTS} clients, ${RATE}/s, p99`,
      `≤ ${GOALS.manyJobsMs} ms`,
      `${jobs.status.p99} ms`,
      jobs.status.p99 <= GOALS.manyJobsMs,
    ),
    row(
      `status with ${BAD_CLIENTS} clients of bad tokens beside, without fills`,
      `≥ ${GOALS.perSecond}/s`,
      `${beside.perSecond.toFixed(0)}/s, ${without.perSecond.toFixed(0)}/s without`,
      beside.perSecond >= GOALS.perSecond,
    ),
    row(
      'the same, p99',
      `≤ ${GOALS.statusMs} ms`,
      `${beside.p99} ms, ${without.p99} ms without`,
      beside.p99 <= GOALS.statusMs,
    ),
  ];
}

function row(what: string, goal: string, measured: string, isReached: boolean): string[] {
  return [what, goal, measured, isReached ? 'reached' : '**missed**'];
}

function seconds(value: number): string {
  return `${value.toFixed(2)} s`;
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
