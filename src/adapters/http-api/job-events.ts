/** A job as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { toProblem } from '../../core/errors.ts';
import type { Job } from '../../core/protocol/job-protocol.ts';
import { Refusal } from './refusal.ts';
import type { RouteNeeds } from './routes.ts';

const LOOK_MS = 500;
/** A comment keeps whoever is between from taking the connection for dead. */
const COMMENT_MS = 15_000;
const STREAMS_MAX = 64;

export class JobEvents {
  readonly #needs: Pick<RouteNeeds, 'jobs' | 'clock' | 'untilChanged'>;
  #open = 0;

  constructor(needs: Pick<RouteNeeds, 'jobs' | 'clock' | 'untilChanged'>) {
    this.#needs = needs;
  }

  /** Ends with the job, with its caller, and when it may no longer be so that this caller sees it. */
  follow(first: Job, request: IncomingMessage): Readable {
    if (this.#open >= STREAMS_MAX) {
      const message = `There are ${STREAMS_MAX} streams of events already.`;
      throw new Refusal({
        status: 503,
        code: 'BUSY',
        message,
        hint: 'Ask for the job now and then instead.',
      });
    }
    this.#open += 1;
    const gone = new AbortController();
    const stream = Readable.from(
      this.#events(first, AbortSignal.any([gone.signal, this.#needs.untilChanged()])),
    );
    request.socket.once('close', () => {
      gone.abort();
    });
    stream.once('close', () => {
      this.#open -= 1;
      gone.abort();
    });
    return stream;
  }

  async *#events(first: Job, signal: AbortSignal): AsyncGenerator<string> {
    const { jobs, clock } = this.#needs;
    let job = first;
    let sent = '';
    let sentMs = clock.monotonicMs();
    for (;;) {
      const data = JSON.stringify(job);
      const isLate = clock.monotonicMs() - sentMs >= COMMENT_MS;
      if (data !== sent || isLate) {
        yield data === sent ? ': still here\n\n' : `event: job\ndata: ${data}\n\n`;
        sent = data;
        sentMs = clock.monotonicMs();
      }
      if (!['pending', 'running'].includes(job.state)) return;
      try {
        await clock.sleep(LOOK_MS, signal);
        job = await jobs.job(job.id);
      } catch (error) {
        if (!signal.aborted) yield `event: problem\ndata: ${JSON.stringify(toProblem(error))}\n\n`;
        return;
      }
    }
  }
}
