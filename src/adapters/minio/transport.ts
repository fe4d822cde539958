/**
 * The HTTP under the minio client. The client itself knows no timeout, reads error bodies of any length,
 * leaves the sockets of 5xx answers open, prints to the console when it retries, and loses the status of
 * what it retried (minio-js 8.0, src/internal/request.ts): so each request is watched here, and an answer
 * that is not the one hoped for never reaches it.
 */
import http from 'node:http';
import https from 'node:https';
import type { ClientOptions } from 'minio';
import type { StoreAddresses } from './addresses.ts';
import { retryAfterMs } from './head.ts';

type Transport = NonNullable<ClientOptions['transport']>;

export interface RequestLimits {
  /** TCP and TLS handshakes. */
  readonly connectTimeoutMs: number;
  /** From the request to the answer's headers, and between two pieces of its body. */
  readonly idleTimeoutMs: number;
  /** The whole request; a store that drips bytes is no better than one that stands still. Undefined: it has no end. */
  readonly totalTimeoutMs: number | undefined;
  /** Ends the request, and its answer. */
  readonly signal?: AbortSignal | undefined;
}

/** An answer with a status that was not hoped for. */
export class RefusedAnswer extends Error {
  override readonly name = 'RefusedAnswer';
  readonly status: number;
  /** S3's word for it (`NoSuchKey`), if it said one. */
  readonly s3Code: string | undefined;
  /** The pause it asked for. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, said: string | undefined, retryAfterMs: number | undefined) {
    const s3Code = said !== undefined && /^[A-Za-z0-9.]{1,64}$/.test(said) ? said : undefined;
    super(s3Code === undefined ? `status ${status}` : `status ${status} (${s3Code})`);
    this.status = status;
    this.s3Code = s3Code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** One of the limits above was passed. */
export class RequestTimeout extends Error {
  override readonly name = 'RequestTimeout';
}

/** Failures of kept connections that the store closed at the same moment: they say nothing about the store. */
const staleFailures = new WeakSet<Error>();

/** True if the request never reached the store, for want of a fresh connection. */
export function wasStale(error: unknown): boolean {
  return error instanceof Error && staleFailures.has(error);
}

/** So far may the clock of a request be from the store's: S3 and MinIO. */
const SKEW_MAX_MS = 15 * 60_000;
const ERROR_BODY_MAX_BYTES = 64 * 1024;

/** A transport for one request. */
export function watchedTransport(
  secure: boolean,
  limits: RequestLimits,
  agent: http.Agent,
  addresses?: StoreAddresses,
): Transport {
  const request = (options: https.RequestOptions, onAnswer: (answer: http.IncomingMessage) => void) => {
    // The agent asks for names alone.
    addresses?.check(options.host ?? '');
    const { signal } = limits;
    const sent = (secure ? https : http).request({
      ...{ ...options, agent },
      ...(signal === undefined ? {} : { signal }),
    });
    const watch = new Watch(sent, limits);
    sent.on('response', (answer) => {
      watch.answered(answer);
      if (answer.statusCode === 200 || answer.statusCode === 206) {
        onAnswer(answer);
        return;
      }
      void readRefusal(answer).then((refusal) => sent.emit('error', refusal));
    });
    return sent;
  };
  // The client uses this one signature of the many.
  return { request } as unknown as Transport;
}

/** Ends a request that takes too long, at whatever stage it is. */
class Watch {
  readonly #request: http.ClientRequest;
  readonly #limits: RequestLimits;
  readonly #timers: NodeJS.Timeout[];
  #answer: http.IncomingMessage | undefined;

  constructor(request: http.ClientRequest, limits: RequestLimits) {
    this.#request = request;
    this.#limits = limits;
    this.#timers = [
      this.#after(limits.idleTimeoutMs, 'no answer'),
      ...(limits.totalTimeoutMs === undefined
        ? []
        : [this.#after(limits.totalTimeoutMs, 'the answer did not end')]),
    ];
    request.on('error', (error) => {
      const reset = 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      if (reset && request.reusedSocket && this.#answer === undefined) staleFailures.add(error);
    });
    request.on('close', () => {
      this.#stopTimers();
    });
    request.on('socket', (socket) => {
      if (!socket.connecting) return;
      const timer = this.#after(limits.connectTimeoutMs, 'no connection');
      this.#timers.push(timer);
      const ready = 'encrypted' in socket ? 'secureConnect' : 'connect';
      socket.once(ready, () => {
        clearTimeout(timer);
      });
    });
  }

  answered(answer: http.IncomingMessage): void {
    this.#answer = answer;
    clearTimeout(this.#timers[0]);
    const idle = this.#after(this.#limits.idleTimeoutMs, 'no byte');
    this.#timers.push(idle);
    const socket = answer.socket;
    const heard = () => {
      idle.refresh();
    };
    socket.on('data', heard);
    answer.once('close', () => {
      socket.off('data', heard);
      clearTimeout(idle);
      this.#stopTimers();
    });
  }

  #after(durationMs: number, what: string): NodeJS.Timeout {
    return setTimeout(() => {
      const error = new RequestTimeout(`${what} within ${durationMs} ms`);
      // After the headers, an error given to the request would reach the reader as a bare "aborted".
      (this.#answer ?? this.#request).destroy(error);
    }, durationMs);
  }

  #stopTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/** What the store says about it, from its header (HEAD has no body) or the first part of its XML. */
async function readRefusal(answer: http.IncomingMessage): Promise<RefusedAnswer> {
  const status = answer.statusCode ?? 0;
  const header = answer.headers['x-minio-error-code'];
  let text = '';
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      text += chunk.toString('latin1');
      if (text.length > ERROR_BODY_MAX_BYTES) break;
    }
  } catch {
    // The status is known, and says enough.
  }
  answer.destroy();
  const code = /<Code>([A-Za-z0-9.]{1,64})<\/Code>/.exec(text)?.[1];
  return new RefusedAnswer(
    status,
    code ?? (typeof header === 'string' ? header : codeOfClocks(status, answer.headers.date)),
    retryAfterMs(answer.headers['retry-after'], Date.now()),
  );
}

/**
 * MinIO refuses the HEAD of who has another clock without a word, but every answer tells the store's time:
 *
 *   $ curl -sI -H 'x-amz-date: 20200101T000000Z' --aws-sigv4 aws:amz:us-east-1:s3 --user …
 */
function codeOfClocks(status: number, date: string | undefined): string | undefined {
  const apartMs = Math.abs(Date.parse(date ?? '') - Date.now());
  return status === 403 && apartMs >= SKEW_MAX_MS ? 'RequestTimeTooSkewed' : undefined;
}
