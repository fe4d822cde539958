/** What is measured of the HTTP API under load, one part after the other. */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { makeToken } from '../../src/adapters/http-api/token-file.ts';
import type { Seen } from './load-clients.ts';
import type { Stage } from './load-stage.ts';
import { median } from './measure.ts';
import { usageOf, usageSince } from './usage.ts';

export const CLIENTS = 64;
/** Status requests a second, of all clients together. */
export const RATE = 1_200;
/** Clients that ask for lists, and lists a second: each brings 100 jobs. */
export const LIST_CLIENTS = 8;
export const LIST_RATE = 40;
export const BAD_CLIENTS = 32;
const LONG_S = 3_600;

export interface Durations {
  readonly rounds: number;
  /** Of all clients at full speed, of lists, and of bad tokens. */
  readonly shortS: number;
  readonly soakS: number;
}

export const FULL: Durations = { rounds: 3, shortS: 10, soakS: 300 };
export const SHORT: Durations = { rounds: 1, shortS: 4, soakS: 20 };

export interface FillsUnderLoad {
  readonly aloneS: number;
  readonly loadedS: number;
  /** Median of the ratios of neighbours in time. */
  readonly ratio: number;
  readonly seen: readonly Seen[];
  readonly stillMs: number;
}

/** Two fills alone and two while clients ask how far they are, in turn. */
export async function fillsUnderLoad(stage: Stage, rounds: number): Promise<FillsUnderLoad> {
  const alone: number[] = [];
  const loaded: number[] = [];
  const seen: Seen[] = [];
  // The first one warms up and does not count.
  await twoFills(stage);
  stage.host.stillMs = 0;
  for (let round = 0; round < rounds; round++) {
    alone.push(await twoFills(stage));
    const begun = await beginTwo(stage);
    const clients = stage.clients({
      paths: statusPaths(stage, begun.ids),
      count: CLIENTS,
      duration: LONG_S,
      rate: RATE,
    });
    loaded.push(await begun.ended);
    clients.stop();
    seen.push(await clients.seen);
  }
  return {
    ...{ aloneS: median(alone), loadedS: median(loaded), seen, stillMs: stage.host.stillMs },
    ratio: median(loaded.map((seconds, round) => seconds / (alone[round] ?? Number.NaN))),
  };
}

/** As fast as all clients can, while nothing is filled. */
export async function fullSpeed(
  stage: Stage,
  { shortS: duration }: Durations,
): Promise<Seen & { cpuS: number }> {
  const before = usageOf(stage.host.pid);
  const paths = statusPaths(stage, []);
  const seen = await stage.clients({ paths, count: CLIENTS, duration }).seen;
  return { ...seen, cpuS: usageSince(before, stage.host.pid).cpuS / duration };
}

export interface Soak {
  readonly seen: readonly Seen[];
  readonly fills: number;
  /** Means over a fifth of the time each. */
  readonly residentBytes: readonly number[];
}

/** Fills one after the other, two at a time, and clients all the while. */
export async function soak(stage: Stage, { soakS }: Durations): Promise<Soak> {
  const untilMs = performance.now() + soakS * 1_000;
  const samples: number[] = [];
  const sampler = setInterval(() => samples.push(residentBytes(stage.host.pid)), 500);
  const seen: Seen[] = [];
  let fills = 0;
  while (performance.now() < untilMs) {
    const { ids, ended } = await beginTwo(stage);
    const clients = stage.clients({
      paths: statusPaths(stage, ids),
      count: CLIENTS,
      duration: LONG_S,
      rate: RATE,
    });
    await ended;
    clients.stop();
    seen.push(await clients.seen);
    fills += 2;
  }
  clearInterval(sampler);
  const fifth = samples.length / 5;
  const parts = [0, 1, 2, 3, 4].map((part) =>
    samples.slice(Math.floor(part * fifth), Math.floor((part + 1) * fifth)),
  );
  return {
    seen,
    fills,
    residentBytes: parts.map((part) => part.reduce((sum, each) => sum + each, 0) / part.length),
  };
}

export interface ManyJobs {
  readonly list: Seen;
  readonly status: Seen;
}

export async function manyJobs(stage: Stage, { shortS: duration }: Durations): Promise<ManyJobs> {
  const list = await stage.clients({
    ...{ paths: ['/api/v1/jobs?limit=100', `/api/v1/jobs?limit=100&after=${stage.host.ready.id}`] },
    ...{ count: LIST_CLIENTS, duration, rate: LIST_RATE },
  }).seen;
  const status = await stage.clients({ paths: statusPaths(stage, []), count: CLIENTS, duration, rate: RATE })
    .seen;
  return { list, status };
}

export interface BadTokens {
  readonly without: Seen;
  readonly beside: Seen;
  readonly bad: Seen;
}

/** Of names that there are, so that each would cost a hash; as fast as they can, from the same address. */
export async function badTokens(stage: Stage, { shortS: duration }: Durations): Promise<BadTokens> {
  const good = { paths: statusPaths(stage, []), count: CLIENTS, duration, rate: RATE };
  const without = await stage.clients(good).seen;
  const tokens = stage.tokens.map((_token, index) => makeToken(`client${index}`));
  const bad = stage.clients({ paths: statusPaths(stage, []), count: BAD_CLIENTS, duration: LONG_S, tokens });
  await pause(500);
  const beside = await stage.clients(good).seen;
  bad.stop();
  return { without, beside, bad: await bad.seen };
}

async function twoFills(stage: Stage): Promise<number> {
  return (await beginTwo(stage)).ended;
}

/** `ended`: the seconds until the later one was published. */
async function beginTwo(
  stage: Stage,
): Promise<{ readonly ids: readonly string[]; readonly ended: Promise<number> }> {
  const begun = await Promise.all(stage.images.map((image) => stage.host.fill(image)));
  const ended = Promise.all(begun.map((each) => each.ended)).then((all) => Math.max(...all));
  return { ids: begun.map(({ id }) => id), ended };
}

/** Of jobs that run, as the Go provisioner's clients and ours ask, and of one that has ended long ago. */
function statusPaths({ host }: Stage, ids: readonly string[]): string[] {
  const all = [...ids, host.ready.id];
  return all.flatMap((id) => [`/api/v1/status/${id}`, `/api/v1/jobs/${id}`]);
}

function residentBytes(pid: number): number {
  const kib = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1_024;
}
