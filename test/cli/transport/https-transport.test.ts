/** Goal: over the network lvp asks only whom it can trust, and tells nobody a secret. Method: as in transport.test.ts. */
import { chmodSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:http';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { buildProgram } from '../../../src/cli/program/program.ts';
import { Daemon } from '../../../src/cli/daemon.ts';
import { readCredentials, serverUrl } from '../../../src/cli/transport/credentials.ts';
import { HttpsTransport } from '../../../src/cli/transport/https-transport.ts';
import { useDaemons } from './daemons.ts';

const CLI = path.resolve(import.meta.dirname, '../../../src/cli.ts');
const daemons = useDaemons();

async function lvp(args: readonly string[], env: Record<string, string> = {}) {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [CLI, ...args], { env, reject: false });
  expect(stderr).not.toMatch(/^\s+at /m);
  return { stdout, stderr, exitCode };
}

/** By the options for it. */
function remotely(...more: readonly string[]): readonly string[] {
  const { url, server, tokenFile } = daemons;
  return ['--server', url.origin, '--server-ca', server.own.certFile, '--token-file', tokenFile, ...more];
}

describe('what lvp prints and how it ends', () => {
  it.each([
    ['list', '--json'],
    ['list'],
    ['status', 'web1', '--json'],
    ['status', 'nobody', '--json'],
    ['explain', 'web1', '--json'],
    ['annotate', 'web1', 'vda', 'images/a.raw', '--dry-run', '--json'],
    ['annotate', 'web1', 'vdz', 'images/a.raw', '--json'],
    ['retry', 'db1', '--json'],
    ['job', 'list', '--json'],
    ['job', 'status', 'nobody', '--json'],
    ['image', 'ls', '--stored', '--json'],
    ['image', 'verify', 'images/bad', '--format', 'raw', '--json'],
    ['audit', '--json'],
    ['metrics', '--json'],
  ])('is the same there and here: lvp %s %s %s %s %s %s', async (...words) => {
    const args = words.filter((word): word is string => typeof word === 'string');
    const [here, there] = await Promise.all([
      lvp([...args, '--socket', daemons.socket]),
      lvp([...remotely(), ...args]),
    ]);
    expect(there).toEqual(here);
    expect(here.stdout + here.stderr).not.toBe('');
  });

  it('is asked for by the environment as well, and a socket that is named means this host', async () => {
    const env = {
      ...{ LVP_SERVER: daemons.url.origin, LVP_SERVER_CA: daemons.server.own.certFile },
      LVP_TOKEN_FILE: daemons.tokenFile,
    };
    expect(await lvp(['list'], env)).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await lvp(['list', '--socket', '/nowhere'], env)).toMatchObject({ exitCode: 4 });
    expect(await lvp(['list', '--socket', '/nowhere', '--server', 'https://h'], {})).toMatchObject({
      exitCode: 2,
    });
  });

  it.each([
    ['setup'],
    ['doctor', '--json'],
    ['backup', '--output', '/nowhere/a.tar.gz'],
    ['incident', 'freeze'],
    ['incident', 'crypto-erase', 'vg0/web1'],
    ['key', 'rotate', 'web1', 'vda', '--to', 'file:new'],
    ['gc'],
    ['token', 'list'],
    ['config', 'check'],
    ['logs', 'web1'],
    ['handover', 'web1'],
    ['receive', '/nowhere'],
    ['image', 'write', 'images/a', '/nowhere', '--format', 'raw'],
  ])('is one clear refusal where it cannot be done from afar: lvp %s %s', async (...words) => {
    const args = words.filter((word): word is string => typeof word === 'string');
    const verb = words.slice(0, ['incident', 'key', 'token', 'config', 'image'].includes(words[0]) ? 2 : 1);
    const program = buildProgram(() => undefined);
    const done = program.parseAsync([...args, '--server', 'https://host.invalid'], { from: 'user' });
    await expect(done).rejects.toMatchObject({
      code: 'USAGE',
      message: `lvp ${verb.join(' ')} works on the host where it is called, and not over --server. Nothing was done.`,
    });
  });

  it('says in which variable the server stands, and completes and helps all the same', async () => {
    const env = { LVP_SERVER: 'https://host.invalid' };
    expect((await lvp(['gc'], env)).stderr).toContain('env -u LVP_SERVER lvp gc');
    expect(await lvp(['completion', 'bash'], env)).toMatchObject({ exitCode: 0 });
    expect(await lvp(['gc', '--help'], env)).toMatchObject({ exitCode: 0 });
  });
});

