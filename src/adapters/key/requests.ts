/**
 * One request at a time to Keystone or Barbican: over TLS that is verified, to where it was told and nowhere else, with
 * limits to time and length. What comes back may be a key, so that it is kept in memory that is wiped.
 */
import http from 'node:http';
import https from 'node:https';
import type { KeyServerSettings } from '../../core/settings/key-settings.ts';
import type { KeyAgents } from './agents.ts';
import { keyAgents } from './agents.ts';

const CONNECT_MAX_MS = 1_500;
/** With a token, or a hundred secrets of a list. */
const ANSWER_BYTES_MAX = 2 ** 20;

export interface KeyRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Not wiped here. */
  readonly body?: Uint8Array | undefined;
  /** Of the answer's body. */
  readonly bytesMax?: number | undefined;
  readonly signal: AbortSignal;
}

/** Whatever the status is. Whoever has asked for it wipes it. */
export class KeyAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;

  constructor(status: number, headers: http.IncomingHttpHeaders, body: Buffer) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }

  wipe(): void {
    this.body.fill(0);
  }
}

/** The body is longer than there is any sense in. */
export class AnswerTooLong extends Error {
  override readonly name = 'AnswerTooLong';
}

export class KeyRequests {
  readonly #agents: KeyAgents;

  constructor({ ca }: Pick<KeyServerSettings, 'ca'>) {
    this.#agents = keyAgents(ca);
  }

  /** Throws what Node says if there is no answer, AnswerTooLong, or the signal's reason. A redirection is an answer. */
  ask(request: KeyRequest): Promise<KeyAnswer> {
    const { method, url, headers, body, signal } = request;
    const { promise, resolve, reject } = Promise.withResolvers<KeyAnswer>();
    const isSecure = url.protocol === 'https:';
    const options: https.RequestOptions = {
      ...{ method, signal, agent: isSecure ? this.#agents.https : this.#agents.http },
      // No word of the environment may switch it off.
      rejectUnauthorized: true,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-length': String(body.length) }) },
    };
    const sent = (isSecure ? https : http).request(url, options);
    const connecting = setTimeout(() => {
      sent.destroy(new Error(`no connection within ${CONNECT_MAX_MS / 1000} s`));
    }, CONNECT_MAX_MS);
    sent.once('socket', (socket) => {
      socket.once(isSecure ? 'secureConnect' : 'connect', () => {
        clearTimeout(connecting);
      });
    });
    sent.once('response', (answer) => {
      clearTimeout(connecting);
      collect(answer, request.bytesMax ?? ANSWER_BYTES_MAX).then(resolve, (error: unknown) => {
        sent.destroy();
        reject(asError(error));
      });
    });
    sent.once('close', () => {
      clearTimeout(connecting);
    });
    sent.on('error', (error) => {
      reject(signal.aborted ? asError(signal.reason) : error);
    });
    sent.end(body);
    return promise;
  }
}

/** In one piece of memory of its own; the pieces in which it came are wiped. */
function collect(answer: http.IncomingMessage, bytesMax: number): Promise<KeyAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<KeyAnswer>();
  const pieces: Buffer[] = [];
  let length = 0;
  const wipe = () => {
    for (const piece of pieces) piece.fill(0);
  };
  answer.on('data', (piece: Buffer) => {
    pieces.push(piece);
    length += piece.length;
    if (length <= bytesMax) return;
    wipe();
    const { statusCode: status = 0, headers } = answer;
    // A proxy's page about what is wrong may be of any length, and what it says is in the status.
    if (status >= 300) resolve(new KeyAnswer(status, headers, Buffer.alloc(0)));
    else reject(new AnswerTooLong(`it is longer than ${bytesMax} bytes`));
    answer.destroy();
  });
  answer.once('end', () => {
    // Not Buffer.concat(), which may take memory that it shares with others.
    const body = Buffer.alloc(length);
    let at = 0;
    for (const piece of pieces) at += piece.copy(body, at);
    wipe();
    resolve(new KeyAnswer(answer.statusCode ?? 0, answer.headers, body));
  });
  answer.once('error', (error) => {
    wipe();
    reject(error);
  });
  answer.once('close', () => {
    // The connection was closed in the middle; after an end this says nothing.
    wipe();
    reject(new Error('the connection was closed before the end of the answer'));
  });
  return promise;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
