/**
 * One kept connection to the store, one request at a time. The kernel puts the body's bytes straight into
 * the memory they are for (`onread` of node:net): no stream and no copy, twice the speed of node:http.
 *
 * A connection on which anything went wrong is closed and never used again, so no late byte of one answer
 * can be taken for another, or reach memory that has a new use.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { AnswerHead } from './minio-head.ts';
import { BadAnswer, HEAD_MAX_BYTES, headLength, parseHead, retryAfterMs } from './minio-head.ts';
import { RefusedAnswer, RequestTimeout } from './minio-transport.ts';

export interface ConnectionOptions {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  readonly caPem?: string | undefined;
  /** TCP and TLS handshakes. */
  readonly connectTimeoutMs: number;
  /** From the request to the end of the answer's head, and between two pieces of its body. */
  readonly idleTimeoutMs: number;
  /** Fewer bytes in `rateWindowMs` than this rate allows end the request. */
  readonly rateMinBytesPerS: number;
  readonly rateWindowMs: number;
}

export interface RangeRequest {
  /** The request as it goes out, with the empty line. */
  readonly text: string;
  readonly target: Uint8Array;
  readonly signal: AbortSignal;
  /** Judges the head of a 200 or 206; throws if the body is not what `target` is for. */
  accept(head: AnswerHead): void;
  onBytes(countBytes: number): void;
}

/** The store had closed a kept connection before it heard of the request: this says nothing about the store. */
export class StaleConnection extends Error {
  override readonly name = 'StaleConnection';
}

const REFUSAL_MAX_BYTES = 64 * 1024;
const CHUNKED_END = '0\r\n\r\n';
/** `100 Continue` and its like before the answer. */
const INTERIM_MAX = 8;

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #socket: net.Socket;
  readonly #head = Buffer.alloc(HEAD_MAX_BYTES);
  #exchange: Exchange | undefined;
  #answers = 0;
  #error: Error | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = connect(options, {
      buffer: () => this.#exchange?.room() ?? this.#head,
      callback: (countBytes: number) => {
        this.#received(countBytes);
        return true;
      },
    });
    this.#socket.setNoDelay(true);
    const timer = setTimeout(() => {
      this.#fail(new RequestTimeout(`no connection within ${options.connectTimeoutMs} ms`));
    }, options.connectTimeoutMs);
    this.#socket.once(options.secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
    });
    this.#socket.on('error', (error) => {
      this.#fail(error);
    });
    this.#socket.on('close', () => {
      clearTimeout(timer);
      this.#fail(new BadAnswer('the connection was closed before the end of the answer'));
    });
  }

  /** Whether another request can be sent. */
  get isUsable(): boolean {
    return this.#error === undefined && this.#exchange === undefined;
  }

  /** Resolves when `target` is full. However it ends, nothing writes to `target` afterwards. */
  async fetch(request: RangeRequest): Promise<void> {
    request.signal.throwIfAborted();
    if (!this.isUsable) throw new StaleConnection('the connection is closed');
    const exchange = new Exchange(request, this.#options, this.#head, (error) => {
      this.#fail(error);
    });
    this.#exchange = exchange;
    this.#socket.ref();
    this.#socket.write(request.text, 'latin1');
    const aborted = () => {
      this.#fail(new Error('aborted'));
    };
    request.signal.addEventListener('abort', aborted);
    try {
      const { keepsAlive } = await exchange.ended;
      this.#answers++;
      if (!keepsAlive) this.close();
    } finally {
      request.signal.removeEventListener('abort', aborted);
    }
  }

  /** An idle connection must not keep the program from ending. */
  rest(): void {
    this.#socket.unref();
  }

  close(): void {
    this.#fail(new Error('the connection is closed'));
  }

  #received(countBytes: number): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      this.#fail(new BadAnswer('the store sent bytes that nobody had asked for'));
      return;
    }
    try {
      if (!exchange.received(countBytes)) return;
      this.#exchange = undefined;
      exchange.end();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#socket.destroy();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    const unheard = exchange?.isUnheard === true && this.#answers > 0 && isReset(error);
    exchange?.fail(unheard ? new StaleConnection(error.message, { cause: error }) : error);
  }
}

/** One request and its answer. */
class Exchange {
  readonly ended: Promise<AnswerHead>;
  readonly #request: RangeRequest;
  readonly #options: ConnectionOptions;
  readonly #head: Buffer;
  readonly #giveUp: (error: Error) => void;
  readonly #settle: PromiseWithResolvers<AnswerHead>;
  #timers: NodeJS.Timeout[];
  #idle: NodeJS.Timeout;
  #headBytes = 0;
  #gotBytes = 0;
  #interims = 0;
  #refusal = '';
  #answer: AnswerHead | undefined;

  constructor(
    request: RangeRequest,
    options: ConnectionOptions,
    head: Buffer,
    giveUp: (error: Error) => void,
  ) {
    this.#request = request;
    this.#options = options;
    this.#head = head;
    this.#giveUp = giveUp;
    this.#settle = Promise.withResolvers();
    this.ended = this.#settle.promise;
    this.#idle = this.#limit('no answer');
    this.#timers = [this.#idle];
  }

  /** True until the first byte of an answer. */
  get isUnheard(): boolean {
    return this.#headBytes === 0 && this.#answer === undefined;
  }

