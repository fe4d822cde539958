/**
 * The root helper: `node src/helper/main.ts [--config FILE]`, started by systemd when somebody connects to
 * libvirt-volume-provisioner-helper.socket, and gone again a minute after the last request.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { describeProblem, ProvisionError, toProblem } from '../core/errors.ts';
import { keyLengthsOf } from '../core/protocol/helper-protocol.ts';
import { CONFIG_PATH } from '../core/settings/config-path.ts';
import type { Connections } from './connections.ts';
import { serveLines } from './connections.ts';
import { luks } from './cryptsetup.ts';
import { devices, serviceUid } from './devices.ts';
import { ConfiguredGroups } from './groups.ts';
import { keyFiles } from './key-files.ts';
import { lvm } from './lvm.ts';
import type { Reply } from './requests.ts';
import { answer } from './requests.ts';

/** The first file descriptor that systemd passes: man 3 sd_listen_fds. */
const LISTEN_FD = 3;
/** Longer than the daemon's usual pause between two looks at everything, so that it mostly meets a warm helper. */
const IDLE_MAX_MS = 300_000;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string', default: CONFIG_PATH } } });
  checkActivation();
  const groups = new ConfiguredGroups(values.config);
  const tools = { lvm, devices, luks, keyFiles, pause: (durationMs: number) => pause(durationMs) };
  const connections = serveLines({
    answer: (line, keys) => answerLogged(line, () => answer(line, tools, () => groups.read(), keys)),
    keyLengthsOf,
    mayAsk: onlyFor([0, await serviceUid()]),
  });
  connections.server.on('error', (error) => {
    say(`cannot listen: ${error.message}`);
    process.exit(1);
  });
  connections.server.listen({ fd: LISTEN_FD });
  process.on('SIGTERM', () => {
    connections.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
  exitWhenIdle(connections);
}

function checkActivation(): void {
  if (process.env['LISTEN_FDS'] === '1' && process.env['LISTEN_PID'] === String(process.pid)) return;
  throw new ProvisionError({
    code: 'USAGE',
    message: 'The helper is not started by hand: it wants its socket from systemd.',
    hint: 'systemctl start libvirt-volume-provisioner-helper.socket; whoever connects to it starts the helper.',
  });
}

/** The socket's mode lets nobody else in; should it ever be another one, this still does not. */
function onlyFor(uids: readonly number[]): (uid: number | undefined) => boolean {
  return (uid) => {
    const may = uid !== undefined && uids.includes(uid);
    if (!may)
      say(`refused: unauthorized, the caller is uid ${uid ?? 'unknown'}, not one of ${uids.join(', ')}`);
    return may;
  };
}

/** Who connects at this very moment is not lost: systemd holds the socket, and starts the helper again. */
function exitWhenIdle(connections: Connections): void {
  let idleSinceMs = performance.now();
  setInterval(() => {
    if (connections.isBusy()) idleSinceMs = performance.now();
    else if (performance.now() - idleSinceMs > IDLE_MAX_MS) process.exit(0);
  }, 1000);
}

/** The journal says what root has done for whom, and how it ended. Requests hold no secrets; what is none might. */
async function answerLogged(line: string, answerLine: () => Promise<Reply>): Promise<Reply> {
  const startedMs = performance.now();
  const reply = await answerLine();
  if (line.includes('"list"') && reply.line.startsWith('{"ok":true')) return reply;
  const durationMs = Math.round(performance.now() - startedMs);
  const asked = keyLengthsOf(line) === undefined ? 'no request' : line.slice(0, 1000);
  say(`${asked} -> ${reply.line.slice(0, 1000)} after ${durationMs} ms`);
  return reply;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

main().catch((error: unknown) => {
  say(describeProblem(toProblem(error)));
  process.exit(1);
});
