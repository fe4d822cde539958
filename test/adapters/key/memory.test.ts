/**
 * Goal: once a key has been used and wiped, no copy of it is left in the process that read it, neither where our code can
 * see one nor in what Node and OpenSSL need to bring it. Method: a process that reads it, of which all memory is searched.
 */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeKeyServer } from '../fake-key-server.ts';
import type { ReaderTask } from './reader.ts';
import { placesInMemory } from '../process-memory.ts';

const READER = join(import.meta.dirname, 'reader.ts');

let folder: string;
let key: Buffer;
let server: FakeKeyServer;
let helper: Server;
let heard: Buffer[];
let reader: ChildProcessWithoutNullStreams;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-memory-'));
  server = new FakeKeyServer();
  // As lvp key create makes one.
  key = Buffer.from(randomBytes(64).toString('base64'));
  heard = [];
  helper = createServer((socket) => {
    socket.on('data', (chunk) => {
      heard.push(chunk);
      const all = Buffer.concat(heard);
      if (all.includes('"readKey"')) {
        socket.write(`${JSON.stringify({ ok: true, result: { keyLength: key.length } })}\n`);
        socket.write(key);
        heard = [];
      } else if (all.includes(key))
        socket.write(`${JSON.stringify({ ok: true, result: { sizeBytes: 1 << 20 } })}\n`);
    });
  }).listen(join(folder, 'helper'));
  await once(helper, 'listening');
  reader = spawn(process.execPath, [READER], { stdio: 'pipe' });
  reader.stderr.pipe(process.stderr);
});
afterEach(async () => {
  reader.kill('SIGKILL');
  await once(reader, 'close');
  helper.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** Has it take the next step. */
async function step(line: string, says: string): Promise<void> {
  const said = once(reader.stdout, 'data');
  reader.stdin.write(`${line}\n`);
  expect(String(await said)).toBe(`${says}\n`);
}

async function barbican(): Promise<ReaderTask> {
  await server.start();
  const host = server.addUser('host');
  const { id } = server.addSecret(server.addUser('owner'), key, [host]);
  return {
    reference: { provider: 'barbican', id },
    socket: join(folder, 'helper'),
    barbican: {
      ...{ url: server.url.href, authUrl: server.authUrl.href, ca: server.authority.cert },
      ...{ credentialId: host.credentialId, credentialSecret: host.credentialSecret },
    },
  };
}

const file = (): ReaderTask => ({
  ...{ reference: { provider: 'file', id: 'web1-vda' }, socket: join(folder, 'helper') },
  barbican: undefined,
});

describe('a key that was handed on and wiped is nowhere in the memory of who read it', () => {
  it.each<[string, () => ReaderTask | Promise<ReaderTask>]>([
    ['out of Barbican, over TLS 1.3', barbican],
    [
      // So that it stands far behind in OpenSSL's memory, of which the next to use it needs the beginning alone.
      'out of Barbican, over TLS 1.2, behind a proxy with much to say',
      () => {
        server.tls = { maxVersion: 'TLSv1.2' };
        server.misbehaves.barbican = (_request, response) => {
          response.setHeader('x-proxy', 'x'.repeat(12_000));
          return false;
        };
        return barbican();
      },
    ],
    [
      'out of a Barbican on this machine, in the clear',
      () => {
        server.tls = undefined;
        return barbican();
      },
    ],
    ['out of a file, from the helper', file],
  ])('%s', async (_from, begin) => {
    await step(JSON.stringify(await begin()), 'read');
    const { pid = expect.fail('it does not run') } = reader;
    // So it would be found.
    expect(placesInMemory(pid, key)).not.toEqual([]);
    await step('', 'wiped');
    await expect.poll(() => placesInMemory(pid, key), { timeout: 30_000, interval: 100 }).toEqual([]);
  });
});
