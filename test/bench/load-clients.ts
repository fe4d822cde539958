/**
 * Clients of the HTTP API, in a process of their own: what they are to do comes as a message, what they have seen goes
 * back as another. A message `stop` ends them early.
 */
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

process.once('message', (clients: Clients) => {
  const { url, paths, tokens, count, duration, rate } = clients;
  let made = 0;
  const running = autocannon({
    ...{ url, duration, connections: count, excludeErrorStats: false },
    ...(rate === undefined ? {} : { overallRate: rate }),
    setupClient: (client) => {
      const headers = { 'x-api-token': tokens[made % tokens.length] ?? '' };
      client.setRequests(paths.map((path) => ({ path, headers })));
      made += 1;
    },
  });
  process.on('message', () => {
    running.stop();
  });
  void running.then((result) => {
    const { latency, requests, errors, timeouts } = result;
    const seen: Seen = {
      perSecond: requests.total / result.duration,
      ...{ p50: latency.p50, p99: latency.p99, max: latency.max },
      answers: {
        ...{ good: result['2xx'], refused: result['4xx'] },
        failed: result['5xx'] + errors + timeouts,
      },
    };
    process.send?.(seen, () => {
      process.exit();
    });
  });
});
