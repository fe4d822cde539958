/**
 * Clients of the HTTP API, in a process of their own: what they are to do comes as a message, what they have seen goes
 * back as another. A message `stop` ends them early.
 */
import { setTimeout as pause } from 'node:timers/promises';
import autocannon from 'autocannon';

export interface Clients {
  readonly url: string;
  readonly paths: readonly string[];
  /** Taken by the clients in turn. */
  readonly tokens: readonly string[];
  readonly count: number;
  /** Seconds. */
  readonly duration: number;
  /** Requests a second of all together; undefined: each sends the next one as soon as it has its answer. */
  readonly rate?: number | undefined;
}

export interface Seen {
  readonly perSecond: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  readonly answers: { readonly good: number; readonly refused: number; readonly failed: number };
}

/** autocannon sends what a second allows at its beginning: groups begin one after the other, so that a second is filled. */
const GROUPS = 16;
/** Of one client, begun with what it sends and how often. */
type Group = Pick<Clients, 'count' | 'rate'>;

process.once('message', (clients: Clients) => {
  const running: ReturnType<typeof autocannon>[] = [];
  let isStopped = false;
  process.on('message', () => {
    isStopped = true;
    for (const one of running) one.stop();
  });
  void run();

  async function run(): Promise<void> {
    const groups = groupsOf(clients);
    for (const [index, group] of groups.entries()) {
      if (isStopped) break;
      running.push(begin(clients, group, index * group.count));
      if (groups.length > 1) await pause(1_000 / groups.length);
    }
    const parts = await Promise.all(running);
    process.send?.(seenBy(parts, clients.url), () => {
      process.exit();
    });
  }
});

function groupsOf({ count, rate }: Clients): readonly Group[] {
  if (rate === undefined) return [{ count, rate }];
  const groups = Math.min(GROUPS, count);
  return Array.from({ length: groups }, () => ({ count: count / groups, rate: rate / groups }));
}

function begin({ url, paths, tokens, duration }: Clients, { count, rate }: Group, first: number) {
  let made = first;
  return autocannon({
    ...{ url, duration, connections: count, skipAggregateResult: true },
    ...(rate === undefined ? {} : { overallRate: rate }),
    setupClient: (client) => {
      const headers = { 'x-api-token': tokens[made % tokens.length] ?? '' };
      client.setRequests(paths.map((path) => ({ path, headers })));
      made += 1;
    },
  });
}

function seenBy(parts: Awaited<ReturnType<typeof begin>>[], url: string): Seen {
  const seconds = Math.max(...parts.map(({ duration }) => duration));
  const result = autocannon.aggregateResult(parts, { url });
  const { latency, requests, errors, timeouts } = result;
  return {
    perSecond: requests.total / seconds,
    ...{ p50: latency.p50, p99: latency.p99, max: latency.max },
    answers: { good: result['2xx'], refused: result['4xx'], failed: result['5xx'] + errors + timeouts },
  };
}
