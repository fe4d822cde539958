/** Lines in, lines out, one request at a time whoever asks; everything has a limit. */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { REQUEST_BYTES_MAX } from '../core/helper-protocol.ts';
import { peerUid } from '../core/peer.ts';

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

/** `mayAsk` is given the user at the other end, undefined if the kernel does not tell: whoever may not is hung up on. */
export function serveLines(
  answer: (line: string) => Promise<string>,
  mayAsk: (uid: number | undefined) => boolean,
): Connections {
  const sockets = new Set<Socket>();
  let stopping = false;
  let waiting = 0;
  /** The chain of requests: each one begins when the one before has been answered. */
  let last: Promise<void> = Promise.resolve();

  const answerInTurn = (line: string, socket: Socket): Promise<void> => {
    waiting += 1;
    last = last.then(async () => {
      // Who has hung up before its turn does not want the thing done any more.
      if (!stopping && !socket.destroyed) socket.write(`${await answer(line)}\n`);
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
    readLines(socket, (line) => answerInTurn(line, socket));
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

/** One line of a connection at a time: the next has its turn when the one before has been answered. */
function readLines(socket: Socket, answered: (line: string) => Promise<void>): void {
  let pending = Buffer.alloc(0);
  let busy = false;
  const next = (): void => {
    const end = pending.indexOf(0x0a);
    if (end > REQUEST_BYTES_MAX || (end < 0 && pending.length > REQUEST_BYTES_MAX)) {
      socket.destroy();
      return;
    }
    busy = end >= 0;
    socket.setTimeout(busy ? 0 : SILENCE_MAX_MS);
    if (!busy) return;
    const line = pending.subarray(0, end).toString('utf8');
    pending = pending.subarray(end + 1);
    void answered(line).then(next);
  };
  socket.on('timeout', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    if (!busy) next();
    else if (pending.length > REQUEST_BYTES_MAX) socket.destroy();
  });
  next();
}
