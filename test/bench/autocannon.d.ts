/** As much of autocannon as is used here; it brings no types. https://github.com/mcollina/autocannon#api */
declare module 'autocannon' {
  interface Request {
    readonly path: string;
    readonly headers: Record<string, string>;
  }

  export interface Options {
    readonly url: string;
    readonly connections: number;
    /** Seconds. */
    readonly duration: number;
    /** Requests a second of all connections together. */
    readonly overallRate?: number;
    readonly setupClient: (client: { setRequests(requests: readonly Request[]): void }) => void;
    readonly skipAggregateResult: true;
  }

  /** Of one run, to be aggregated. */
  export interface Part {
    readonly duration: number;
  }

  export interface Result {
    /** Milliseconds. */
    readonly latency: { readonly p50: number; readonly p99: number; readonly max: number };
    readonly requests: { readonly total: number };
    readonly errors: number;
    readonly timeouts: number;
    readonly '2xx': number;
    readonly '4xx': number;
    readonly '5xx': number;
  }

  interface Instance extends Promise<Part> {
    stop(): void;
  }

  function autocannon(options: Options): Instance;
  namespace autocannon {
    function aggregateResult(parts: readonly Part[], options: { readonly url: string }): Result;
  }
  export default autocannon;
}
