/** Goal: what could not be offered safely is not offered at all, and it is said why. */
import { X509Certificate } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { readKeyFiles } from '../../../src/adapters/http-api/key-files.ts';
import { makeToken } from '../../../src/adapters/http-api/token-file.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { HttpSettings } from '../../../src/core/settings/http-settings.ts';
import { containing, matching, TestServer } from './server.ts';

const DAY_MS = 86_400_000;
const server = new TestServer();
beforeAll(async () => {
  await server.writeTokens('all');
});
afterAll(() => {
  server.folder.remove();
});

/** Why it is refused, without names of folders. */
function mistakes(change: Partial<HttpSettings>, laterMs = 0): string[] {
  try {
    readKeyFiles({ ...server.settings, ...change }, Date.now() + laterMs);
  } catch (error) {
    if (!(error instanceof ProvisionError) || error.code !== 'CONFIG_INVALID') throw error;
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim().replaceAll(`${server.folder.path}/`, ''));
  }
  return [];
}

let files = 0;
function file(text: string, mode = 0o600): string {
  files += 1;
  const path = join(server.folder.path, `file-${files}`);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const tls = () => ({ certFile: server.own.certFile, keyFile: server.own.keyFile });

it('a sound set-up is accepted', () => {
  expect(mistakes({})).toEqual([]);
  expect(mistakes({ tls: tls() })).toEqual([]);
});

describe('a key', () => {
  it.each([0o604, 0o644, 0o660, 0o700])('of mode %o is refused', (mode) => {
    expect(mistakes({ tls: { ...tls(), keyFile: file(server.own.key, mode) } })).toEqual([
      matching(/^http\.tls\.key_file: file-\d+ has mode \d+; allowed is 0600 or 0640$/),
    ]);
  });

  it('of RSA with less than 2048 bits is refused', () => {
    const { certFile, keyFile } = server.folder.make({ subject: '/CN=weak', newkey: 'rsa:1024' });
    expect(mistakes({ tls: { certFile, keyFile } })).toEqual([containing('is RSA of 1024 bits')]);
  });

  it('of another certificate is refused', () => {
    const other = server.folder.make({ subject: '/CN=other' });
    expect(mistakes({ tls: { ...tls(), keyFile: other.keyFile } })).toEqual([
      containing('is not the key of the certificate'),
    ]);
  });

  it('that is none is refused, and not shown', () => {
    expect(mistakes({ tls: { ...tls(), keyFile: file('SECRET') } })).toEqual([
      matching(/holds no private key in PEM form without a passphrase$/),
    ]);
  });
});

describe('a certificate', () => {
  it('that has expired, or is not valid yet, is refused', () => {
    expect(mistakes({ tls: tls() }, 61 * DAY_MS)).toEqual([containing('has expired on')]);
    expect(mistakes({ tls: tls() }, -DAY_MS)).toEqual([containing('is not valid before')]);
  });

  it('that ends soon is warned of', () => {
    const settings = { ...server.settings, tls: tls() };
    expect(readKeyFiles(settings, Date.now()).warnings).toEqual([]);
    expect(readKeyFiles(settings, Date.now() + 50 * DAY_MS).warnings).toEqual([containing('ends on')]);
  });

  it('that is none, or is not there, is refused', () => {
    expect(mistakes({ tls: { ...tls(), certFile: file('x') } })).toEqual([
      containing('holds no certificate in PEM form'),
    ]);
    expect(mistakes({ tls: { ...tls(), certFile: '/nowhere' } })).toEqual([
      'http.tls.cert_file: /nowhere cannot be read: ENOENT',
    ]);
  });

  it('that others may write is refused', () => {
    expect(mistakes({ tls: { ...tls(), certFile: file(server.own.cert, 0o666) } })).toEqual([
      containing('allowed is no writing by group and others'),
    ]);
  });

  it('of an authority must be one, and be valid', () => {
    expect(mistakes({ tls: { ...tls(), clientCaFile: server.own.certFile } })).toEqual([
      containing('which is no authority'),
    ]);
    expect(mistakes({}, 61 * DAY_MS)).toHaveLength(2);
  });
});

describe('tokens', () => {
  it.each([0o640, 0o644])('in a file of mode %o are refused', (mode) => {
    expect(mistakes({ tokensFile: file('', mode) })).toEqual([containing('allowed is 0600')]);
  });

  it('in an empty file are refused, unless there is an authority for certificates', () => {
    expect(mistakes({ tls: tls(), tokensFile: file('# none\n') })).toEqual([containing('is empty')]);
    expect(mistakes({ tokensFile: file('') })).toEqual([]);
  });

  it('as they are, as the Go provisioner had them, are refused and not repeated', () => {
    const plain = `dev-token-12345\n${makeToken('x')}\nname:${'ab'.repeat(32)}\n`;
    const found = mistakes({ tokensFile: file(plain) });
    expect(found).toHaveLength(3);
    expect(found.join()).not.toMatch(/dev-token|abab/);
  });

  it('twice under one name are refused', () => {
    const [line] = [
      'all:$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
    ];
    expect(mistakes({ tokensFile: file(`${line}\n${line}\n`) })).toEqual([containing('a second time')]);
  });
});

it('everything wrong is said at once', () => {
  expect(
    mistakes({ tls: { certFile: '/a', keyFile: '/b', clientCaFile: '/c' }, tokensFile: '/d' }),
  ).toHaveLength(4);
});

it('the API does not open on a weak set-up', async () => {
  await expect(server.open({ tokensFile: '/nowhere' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

it('on all addresses it listens without asking which ones there are, which the unit does not allow', async () => {
  const asked = vi.spyOn(os, 'networkInterfaces').mockImplementation(() => {
    throw new Error('no netlink socket');
  });
  try {
    await server.open({ host: '0.0.0.0', tls: tls() });
    expect((await server.call('GET', '/health')).status).toBe(200);
  } finally {
    await server.close();
    asked.mockRestore();
  }
});

it('whoever wants to know is told when certificates end', async () => {
  const told: unknown[] = [];
  await server.open({}, { onExpiry: (...expiry) => told.push(expiry) });
  await server.close();
  const endOf = (pem: string) => Date.parse(new X509Certificate(pem).validTo);
  expect(told).toEqual([
    ['server-certificate', endOf(server.own.cert)],
    ['ca-certificate', endOf(server.authority.cert)],
  ]);
});
