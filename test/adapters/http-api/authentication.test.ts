/** Goal: only who is known gets in, does only what is allowed to them, and nobody's guessing is in anybody's way. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Agent, request as tlsRequest } from 'node:https';
import { renameSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:tls';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { isSubject } from '../../../src/adapters/http-api/callers.ts';
import { makeToken } from '../../../src/adapters/http-api/token-file.ts';
import { openLog } from '../../../src/adapters/log.ts';
import { silent } from '../../cli/fake-verbs.ts';
import { A_TEXT, containing, PROVISION, TestServer, clock } from './server.ts';

const server = new TestServer();
const admin = server.folder.make({ subject: '/O=Example/CN=admin', by: server.authority });
const ci = server.folder.make({ subject: '/O=Whatever/CN=ci', by: server.authority });
const unlisted = server.folder.make({ subject: '/CN=nobody', by: server.authority });
const stranger = server.folder.make({ subject: '/O=Example/CN=admin' });
beforeAll(async () => {
  await server.writeTokens('all', 'reader', 'ci', 'unlisted');
});
beforeEach(() => {
  server.audited.length = 0;
});
afterEach(async () => {
  vi.useRealTimers();
  await server.close();
});
afterAll(() => {
  server.folder.remove();
});

const tokenOf = (name: string) => server.tokens.get(name) ?? '';

describe('tokens', () => {
  beforeEach(() => server.open());

  it('come as X-API-Token and as Authorization: Bearer', async () => {
    const bearer = { token: undefined, headers: { authorization: `Bearer ${tokenOf('all')}` } };
    expect((await server.call('GET', '/api/v1/jobs', bearer)).status).toBe(200);
    expect((await server.call('GET', '/api/v1/jobs')).status).toBe(200);
  });

  it.each([
    ['none', undefined],
    ['an empty one', ''],
    ['one of a name that nobody has', makeToken('mallory')],
    ['one of a known name', makeToken('all')],
    ['a name alone', 'all.'],
    ['what the Go provisioner takes without a file', 'dev-token-12345'],
  ])('are refused: %s', async (_what, token) => {
    const { status, body, headers } = await server.call('GET', '/api/v1/jobs', { token });
    expect([status, body]).toMatchObject([401, { code: 'UNAUTHORIZED', status: 401 }]);
    expect(headers).toMatchObject({
      'www-authenticate': containing('Bearer'),
      connection: 'close',
    });
    expect(server.audited).toMatchObject([{ who: 'unknown', decision: 'unauthorized', outcome: 'refused' }]);
  });

  it('are refused in the words of the Go provisioner on its routes', async () => {
    const { status, body } = await server.call('POST', '/api/v1/provision', { token: 'x', body: PROVISION });
    expect([status, body]).toMatchObject([401, { error: 'authentication required', code: 401 }]);
    expect(server.jobs.count).toBe(0);
  });

  it('count even where a trusted certificate comes along', async () => {
    expect((await server.call('GET', '/api/v1/jobs', { client: admin, token: 'wrong' })).status).toBe(401);
  });
});

describe('client certificates', () => {
  beforeEach(() => server.open());

  it('are known by their whole subject or their common name', async () => {
    expect((await server.call('GET', '/api/v1/jobs', { client: admin })).status).toBe(200);
    expect((await server.call('GET', '/api/v1/jobs', { client: ci })).status).toBe(200);
    const { status, text } = await server.call('POST', '/api/v1/provision', {
      client: admin,
      body: PROVISION,
    });
    expect(status, text).toBe(202);
    expect(server.audited).toMatchObject([{ who: 'certificate:O=Example,CN=admin', decision: 'allowed' }]);
  });

  it('are refused when another authority has made them', async () => {
    const { status, body } = await server.call('GET', '/api/v1/jobs', { client: stranger });
    expect([status, body]).toMatchObject([401, { detail: containing('is not trusted here') }]);
  });

  it('may do nothing when the configuration does not name them', async () => {
    const { status, body } = await server.call('GET', '/api/v1/jobs', { client: unlisted });
    expect([status, body]).toMatchObject([403, { code: 'FORBIDDEN' }]);
    expect(server.audited).toMatchObject([
      { who: 'certificate:CN=nobody', decision: 'denied', outcome: 'refused' },
    ]);
  });

  it.each([
    ['ci', ['CN=ci'], true],
    ['ci', ['O=Example', 'CN=ci'], true],
    ['ci', ['CN=ci', 'CN=other'], false],
    ['ci', ['CN=ci2'], false],
    ['CN=ci', ['O=Example', 'CN=ci'], false],
    ['CN = ci, O = Example', ['O=Example', 'CN=ci'], true],
    ['O=Example,CN=ci', ['O=Example', 'CN=ci'], true],
    ['O=Ex\\,ample,CN=ci', ['O=Ex\\,ample', 'CN=ci'], true],
  ])('%s is the subject %j: %j', (wanted, subject, is) => {
    expect(isSubject(wanted, subject)).toBe(is);
  });
});

describe('rights', () => {
  beforeEach(() => server.open());

  it('allow a reader to read and nothing else', async () => {
    const token = tokenOf('reader');
    const { id } = await server.jobs.start({ image: 'b/k', format: 'raw', volume: 'v' }, 'test');
    expect((await server.call('GET', `/api/v1/jobs/${id}`, { token })).status).toBe(200);
    for (const [method, path, body] of [
      ['POST', '/api/v1/provision', PROVISION],
      ['POST', '/api/v1/jobs', { image: 'b/k', format: 'raw', volume: 'v' }],
      ['DELETE', `/api/v1/cancel/${id}`],
      ['POST', `/api/v1/jobs/${id}/cancel`],
      ['POST', `/api/v1/jobs/${id}/retry`],
      ['POST', '/api/v1/domains/web1/retry', {}],
      ['POST', '/api/v1/domains/web1/reprovision', { target: 'vda' }],
    ] as const) {
      expect([path, (await server.call(method, path, { token, body })).status]).toEqual([path, 403]);
    }
    expect((await server.jobs.job(id)).state).toBe('pending');
    expect(server.domains.calls).toEqual([]);
    expect(server.audited.map(({ decision }) => decision)).toEqual(Array(7).fill('denied'));
  });

  it('a token that is not listed may do nothing', async () => {
    expect((await server.call('GET', '/api/v1/jobs', { token: tokenOf('unlisted') })).status).toBe(403);
  });

  it('end where the names of volumes begin otherwise', async () => {
    const token = tokenOf('ci');
    const begin = (volume_name: string) =>
      server.call('POST', '/api/v1/provision', { token, body: { ...PROVISION, volume_name } });
    expect((await begin('ci-1')).status).toBe(202);
    expect((await begin('web1-root')).status).toBe(403);
    const job = { image: 'b/k', format: 'raw', volume: 'other' } as const;
    expect((await server.call('POST', '/api/v1/jobs', { token, body: job })).status).toBe(403);
    const { id } = await server.jobs.start(job, 'test');
    expect((await server.call('DELETE', `/api/v1/cancel/${id}`, { token })).status).toBe(403);
    expect((await server.call('POST', `/api/v1/jobs/${id}/cancel`, { token })).status).toBe(403);
    for (const verb of ['retry', 'reprovision']) {
      const body = verb === 'retry' ? {} : { target: 'vda' };
      expect((await server.call('POST', `/api/v1/domains/web1/${verb}`, { token, body })).status).toBe(403);
    }
    expect((await server.jobs.job(id)).state).toBe('pending');
    expect(server.domains.calls).toEqual([]);
  });
});

describe('limits', () => {
  it('a second has so many requests of one identity, and others are not in their way', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    await server.open({ requestsPerSecondMax: 3 });
    const status = async (token = tokenOf('all')) =>
      (await server.call('GET', '/api/v1/jobs', { token })).status;
    expect([await status(), await status(), await status(), await status(), await status()]).toEqual([
      ...[200, 200, 200, 429, 429],
    ]);
    expect(await status(tokenOf('reader'))).toBe(200);
    const refused = await server.call('GET', '/api/v1/jobs');
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.body).toMatchObject({ code: 'RATE_LIMITED' });
    // The first is told, not every one.
    expect(server.audited.filter(({ decision }) => decision === 'denied')).toHaveLength(1);
    vi.setSystemTime(Date.now() + 1_001);
    expect(await status()).toBe(200);
  });

  it('a minute has so many failures of one address; whoever was known before is not held up by them', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    await server.open({ failuresPerMinuteMax: 3 });
    const status = async (token?: string) => (await server.call('GET', '/api/v1/jobs', { token })).status;
    expect(await status(tokenOf('all'))).toBe(200);
    expect([await status('x'), await status(), await status(makeToken('all'))]).toEqual([401, 401, 429]);
    // Not even its hash is worked out now.
    expect(await status(tokenOf('reader'))).toBe(429);
    expect(await status(tokenOf('all'))).toBe(200);
    expect((await server.call('GET', '/api/v1/jobs', { client: admin })).status).toBe(200);
    vi.setSystemTime(Date.now() + 60_001);
    expect(await status(tokenOf('reader'))).toBe(200);
  });

  it('whoever goes on failing waits for each refusal, and nobody else does', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const slept: number[] = [];
    const sleep = (durationMs: number) => {
      slept.push(durationMs);
      return Promise.resolve();
    };
    await server.open({ failuresPerMinuteMax: 1 }, { clock: { ...clock, sleep } });
    const status = async (token: string) => (await server.call('GET', '/api/v1/jobs', { token })).status;
    expect([await status(tokenOf('all')), slept]).toEqual([200, []]);
    expect([await status('x'), await status('x'), slept]).toEqual([429, 429, [250, 250]]);
    expect([await status(tokenOf('all')), slept]).toEqual([200, [250, 250]]);
  });

  it('who hangs up while a token is checked is forgotten, and that is no defect', async () => {
    const arrived: IncomingMessage[] = [];
    const onRequest = (message: unknown) => arrived.push((message as { request: IncomingMessage }).request);
    subscribe('http.server.request.start', onRequest);
    const errors: string[] = [];
    const log = { ...silent, error: (_fields: object, message: string) => errors.push(message) };
    const { url } = await server.open({}, { log });
    // Whose hashes are worked out before that of the one in question.
    const guesses = Array.from({ length: 20 }, () => makeToken('all'));
    const token = makeToken('all');
    const answers = [...guesses, token].map((one) => server.call('GET', '/api/v1/jobs', { token: one }));
    await expect.poll(() => arrived.length).toBe(21);
    const options = { rejectUnauthorized: false, agent: false, headers: { 'x-api-token': token } };
    const sent = tlsRequest(new URL('/api/v1/jobs', url), options);
    sent.on('error', () => undefined);
    sent.end();
    await expect.poll(() => arrived.length).toBe(22);
    unsubscribe('http.server.request.start', onRequest);
    sent.destroy();
    await expect.poll(() => arrived.at(-1)?.socket.destroyed).toBe(true);
    expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([401]));
    expect(errors).toEqual([]);
  });

  it('a client that opens all its connections at once is let in by its token on each of them', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    await server.open({ failuresPerMinuteMax: 3 });
    const statuses = async (token: string) => {
      const all = Array.from({ length: 20 }, () => server.call('GET', '/api/v1/jobs', { token }));
      return (await Promise.all(all)).map(({ status }) => status);
    };
    expect(new Set(await statuses(tokenOf('all')))).toEqual(new Set([200]));
    // A wrong one fails on each of them.
    const failed = await statuses(makeToken('all'));
    expect(failed.filter((status) => status === 401).length).toBeLessThanOrEqual(3);
    expect(new Set(failed)).toEqual(new Set([401, 429]));
  });

  it('routes without authentication have them too', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    await server.open({ requestsPerSecondMax: 1 });
    expect((await server.call('GET', '/health', { token: undefined })).status).toBe(200);
    expect((await server.call('GET', '/health', { token: undefined })).status).toBe(429);
  });

  it('of bodies, headers and connections hold', async () => {
    await server.open({ connectionsMax: 1 });
    const long = { ...PROVISION, padding: 'x'.repeat(70_000) };
    expect((await server.call('POST', '/api/v1/provision', { body: long })).status).toBe(413);
    const headers = { 'x-long': 'x'.repeat(20_000) };
    expect((await server.call('GET', '/health', { headers })).status).toBe(431);
    const { port, hostname: host } = server.api.url;
    const held = connect({ host, port: Number(port), rejectUnauthorized: false });
    await once(held, 'secureConnect');
    await expect(server.call('GET', '/health')).rejects.toThrow();
    held.destroy();
  });
});

describe('connections', () => {
  it('are TLS 1.2 or newer, and never plain', async () => {
    await server.open();
    const { port, hostname: host } = server.api.url;
    const old = connect({
      ...{ host, port: Number(port), rejectUnauthorized: false, ciphers: 'DEFAULT@SECLEVEL=0' },
      ...{ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' },
    });
    await expect(once(old, 'secureConnect')).rejects.toThrow();
    await expect(fetch(`http://${host}:${port}/health`)).rejects.toThrow();
  });

  it('have headers that keep browsers from doing anything with the answers', async () => {
    await server.open();
    expect((await server.call('GET', '/health')).headers).toMatchObject({
      ...{ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' },
      'content-security-policy': containing("default-src 'none'"),
      'strict-transport-security': containing('max-age='),
      'x-request-id': A_TEXT,
    });
  });
});

describe('a change of the files', () => {
  it('of tokens counts from then on, also for those that were known', async () => {
    await server.open();
    const status = async (name: string) =>
      (await server.call('GET', '/api/v1/jobs', { token: tokenOf(name) })).status;
    expect(await status('all')).toBe(200);
    await server.writeTokens('reader', 'ci');
    server.api.reload();
    expect(await status('all')).toBe(401);
    expect(await status('reader')).toBe(200);
    await server.writeTokens('all', 'reader', 'ci', 'unlisted');
    server.api.reload();
    expect(await status('all')).toBe(200);
  });

  it('is noticed without being told of it', async () => {
    await server.open({}, { lookMs: 20 });
    const replaced = `${server.tokensFile}.new`;
    const before = server.tokensFile;
    expect((await server.call('GET', '/api/v1/jobs')).status).toBe(200);
    writeFileSync(replaced, '# nobody\n', { mode: 0o600 });
    renameSync(replaced, before);
    await vi.waitFor(async () => {
      expect((await server.call('GET', '/api/v1/jobs')).status).toBe(401);
    }, 30_000);
    await server.writeTokens('all', 'reader', 'ci', 'unlisted');
    await vi.waitFor(async () => {
      expect((await server.call('GET', '/api/v1/jobs')).status).toBe(200);
    }, 30_000);
  });

  it('of certificates counts for new connections, and ends those that wait', async () => {
    const { certFile, keyFile, cert, key } = server.own;
    await server.open();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const peer = async () => {
      const { port, hostname: host } = server.api.url;
      const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const before = await peer();
    expect((await server.call('GET', '/health', { agent })).status).toBe(200);
    const [waiting] = Object.values(agent.freeSockets).flat();
    const ended = waiting && once(waiting, 'close');
    const next = server.folder.make({ subject: '/CN=lvp2' });
    writeFileSync(certFile, next.cert);
    writeFileSync(keyFile, next.key);
    server.api.reload();
    await ended;
    expect(waiting).toBeDefined();
    expect(await peer()).not.toBe(before);
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    agent.destroy();
  });

  it('of the client authority shuts out whoever came by the one before', async () => {
    const { certFile, cert } = server.authority;
    await server.open();
    expect((await server.call('GET', '/api/v1/jobs', { client: admin })).status).toBe(200);
    const other = server.folder.make({ subject: '/CN=clients', isAuthority: true });
    writeFileSync(certFile, other.cert);
    server.api.reload();
    expect((await server.call('GET', '/api/v1/jobs', { client: admin })).status).toBe(401);
    writeFileSync(certFile, cert);
    server.api.reload();
    expect((await server.call('GET', '/api/v1/jobs', { client: admin })).status).toBe(200);
  });

  it('to something broken changes nothing, and is said loudly', async () => {
    const errors: unknown[] = [];
    await server.open({}, { log: { ...silent, error: (fields) => errors.push(fields) } });
    const { certFile, cert } = server.own;
    writeFileSync(certFile, 'broken');
    writeFileSync(server.tokensFile, 'all:as-it-is\n');
    server.api.reload();
    expect((await server.call('GET', '/api/v1/jobs')).status).toBe(200);
    expect(errors).toMatchObject([{ problem: { code: 'CONFIG_INVALID' } }]);
    expect(JSON.stringify(errors)).not.toContain('as-it-is');
    writeFileSync(certFile, cert);
    await server.writeTokens('all', 'reader', 'ci', 'unlisted');
  });
});

describe('secrets', () => {
  it('are in no log, whatever is logged and whatever goes wrong', async () => {
    const lines: string[] = [];
    const log = openLog('trace', 'json', { write: (line) => lines.push(line) });
    await server.open({}, { log, onRequest: (...call) => lines.push(JSON.stringify(call)) });
    const wrong = makeToken('all');
    await server.call('GET', '/api/v1/jobs', { token: wrong });
    await server.call('GET', '/api/v1/jobs', {
      token: undefined,
      headers: { authorization: `Bearer ${wrong}` },
    });
    vi.spyOn(server.domains, 'domains').mockRejectedValueOnce(new Error('broken'));
    expect((await server.call('GET', '/api/v1/domains')).status).toBe(500);
    lines.push(JSON.stringify(server.audited));
    expect(lines.join('')).toContain('broken');
    for (const secret of [wrong, tokenOf('all'), server.own.key.split('\n')[1] ?? '']) {
      expect(lines.join('')).not.toContain(secret);
    }
  });

  it('would be taken out of headers that somebody logs', () => {
    const secret = makeToken('all');
    const lines: string[] = [];
    const log = openLog('info', 'json', { write: (line) => lines.push(line) });
    const headers = { authorization: `Bearer ${secret}`, 'x-api-token': secret };
    log.info({ headers, request: { headers } }, 'a request');
    log.info(headers, 'a request');
    expect(lines).toHaveLength(2);
    expect(lines.join('')).not.toContain(secret);
  });
});
