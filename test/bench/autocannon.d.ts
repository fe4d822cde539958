/** As much of autocannon as is used here; it brings no types. https://github.com/mcollina/autocannon#api */
declare module 'autocannon' {
  export interface Options {
    readonly url: string;
    readonly connections: number;
    /** Seconds. */
    readonly duration: number;
    /** Requests a second of all connections together. */
    readonly overallRate?: number;
    readonly setupClient: (client: {
      setRequests(
        requests: readonly { readonly path: string; readonly headers: Record<string, string> }[],
      ): void;
    }) => void;
    readonly excludeErrorStats?: boolean;
  }

  export interface Result {
    /** Milliseconds. */
    readonly latency: { readonly p50: number; readonly p99: number; readonly max: number };
    readonly requests: { readonly total: number };
    /** Seconds. */
    readonly duration: number;
    readonly errors: number;
    readonly timeouts: number;
    readonly '2xx': number;
    readonly '4xx': number;
    readonly '5xx': number;
  }

  interface Instance extends Promise<Result> {
    stop(): void;
  }

  export default function autocannon(options: Options): Instance;
}
