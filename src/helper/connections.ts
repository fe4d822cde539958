/**
 * Lines in, lines out, one request at a time whoever asks; everything has a limit. Behind a line may stand keys, as it
 * says: their bytes are wiped wherever they have been. Behind a line that is no request nothing is read any more, for
 * what follows might be a key and not a line.
 */
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { peerUid } from '../core/peer.ts';
import { REQUEST_BYTES_MAX } from '../core/protocol/helper-protocol.ts';
import { Inbox } from './inbox.ts';
import type { Reply } from './requests.ts';

const CONNECTIONS_MAX = 16;
/** Nobody has reason to keep a connection open without a request under way. */
const SILENCE_MAX_MS = 30_000;

export interface Connections {
  readonly server: Server;
  /** True while somebody is connected or a request is under way, even if its asker has gone. */
  isBusy(): boolean;
  /** Resolves when the request under way has been answered; those that have not begun are dropped. */
  stop(): Promise<void>;
}

export interface Served {
  readonly answer: (line: string, keys: readonly Buffer[]) => Promise<Reply>;
  /** The length of each key behind that line; undefined if it is no request. */
  readonly keyLengthsOf: (line: string) => readonly number[] | undefined;
  /** Is given the user at the other end, undefined if the kernel does not tell: whoever may not is hung up on. */
  readonly mayAsk: (uid: number | undefined) => boolean;
}

export function serveLines({ answer, keyLengthsOf, mayAsk }: Served): Connections {
  const sockets = new Set<Socket>();
  let stopping = false;
  let waiting = 0;
  /** The chain of requests: each one begins when the one before has been answered. */
  let last: Promise<void> = Promise.resolve();

  const answerInTurn = (line: string, keys: readonly Buffer[], socket: Socket): Promise<void> => {
    waiting += 1;
    last = last.then(async () => {
      // Who has hung up before its turn does not want the thing done any more.
      if (!stopping && !socket.destroyed) say(socket, await answer(line, keys));
      for (const key of keys) key.fill(0);
      waiting -= 1;
    });
    return last;
  };

  const server = createServer((socket) => {
    if (!mayAsk(peerUid(socket))) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    readRequests(socket, keyLengthsOf, (line, keys) => answerInTurn(line, keys, socket));
  });
  server.maxConnections = CONNECTIONS_MAX;
  return {
    server,
    isBusy: () => sockets.size > 0 || waiting > 0,
    async stop() {
      stopping = true;
      server.close();
      await last;
      for (const socket of sockets) socket.destroySoon();
    },
  };
}

function say(socket: Socket, { line, key }: Reply): void {
  socket.write(`${line}\n`);
  if (key !== undefined) socket.write(key, () => key.fill(0));
}

/** One request of a connection at a time: the next has its turn when the one before has been answered. */
function readRequests(
  socket: Socket,
  keyLengthsOf: Served['keyLengthsOf'],
  answered: (line: string, keys: readonly Buffer[]) => Promise<void>,
): void {
  const inbox = new Inbox();
  let busy = false;
  /** A line whose keys are not all here yet. */
  let begun: { readonly line: string; readonly lengths: readonly number[] } | undefined;
  const next = (): void => {
    if (begun === undefined) {
      const line = inbox.takeLine();
      if (line === undefined ? inbox.length > REQUEST_BYTES_MAX : line.length > REQUEST_BYTES_MAX) {
        socket.destroy();
        return;
      }
      const lengths = line === undefined ? [] : keyLengthsOf(line);
      if (line !== undefined && lengths === undefined) {
        refuse(line);
        return;
      }
      if (line !== undefined && lengths !== undefined) begun = { line, lengths };
    }
    const keys = begun === undefined ? undefined : inbox.takeEach(begun.lengths);
    busy = keys !== undefined;
    socket.setTimeout(busy ? 0 : SILENCE_MAX_MS);
    if (begun === undefined || keys === undefined) return;
    const { line } = begun;
    begun = undefined;
    void answered(line, keys).then(next);
  };
  const refuse = (line: string): void => {
    busy = true;
    socket.removeAllListeners('data');
    inbox.wipe();
    void answered(line, []).then(() => {
      socket.destroySoon();
    });
  };
  socket.on('timeout', () => socket.destroy());
  socket.on('close', () => {
    inbox.wipe();
  });
  socket.on('data', (chunk: Buffer) => {
    inbox.add(chunk);
    if (!busy) next();
    else if (inbox.length > REQUEST_BYTES_MAX) socket.destroy();
  });
  next();
}
