/**
 * One kept connection to the store, one request at a time. The kernel puts the body's bytes straight into
 * the memory they are for (`onread` of node:net): no stream and no copy, twice the speed of node:http.
 *
 * A connection on which anything went wrong is closed and never used again, so no late byte of one answer
 * can be taken for another, or reach memory that has a new use.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { StoreAddresses } from './addresses.ts';
import type { AnswerLimits, RangeRequest } from './answer.ts';
import { Answer, StaleConnection } from './answer.ts';
import { BadAnswer, HEAD_MAX_BYTES } from './head.ts';
import { RequestTimeout } from './transport.ts';

export interface ConnectionOptions extends AnswerLimits {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  readonly caPem?: string | undefined;
  /** A connection is made with these alone. */
  readonly addresses?: StoreAddresses | undefined;
  /** TCP and TLS handshakes. */
  readonly connectTimeoutMs: number;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #socket: net.Socket;
  readonly #scratch = Buffer.alloc(HEAD_MAX_BYTES);
  #answer: Answer | undefined;
  #answers = 0;
  #error: Error | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = connect(options, {
      buffer: () => this.#answer?.room() ?? this.#scratch,
      callback: (countBytes: number) => this.#received(countBytes),
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
    return this.#error === undefined && this.#answer === undefined;
  }

  /** Sends a request. Whoever has read the last byte of its answer calls finish(). */
  ask(request: RangeRequest): Answer {
    if (!this.isUsable) throw new StaleConnection('the connection is closed');
    this.#answer = new Answer(request, this.#options, this.#scratch, {
      resume: () => {
        this.#socket.ref();
        this.#socket.resume();
      },
      fail: (error) => {
        this.#fail(error);
      },
    });
    this.#socket.ref();
    this.#socket.write(request.text, 'latin1');
    return this.#answer;
  }

  /** True if the answer has been read to its end, and the connection can be used for another request. */
  finish(answer: Answer): boolean {
    const { completed } = answer;
    if (completed === undefined || this.#answer !== answer) return false;
    this.#answer = undefined;
    this.#answers++;
    if (!completed.keepsAlive) this.close();
    // It may have paused before its last bytes were read. An idle one must not keep the program from ending.
    this.#socket.resume();
    this.#socket.unref();
    return this.isUsable;
  }

  close(): void {
    this.#fail(new StaleConnection('the connection is closed'));
  }

  #received(countBytes: number): boolean {
    try {
      if (this.#answer === undefined) throw new BadAnswer('the store sent bytes that nobody had asked for');
      const goesOn = this.#answer.received(countBytes);
      if (!goesOn) this.#socket.unref();
      return goesOn;
    } catch (error) {
      this.#fail(error as Error);
      return false;
    }
  }

  #fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#socket.destroy();
    const answer = this.#answer;
    this.#answer = undefined;
    const unheard = answer?.isUnheard === true && this.#answers > 0 && isReset(error);
    // The store had closed a kept connection before it heard of the request.
    answer?.failed(unheard ? new StaleConnection(error.message, { cause: error }) : error);
  }
}

function connect(options: ConnectionOptions, onread: net.OnReadOpts): net.Socket {
  const { host, port, caPem, addresses } = options;
  addresses?.check(host);
  const place = { host, port, ...(addresses === undefined ? {} : { lookup: addresses.lookup }) };
  if (!options.secure) return net.connect({ ...place, onread });
  return tls.connect({
    ...{ ...place, minVersion: 'TLSv1.2' },
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
