/**
 * The gate's unix socket: the qemu hook posts a domain's XML and learns whether it may start. HTTP, because
 * curl speaks it from a shell script and node:http brings the limits. As nobody but root may open it, keys that
 * root has changed are handed over here as well.
 *
 *   POST /admit/{prepare|migrate|restore}   204 allowed | 403 refused | 503 cannot tell, with the reason as text
 *   POST /reload                            ReloadRequest → ReloadResult, or {"error": Problem} with status 409
 *
 * After any other answer than 204 and 403 the hook decides by the seals alone, as if nobody were there.
 */
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { XML_BYTES_MAX } from '../core/protocol/control-protocol.ts';
import type { Problem } from '../core/errors.ts';
import { describeProblem, toProblem } from '../core/errors.ts';
import { hookWaitSeconds } from '../core/gate-time.ts';
import { ReloadRequest } from '../core/protocol/reload-protocol.ts';
import type { ReloadResult } from '../core/protocol/reload-protocol.ts';
import type { Log } from '../provision/ports/host.ts';
import type { AdmitAnswer, GateOperation } from '../provision/ports/verbs.ts';
import { boundedText } from '../core/bounded-text.ts';

/** More starts at once than libvirt has worker threads for. */
const CONNECTIONS_MAX = 64;

export interface GateSocket {
  close(): Promise<void>;
}

/**
 * Listens on RUNTIME_DIR/gate.sock, for root alone, and writes the longest time an answer may take to
 * RUNTIME_DIR/gate-seconds for the hook to read.
 */
export async function openGateSocket(options: {
  readonly runtimeDir: string;
  readonly graceMs: number;
  readonly admit: (operation: GateOperation, xml: string) => Promise<AdmitAnswer>;
  readonly reload: (request: ReloadRequest) => Promise<ReloadResult>;
  readonly log: Log;
}): Promise<GateSocket> {
  const path = join(options.runtimeDir, 'gate.sock');
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      const problem = toProblem(error);
      options.log.error(
        { problem, ...(problem.code === 'INTERNAL' ? { err: error } : {}) },
        'the gate cannot tell',
      );
      endWithText(response, 503, [problem]);
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  rmSync(path, { force: true });
  await listen(server, path);
  chmodSync(path, 0o600);
  const seconds = hookWaitSeconds(options.graceMs);
  writeFileSync(join(options.runtimeDir, 'gate-seconds'), `${seconds}\n`, { mode: 0o644 });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function answer(
  options: Parameters<typeof openGateSocket>[0],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method === 'POST' && request.url === '/reload') {
    await answerReload(options.reload, request, response);
    return;
  }
  const operation = /^\/admit\/(prepare|migrate|restore)$/.exec(request.url ?? '')?.[1] as
    GateOperation | undefined;
  if (request.method !== 'POST' || operation === undefined) {
    response.writeHead(404).end();
    return;
  }
  const xml = await boundedText(request, XML_BYTES_MAX);
  if (xml === undefined) {
    response.writeHead(413).end();
    return;
  }
  const { allowed, problems } = await options.admit(operation, xml);
  if (allowed) response.writeHead(204).end();
  else endWithText(response, 403, problems);
}

async function answerReload(
  reload: (request: ReloadRequest) => Promise<ReloadResult>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const end = (status: number, body: object) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  try {
    end(
      200,
      await reload(ReloadRequest.parse(JSON.parse((await boundedText(request, XML_BYTES_MAX)) ?? ''))),
    );
  } catch (error) {
    end(409, { error: toProblem(error) });
  }
}

function endWithText(response: ServerResponse, status: number, problems: readonly Problem[]): void {
  const text = problems.map(describeProblem).join(' ');
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(text);
}
