/**
 * Lines to the journal under an identifier of their own, beside what the daemon says on standard output.
 *
 * journald's native socket is a datagram one, which Node cannot open; this is the stream socket on which it also gets
 * the output of services, and which sd_journal_stream_fd(3) and systemd-cat(1) open: seven lines of header, in that
 * order since 2012, then one line an entry. journald reads of the socket whose process it is, so that the entries are
 * the unit's. A child, systemd-cat, would do the same, and die before it has written the last line.
 */
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import type { Log } from '../../provision/ports/host.ts';

const JOURNAL_SOCKET = '/run/systemd/journal/stdout';

/** What journald has not taken yet: more is dropped, and counted. */
const WAITING_BYTES_MAX = 1024 * 1024;
const AGAIN_MS = 1000;
const CLOSE_LIMIT_MS = 2000;
const PRIORITY_NOTICE = 5;

export interface JournalStreamOptions {
  readonly identifier: string;
  readonly log: Log;
  readonly path?: string;
}

export class JournalStream {
  readonly #options: JournalStreamOptions;
  readonly #path: string;
  #socket: Socket | undefined;
  #isAway = false;
  #retryAtMs = 0;
  #dropped = 0;

  constructor(options: JournalStreamOptions) {
    this.#options = options;
    this.#path = options.path ?? JOURNAL_SOCKET;
  }

  /** Does not wait, and does not throw; `line` has no line break in it. */
  write(line: string): void {
    const socket = this.#socket ?? this.#connect();
    if (socket === undefined || socket.writableLength + line.length > WAITING_BYTES_MAX) {
      this.#dropped += 1;
      return;
    }
    socket.write(`${line}\n`);
  }

  /** Resolves when journald has been given everything, or does not take it. */
  async close(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const onEnd = (): void => {
      resolve(undefined);
    };
    const timer = setTimeout(onEnd, CLOSE_LIMIT_MS);
    socket.once('close', onEnd);
    socket.end();
    await promise;
    clearTimeout(timer);
    socket.destroy();
  }

  /** Undefined for a while after a connection was lost: there may be no journald here at all. */
  #connect(): Socket | undefined {
    if (performance.now() < this.#retryAtMs) return undefined;
    const { identifier, log } = this.#options;
    const socket = createConnection(this.#path);
    // It says nothing; but only of a socket that is read does one learn that it was closed.
    socket.resume();
    socket.on('connect', () => {
      if (this.#isAway) log.info({ dropped: this.#dropped }, 'the audit trail reaches the journal again');
      this.#isAway = false;
      this.#dropped = 0;
    });
    socket.on('error', (error) => {
      if (!this.#isAway) log.warn({ err: error }, 'the audit trail does not reach the journal');
      this.#isAway = true;
    });
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
      this.#retryAtMs = performance.now() + AGAIN_MS;
    });
    // Identifier, unit (root may name one), priority, whether lines begin with one, and where else they go.
    socket.write([identifier, '', PRIORITY_NOTICE, 0, 0, 0, 0, ''].join('\n'));
    this.#socket = socket;
    return socket;
  }
}