describe('whom it trusts', () => {
  const asked = (files: Parameters<typeof readCredentials>[0], url = daemons.url) =>
    new Daemon(new HttpsTransport(url, readCredentials(files))).domains();
  const own = () => ({ serverCa: daemons.server.own.certFile });

  it('is a server whose certificate proves it, whatever the environment wants', async () => {
    const stranger = daemons.server.folder.make({ subject: '/CN=stranger', isAuthority: true });
    const args = ['list', '--server', daemons.url.origin, '--token-file', daemons.tokenFile];
    for (const more of [[], ['--server-ca', stranger.certFile]]) {
      const { stderr, exitCode } = await lvp([...args, ...more], { NODE_TLS_REJECT_UNAUTHORIZED: '0' });
      expect(stderr).toMatch(/certificate/);
      expect(stderr).toContain('--server-ca FILE');
      expect(exitCode).toBe(4);
    }
    const elsewhere = new URL(daemons.url);
    elsewhere.hostname = 'localhost';
    await expect(asked(own(), elsewhere)).rejects.toThrow(/altnames|Hostname/i);
  });

  it('knows a caller by a certificate', async () => {
    const { folder, authority: by } = daemons.server;
    const admin = folder.make({ subject: '/O=Example/CN=admin', by });
    const files = { ...own(), clientCert: admin.certFile, clientKey: admin.keyFile };
    expect(await asked(files)).toHaveLength(3);
    expect(() => readCredentials({ clientCert: admin.certFile })).toThrow('of no use without --client-key');
  });

  it('tells nobody from somebody who may not', async () => {
    expect(await lvp(['list', ...remotely().slice(0, 4)])).toMatchObject({
      ...{ exitCode: 4, stdout: '' },
      stderr: expect.stringContaining('Neither a token nor a client certificate came') as string,
    });
    const reader = path.join(daemons.folder, 'reader');
    writeFileSync(reader, daemons.server.tokens.get('reader') ?? '', { mode: 0o600 });
    const refused = await lvp(['cancel', 'web1', ...remotely().slice(0, 4), '--token-file', reader]);
    expect([refused.exitCode, refused.stderr]).toEqual([
      5,
      expect.stringContaining('token:reader may not cancel'),
    ]);
  });

  it('takes no secret that others can read, and no file that holds something else', async () => {
    const { folder, tokenFile } = daemons;
    const token = daemons.server.tokens.get('all') ?? '';
    const wrong = path.join(folder, 'wrong');
    for (const [text, mode, said] of [
      [token, 0o644, 'everybody may read or write'],
      [`${token}\n${token}`, 0o600, 'does not hold a token'],
      ['', 0o600, 'does not hold a token'],
      [`${token}\u0000`, 0o600, 'does not hold a token'],
    ] as const) {
      writeFileSync(wrong, text);
      chmodSync(wrong, mode);
      const { stderr, exitCode } = await lvp(['list', ...remotely().slice(0, 4), '--token-file', wrong]);
      expect(stderr).toContain(said);
      expect(stderr).not.toContain(token.slice(-20));
      expect(exitCode).toBe(2);
    }
    expect(() => readCredentials({ tokenFile: '/nowhere' })).toThrow(
      '--token-file: /nowhere cannot be read: ENOENT.',
    );
    expect(() => readCredentials({ serverCa: tokenFile })).toThrow('does not hold a certificate in PEM');
  });

  it('follows nobody to another place', async () => {
    const seen: unknown[] = [];
    const server = createServer((request, response) => {
      seen.push(request.url);
      response.writeHead(302, { location: '/elsewhere' }).end('<html>');
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const { port } = server.address() as AddressInfo;
    await expect(asked({}, new URL(`http://127.0.0.1:${port}`))).rejects.toThrow(
      'answers with status 302, and not as a provisioner does',
    );
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
    expect(seen).toEqual(['/api/v1/domains']);
  });
});

describe('the address of a server', () => {
  it.each([
    'https://host1:8080',
    'https://[2001:db8::1]',
    'http://127.0.0.1:8080',
    'http://[::1]:1',
    'http://localhost',
  ])('may be %s', (text) => {
    expect(serverUrl(text).origin).toBe(text);
  });

  it.each([
    ...['http://host1:8080', 'http://0.0.0.0', 'http://127.0.0.1.evil.net', 'http://10.0.0.1'],
    ...[
      'host1:8080',
      'ftp://host1',
      'https://',
      'https://host1/path',
      'https://host1?a=b',
      'https://u:sesame@host1',
    ],
  ])('may not be %s', (text) => {
    expect(() => serverUrl(text)).toThrow(expect.objectContaining({ code: 'USAGE' }) as Error);
    expect(() => serverUrl(text)).not.toThrow(/sesame/);
  });
});
