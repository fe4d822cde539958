/** Goal: the control socket answers only what it should, and bad callers cannot hurt it. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:http';
import { connect } from 'node:net';
import { once } from 'node:events';
import { text as textOf } from 'node:stream/consumers';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ControlSocket } from '../../src/adapters/control-socket.ts';
import { serveControl } from '../../src/adapters/control-socket.ts';
import {
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeKeyVerbs,
  FakeVerbs,
  silent,
} from '../cli/fake-verbs.ts';

let folder: string;
let socketPath: string;
let server: ControlSocket;
let verbs: FakeVerbs;
let images: FakeImageVerbs;
let garbage: FakeGarbageVerbs;
let jobs: FakeJobVerbs;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-control-'));
  socketPath = path.join(folder, 'control.sock');
  verbs = new FakeVerbs();
  images = new FakeImageVerbs();
  garbage = new FakeGarbageVerbs();
  jobs = new FakeJobVerbs();
  const keys = new FakeKeyVerbs();
  server = await serveControl({ path: socketPath, verbs, images, garbage, jobs, keys, log: silent });
});

afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

const TAKEN = '{"domain":"web1","target":"vda","to":"file:taken"}';

async function ask(
  method: string,
  url: string,
  body?: string,
): Promise<{ status: number | undefined; body: unknown }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number | undefined; body: unknown }>();
  const sent = request({ socketPath, method, path: url }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    response.on('end', () => {
      resolve({ status: response.statusCode, body: JSON.parse(text) });
    });
  });
  sent.on('error', reject).end(body);
  return promise;
}

async function fetchText(url: string): Promise<{ type: string | undefined; text: string }> {
  const sent = request({ socketPath, path: url }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { type: response.headers['content-type'], text: await textOf(response) };
}

const codeOf = (code: string): unknown => ({ error: expect.objectContaining({ code }) as unknown });

describe('rights', () => {
  test('the socket is made for owner and group only', async () => {
    expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
  });

  test('a socket left behind is replaced', async () => {
    await server.close();
    await writeFile(socketPath, '');
    server = await serveControl({ path: socketPath, verbs, images, garbage, jobs, log: silent });
    expect((await ask('GET', '/v1/domains')).status).toBe(200);
  });

  test('a socket somebody answers on is left alone', async () => {
    await expect(
      serveControl({ path: socketPath, verbs, images, garbage, jobs, log: silent }),
    ).rejects.toThrow('Another provisioner');
    expect((await ask('GET', '/v1/domains')).status).toBe(200);
  });
});

describe('who asks', () => {
  test('is what the kernel says of the other end, and known to whoever writes it down', async () => {
    await server.close();
    const callers: string[] = [];
    const callable = { verbs, images, garbage, jobs };
    const audited = (who: string) => {
      callers.push(who);
      return callable;
    };
    server = await serveControl({ path: socketPath, ...callable, audited, log: silent });
    await ask('POST', '/v1/domains/web1/cancel', '{}');
    expect(callers).toEqual([`uid:${String(process.getuid?.())}`]);
  });
});

describe('looking', () => {
  const asked: unknown[] = [];
  const seen = {
    audit: {
      audit: (query: unknown) => {
        asked.push(query);
        return Promise.resolve({ events: [], more: false });
      },
    },
    metrics: { contentType: 'text/plain; version=0.0.4', render: () => Promise.resolve('up 1\n') },
  };

  beforeEach(async () => {
    await server.close();
    server = await serveControl({
      path: socketPath,
      ...{ verbs, images, garbage, jobs },
      ...seen,
      log: silent,
    });
  });

  test('at the audit trail, within bounds', async () => {
    const since = '2026-11-30T08:00:00.000Z';
    expect((await ask('GET', `/v1/audit?since=${since}&who=uid%3A0&limit=5`)).status).toBe(200);
    expect((await ask('GET', '/v1/audit')).body).toEqual({ events: [], more: false });
    expect(asked).toEqual([{ since, who: 'uid:0', limit: 5 }, { limit: 1000 }]);
    for (const wrong of ['limit=5001', 'since=yesterday', 'colour=red', 'who=']) {
      const { status, body } = await ask('GET', `/v1/audit?${wrong}`);
      expect([wrong, status, body]).toEqual([wrong, 400, codeOf('USAGE')]);
    }
    expect((await ask('POST', '/v1/audit', '{}')).status).toBe(400);
  });

  test('at the metrics, as Prometheus does', async () => {
    const answer = await fetchText('/metrics');
    expect(answer).toEqual({ type: 'text/plain; version=0.0.4', text: 'up 1\n' });
  });
});

describe('requests', () => {
  test.each([
    ['an unknown domain', 'GET', '/v1/domains/nobody', undefined, 404, 'DOMAIN_NOT_FOUND'],
    ['an unknown path', 'GET', '/v2/domains', undefined, 400, 'USAGE'],
    ['an unknown verb', 'POST', '/v1/domains/web1/destroy', '{}', 400, 'USAGE'],
    ['the wrong method', 'DELETE', '/v1/domains/web1', undefined, 400, 'USAGE'],
    ['more path than there is', 'GET', '/v1/domains/web1/explain/more', undefined, 400, 'USAGE'],
    ['an unknown job', 'GET', '/v1/jobs/nobody', undefined, 404, 'JOB_NOT_FOUND'],
    ['more path than a job has', 'GET', '/v1/jobs/x/cancel/more', undefined, 400, 'USAGE'],
    ['a job without a volume', 'POST', '/v1/jobs', '{"image":"a/b","format":"raw"}', 400, 'USAGE'],
    ['jobs in no state that there is', 'GET', '/v1/jobs?state=odd', undefined, 400, 'USAGE'],
    ['another verb of a job', 'POST', '/v1/jobs/x/destroy', '{}', 400, 'USAGE'],
    ['a word that begins like jobs', 'GET', '/v1/jobsworth', undefined, 400, 'USAGE'],
    ['bad escapes', 'GET', '/v1/domains/%E0%A4%A', undefined, 400, 'USAGE'],
    ['a body that is not JSON', 'POST', '/v1/domains/web1/cancel', '{', 400, 'USAGE'],
    ['a body with unknown keys', 'POST', '/v1/domains/web1/cancel', '{"force":true}', 400, 'USAGE'],
    ['a body of the wrong shape', 'POST', '/v1/domains/web1/annotate', '{"target":"../vda"}', 400, 'USAGE'],
    ['a reprovision of no disk', 'POST', '/v1/domains/web1/reprovision', '{}', 400, 'USAGE'],
    [
      'a reprovision with another confirmation',
      'POST',
      '/v1/domains/web1/reprovision',
      '{"target":"vda","confirm":"web1"}',
      400,
      'USAGE',
    ],
    ['a key for no disk', 'POST', '/v1/keys/rotate', '{"domain":"web1","to":"file:new"}', 400, 'USAGE'],
    [
      'a key by no name that there is',
      'POST',
      '/v1/keys/rotate',
      '{"domain":"web1","target":"vda","to":"../new"}',
      400,
      'USAGE',
    ],
    ['a key of another domain', 'POST', '/v1/keys/rotate', TAKEN, 409, 'KEY_IN_USE'],
    ['an unconfirmed erasure', 'POST', '/v1/keys/erase', '{"volume":"vg0/web1-root"}', 400, 'USAGE'],
    ['another verb of keys', 'POST', '/v1/keys/show', '{}', 400, 'USAGE'],
    ['the wrong method for XML', 'GET', '/v1/provision', undefined, 400, 'USAGE'],
    ['a refusal', 'POST', '/v1/domains/db1/retry', '{}', 409, 'VOLUME_STATE'],
  ])('%s', async (_what, method, url, body, status, code) => {
    expect(await ask(method, url, body)).toEqual({ status, body: codeOf(code) });
  });

  test('a name with a slash and a blank arrives whole', async () => {
    const { body } = await ask('GET', `/v1/domains/${encodeURIComponent('a/b c')}`);
    expect(body).toMatchObject({ error: { message: "There is no domain 'a/b c'." } });
  });

  test('a body without end is cut off', async () => {
    const answer = await ask('POST', '/v1/domains/web1/cancel', `{"target":"${'a'.repeat(100_000)}"}`);
    expect(answer).toEqual({ status: 400, body: codeOf('USAGE') });
  });

  test('XML without end is cut off, and what is shorter arrives whole', async () => {
    const provision = (xml: string) => ask('POST', '/v1/domains', JSON.stringify({ xml }));
    expect(await provision(' '.repeat((4 << 20) + 1))).toEqual({ status: 400, body: codeOf('USAGE') });
    expect((await ask('POST', '/v1/domains', '['.repeat(9 << 20))).status).toBe(400);
    expect((await provision(' '.repeat(4 << 20))).status).toBe(200);
    expect(verbs.calls).toEqual([['provision', 4 << 20]]);
  });

  test('headers without end are cut off', async () => {
    const socket = connect(socketPath);
    socket.write(`GET /v1/domains HTTP/1.1\r\nx: ${'a'.repeat(40_000)}\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 431/);
    socket.destroy();
  });

  test('a defect answers 500 without a stack', async () => {
    verbs.domains = () => Promise.reject(new TypeError('cannot read x of undefined'));
    const { status, body } = await ask('GET', '/v1/domains');
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain('at ');
  });
});

describe('images', () => {
  test('a caller that goes away ends the reading', async () => {
    const sent = request({ socketPath, method: 'POST', path: '/v1/images/verify' });
    sent.on('error', () => undefined).end('{"image":"images/endless","format":"raw"}');
    const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream];
    await once(response, 'data');
    sent.destroy();
    await expect.poll(() => images.calls).toContain('aborted');
  });

  test('a request that is not one is refused before anything is read', async () => {
    const answer = await ask('POST', '/v1/images/verify', '{"image":"images/x"}');
    expect(answer).toEqual({ status: 400, body: codeOf('USAGE') });
    expect(await ask('GET', '/v1/images/verify')).toEqual({ status: 400, body: codeOf('USAGE') });
    expect(images.calls).toEqual([]);
  });
});
