/** Goal: each reference goes to the provider that it names, and what is no key is wiped and refused. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { probeKeyServer } from '../../../src/adapters/key/probe.ts';
import { KeyProviders } from '../../../src/adapters/key/providers.ts';
import type { BarbicanSettings } from '../../../src/core/settings/key-settings.ts';
import type { FakeUser } from '../fake-key-server.ts';
import { FakeKeyServer } from '../fake-key-server.ts';

const never = new AbortController().signal;
const NONE = { recheckMs: 60_000, barbican: undefined };

function filesWith(text: string) {
  const bytes = Buffer.from(text);
  const readKey = (name: string) => {
    asked.push(name);
    return Promise.resolve({ bytes, wipe: () => void bytes.fill(0) });
  };
  const asked: string[] = [];
  return { bytes, asked, readKey };
}

describe('keys of files', () => {
  test('are asked of the helper by their name', async () => {
    const files = filesWith('x'.repeat(64));
    const key = await new KeyProviders(NONE, files).read({ provider: 'file', id: 'web1-vda' }, never);
    expect([files.asked, key.bytes.toString()]).toEqual([['web1-vda'], 'x'.repeat(64)]);
  });

  test('what is none is wiped and refused, and so is what nobody waits for any more', async () => {
    const short = filesWith('x'.repeat(31));
    const read = new KeyProviders(NONE, short).read({ provider: 'file', id: 'a' }, never);
    await expect(read).rejects.toMatchObject({ code: 'KEY_UNUSABLE' });
    expect(short.bytes.every((byte) => byte === 0)).toBe(true);

    const good = filesWith('x'.repeat(64));
    const end = new AbortController();
    const late = new KeyProviders(NONE, good).read({ provider: 'file', id: 'a' }, end.signal);
    end.abort(new Error('over'));
    await expect(late).rejects.toThrow('over');
    expect(good.bytes.every((byte) => byte === 0)).toBe(true);
  });
});

test('a host without a key server says what it lacks', async () => {
  const id = '5a7a2d9e-95d3-4a3c-bb6e-6e1c2b2f8f60';
  const read = new KeyProviders(NONE, filesWith('')).read({ provider: 'barbican', id }, never);
  await expect(read).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

describe('what the doctor is told of the key server', () => {
  let server: FakeKeyServer;
  let host: FakeUser;
  beforeEach(async () => {
    server = new FakeKeyServer();
    await server.start();
    host = server.addUser('hosta');
  });
  afterEach(async () => {
    await server.stop();
  });
  const settings = (changed: Partial<BarbicanSettings> = {}): BarbicanSettings => ({
    ...{ url: server.url, authUrl: server.authUrl, ca: server.authority.cert },
    applicationCredentialId: host.credentialId,
    applicationCredentialSecret: { reveal: () => host.credentialSecret },
    ...changed,
  });

  test('certificates and identity, without a key being read', async () => {
    server.addSecret(host, Buffer.from('x'.repeat(64)), [host]);
    const { certificates, identity } = await probeKeyServer(settings());
    expect(certificates.map(({ server: name, mistake }) => [name, mistake])).toEqual([
      [server.authUrl.host, undefined],
      [server.url.host, undefined],
    ]);
    for (const { expiresMs } of certificates) expect(expiresMs).toBeGreaterThan(Date.now());
    expect(identity).toEqual({ userId: host.id });
    const [id] = server.secrets.keys();
    expect(server.seen.barbican.filter(({ line }) => line.includes(id ?? '-'))).toEqual([]);
  });

  test('a certificate that is not trusted: the identity is not shown to it', async () => {
    const { certificates, identity } = await probeKeyServer(settings({ ca: undefined }));
    expect(certificates.every(({ mistake }) => mistake !== undefined)).toBe(true);
    expect([identity, server.seen.keystone]).toEqual([undefined, []]);
  });

  test('an identity that is refused, by one or the other', async () => {
    const applicationCredentialSecret = { reveal: () => 'wrong' };
    const refused = await probeKeyServer(settings({ applicationCredentialSecret }));
    expect(refused.identity).toEqual({
      mistake: expect.stringContaining('refuses the identity') as string,
    });
    server.misbehaves.barbican = (_request, response) => {
      response.writeHead(401).end();
      return true;
    };
    expect((await probeKeyServer(settings())).identity).toEqual({
      mistake: expect.stringContaining('does not accept the identity') as string,
    });
  });
});