  /** Where the next bytes are to be put. */
  room(): Uint8Array {
    if (this.#answer === undefined) return this.#head.subarray(this.#headBytes);
    return this.#isRefused() ? this.#head : this.#request.target.subarray(this.#gotBytes);
  }

  /** Takes what stands in room(); true when the answer is complete. */
  received(countBytes: number): boolean {
    if (this.#answer === undefined) return this.#receivedHead(countBytes);
    this.#idle.refresh();
    return this.#isRefused() ? this.#receivedRefusal(countBytes) : this.#receivedBody(countBytes);
  }

  end(): void {
    this.#stopTimers();
    if (this.#answer !== undefined) this.#settle.resolve(this.#answer);
  }

  fail(error: Error): void {
    this.#stopTimers();
    // The status is known, and says more than that its body broke off.
    this.#settle.reject(this.#isRefused() ? this.#refused() : error);
  }

  #receivedHead(countBytes: number): boolean {
    this.#headBytes += countBytes;
    for (;;) {
      const lengthBytes = headLength(this.#head, this.#headBytes);
      if (lengthBytes === 0) {
        if (this.#headBytes < HEAD_MAX_BYTES) return false;
        throw new BadAnswer(`the answer's head is longer than ${HEAD_MAX_BYTES} bytes`);
      }
      const head = parseHead(this.#head.subarray(0, lengthBytes));
      const restBytes = this.#headBytes - lengthBytes;
      if (head.status >= 200) return this.#answered(head, lengthBytes, restBytes);
      if (head.status === 101 || ++this.#interims > INTERIM_MAX) {
        throw new BadAnswer(`the store answered with status ${head.status}`);
      }
      this.#head.copyWithin(0, lengthBytes, this.#headBytes);
      this.#headBytes = restBytes;
    }
  }

  /** The head is there, and perhaps the first bytes of the body behind it. */
  #answered(head: AnswerHead, headBytes: number, restBytes: number): boolean {
    this.#stopTimers();
    this.#idle = this.#limit('no byte');
    this.#timers = [this.#idle, this.#watchRate()];
    this.#answer = head;
    if (this.#isRefused()) {
      this.#head.copyWithin(0, headBytes, headBytes + restBytes);
      return this.#receivedRefusal(restBytes);
    }
    this.#request.accept(head);
    const { target } = this.#request;
    if (restBytes > target.length) throw new BadAnswer('the store sent more bytes than it had announced');
    target.set(this.#head.subarray(headBytes, headBytes + restBytes));
    return this.#receivedBody(restBytes);
  }

  #receivedBody(countBytes: number): boolean {
    this.#gotBytes += countBytes;
    this.#request.onBytes(countBytes);
    return this.#gotBytes === this.#request.target.length;
  }

  /** Never complete: the connection ends with the refusal, because its framing is not looked at. */
  #receivedRefusal(countBytes: number): boolean {
    this.#refusal += this.#head.toString('latin1', 0, countBytes);
    const announced = this.#answer?.fields.get('content-length');
    const isWhole =
      this.#refusal.includes('</Error>') ||
      this.#refusal.endsWith(CHUNKED_END) ||
      this.#refusal.length > REFUSAL_MAX_BYTES ||
      (announced !== undefined && this.#refusal.length >= Number(announced));
    if (isWhole) throw this.#refused();
    return false;
  }

  #isRefused(): boolean {
    return this.#answer !== undefined && this.#answer.status !== 200 && this.#answer.status !== 206;
  }

  #refused(): RefusedAnswer {
    const { status = 0, fields } = this.#answer ?? {};
    const code = /<Code>([A-Za-z0-9.]{1,64})<\/Code>/.exec(this.#refusal)?.[1];
    return new RefusedAnswer(
      status,
      code ?? fields?.get('x-minio-error-code'),
      retryAfterMs(fields?.get('retry-after'), Date.now()),
    );
  }

  #limit(what: string): NodeJS.Timeout {
    const { idleTimeoutMs } = this.#options;
    return setTimeout(() => {
      this.#giveUp(new RequestTimeout(`${what} within ${idleTimeoutMs} ms`));
    }, idleTimeoutMs);
  }

  #watchRate(): NodeJS.Timeout {
    const { rateMinBytesPerS, rateWindowMs } = this.#options;
    let beforeBytes = 0;
    return setInterval(() => {
      const cameBytes = this.#gotBytes - beforeBytes;
      beforeBytes = this.#gotBytes;
      if (cameBytes >= (rateMinBytesPerS * rateWindowMs) / 1000) return;
      const allowed = `at least ${rateMinBytesPerS} bytes a second are expected`;
      this.#giveUp(new RequestTimeout(`only ${cameBytes} bytes came within ${rateWindowMs} ms, ${allowed}`));
    }, rateWindowMs);
  }

  #stopTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

function connect(options: ConnectionOptions, onread: net.OnReadOpts): net.Socket {
  const { host, port, caPem } = options;
  if (!options.secure) return net.connect({ host, port, onread });
  return tls.connect({
    ...{ host, port, minVersion: 'TLSv1.2' },
    // A server is named by a name; an address has none (RFC 6066, section 3).
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(caPem === undefined ? {} : { ca: caPem }),
    // Passed on to the socket, though the types say so of net.connect() only.
    ...{ onread },
  });
}

function isReset(error: Error): boolean {
  if (error instanceof BadAnswer) return true;
  return 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}
