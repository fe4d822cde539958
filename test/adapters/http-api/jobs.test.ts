/** Goal: jobs, domains and images over the network, with problems by RFC 9457 and an OpenAPI document that is true. */
import { request as tlsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { ErrorCode } from '../../../src/core/errors.ts';
import { A_TEXT, AN_OBJECT, PROVISION, TestServer } from './server.ts';

const server = new TestServer();
const requests: unknown[] = [];
beforeAll(async () => {
  await server.writeTokens('all', 'reader', 'ci');
  await server.open(
    {},
    {
      metrics: {
        contentType: 'text/plain; version=0.0.4; charset=utf-8',
        render: () => Promise.resolve('up 1\n'),
      },
      onRequest: (method, route, status, durationS) =>
        requests.push([method, route, status, typeof durationS]),
    },
  );
});
beforeEach(() => {
  server.audited.length = 0;
  requests.length = 0;
  server.jobs.refusal = undefined;
});
afterAll(async () => {
  await server.close();
  server.folder.remove();
});

const JOB = { image: 'images/a.qcow2', format: 'qcow2', volume: 'a-root', pool: 'guests' } as const;
const NO_JOB = '0d3a4b1c-0000-4000-8000-00000000000f';

describe('jobs', () => {
  it('are begun, and say where they are found and when it is their turn', async () => {
    const { status, headers, body } = await server.call('POST', '/api/v1/jobs', { body: JOB });
    expect([status, body]).toMatchObject([
      202,
      { state: 'pending', request: JOB, by: 'token:all', queuePosition: 0 },
    ]);
    expect((await server.call('GET', headers.location ?? '')).body).toEqual(body);
    expect(server.audited).toMatchObject([{ what: 'provision', volume: 'vg0/a-root', outcome: 'begun' }]);
    expect(requests[0]).toEqual(['POST', '/api/v1/jobs', 202, 'number']);
    expect(requests[1]).toEqual(['GET', '/api/v1/jobs/:id', 200, 'number']);
  });

  it('are listed, newest first, and filtered', async () => {
    const first = await server.jobs.start({ ...JOB, volume: 'listed' }, 'test');
    const second = await server.jobs.start({ ...JOB, volume: 'listed' }, 'test');
    await server.jobs.set(first.id, { state: 'failed' });
    const ids = async (query: string) => {
      const { body } = await server.call('GET', `/api/v1/jobs?${query}`);
      return (body as { jobs: { id: string }[] }).jobs.map(({ id }) => id);
    };
    expect(await ids('volume=listed')).toEqual([second.id, first.id]);
    expect(await ids('volume=listed&limit=1')).toEqual([second.id]);
    expect(await ids(`volume=listed&after=${second.id}`)).toEqual([first.id]);
    expect(await ids('volume=listed&state=failed')).toEqual([first.id]);
  });

  it('are cancelled and tried again', async () => {
    const { id } = await server.jobs.start(JOB, 'test');
    const change = async (verb: string) =>
      (await server.call('POST', `/api/v1/jobs/${id}/${verb}`)).body as object;
    expect(await change('cancel')).toMatchObject({ id, state: 'cancelled' });
    expect(await change('cancel')).toMatchObject({ status: 409, code: 'VOLUME_STATE' });
    expect(await change('retry')).toMatchObject({ id, state: 'pending' });
    expect(server.audited.map(({ what, outcome }) => [what, outcome])).toEqual([
      ['cancel', 'done'],
      ['cancel', 'refused'],
      ['retry', 'done'],
    ]);
  });

  it.each([
    ['GET', '/api/v1/jobs?limit=0', undefined, 400, 'USAGE'],
    ['GET', '/api/v1/jobs?state=odd', undefined, 400, 'USAGE'],
    ['GET', '/api/v1/jobs?colour=red', undefined, 400, 'USAGE'],
    ['GET', '/api/v1/jobs/x', undefined, 404, 'JOB_NOT_FOUND'],
    ['GET', `/api/v1/jobs/${NO_JOB}`, undefined, 404, 'JOB_NOT_FOUND'],
    ['GET', `/api/v1/jobs/${NO_JOB}/events`, undefined, 404, 'JOB_NOT_FOUND'],
    ['POST', '/api/v1/jobs', '{', 400, 'USAGE'],
    ['POST', '/api/v1/jobs', { ...JOB, format: 'vmdk' }, 400, 'USAGE'],
    ['POST', '/api/v1/jobs', { ...JOB, colour: 'red' }, 400, 'USAGE'],
    ['GET', '/api/v1/nothing', undefined, 404, 'NOT_FOUND'],
    ['PUT', '/api/v1/jobs', undefined, 405, 'METHOD_NOT_ALLOWED'],
  ])('are refused by RFC 9457: %s %s %j', async (method, path, body, status, code) => {
    const answer = await server.call(method, path, { body });
    expect(answer.headers['content-type']).toBe('application/problem+json');
    const type = `urn:libvirt-volume-provisioner:problem:${code.toLowerCase().replaceAll('_', '-')}`;
    expect([answer.status, answer.body]).toMatchObject([
      status,
      { type, status, code, title: A_TEXT, detail: A_TEXT },
    ]);
    if (status === 405) expect(answer.headers.allow).toBe('POST, GET');
  });

  it('in anything but JSON are refused', async () => {
    const headers = { 'content-type': 'text/plain' };
    expect((await server.call('POST', '/api/v1/jobs', { body: 'x', headers })).status).toBe(415);
  });

  it.each([
    ['POLICY_REFUSED', 409],
    ['QUEUE_FULL', 503],
    ['STORE_UNREACHABLE', 503],
    ['TIMEOUT', 504],
  ] satisfies [ErrorCode, number][])('that fail with %s answer %i with the remedy', async (code, status) => {
    server.jobs.refusal = new ProvisionError({ code, message: 'Not now.', hint: 'Later.' });
    const answer = await server.call('POST', '/api/v1/jobs', { body: JOB });
    expect([answer.status, answer.body]).toMatchObject([
      status,
      { code, detail: 'Not now.', hint: 'Later.' },
    ]);
  });
});

describe('an Idempotency-Key', () => {
  const send = (key: string, body: unknown, path = '/api/v1/jobs') =>
    server.call('POST', path, { body, headers: { 'idempotency-key': key } });

  it('has the same thing done once, also when both are under way', async () => {
    const before = server.jobs.count;
    const [one, other] = await Promise.all([send('k1', JOB), send('k1', JOB)]);
    expect(other.body).toEqual(one.body);
    expect((await send('k1', JOB)).body).toEqual(one.body);
    const [old, again] = [
      await send('k1', PROVISION, '/api/v1/provision'),
      await send('k1', PROVISION, '/api/v1/provision'),
    ];
    expect(again.body).toEqual(old.body);
    expect(server.jobs.count).toBe(before + 2);
  });

  it('cannot be used for something else', async () => {
    expect((await send('k2', JOB)).status).toBe(202);
    const { status, body } = await send('k2', { ...JOB, volume: 'other' });
    expect([status, body]).toMatchObject([422, { code: 'IDEMPOTENCY_KEY_REUSED' }]);
  });

  it('is free again after a failure', async () => {
    server.jobs.refusal = new ProvisionError({ code: 'QUEUE_FULL', message: 'Full.' });
    expect((await send('k3', JOB)).status).toBe(503);
    server.jobs.refusal = undefined;
    expect((await send('k3', JOB)).status).toBe(202);
  });

  it('is one of many, of which the oldest are forgotten', async () => {
    const first = (await send('first', JOB)).body as { id: string };
    // Not all at once: each is a connection of its own, and the server takes 256.
    for (let batch = 0; batch < 1_000; batch += 100) {
      await Promise.all(Array.from({ length: 100 }, (_, index) => send(`many-${batch + index}`, JOB)));
    }
    expect((await send('first', JOB)).body).not.toMatchObject({ id: first.id });
  });
});

describe('events', () => {
  /** The answer, and what came of it so far. */
  async function follow(id: string): Promise<{ response: IncomingMessage; text: () => string }> {
    const { url } = server.api;
    const sent = tlsRequest(new URL(`/api/v1/jobs/${id}/events`, url), {
      ...{ rejectUnauthorized: false, agent: false },
      headers: { 'x-api-token': server.tokens.get('all') ?? '' },
    });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => (text += chunk));
    return { response, text: () => text };
  }

  it('come whenever the job changes, until it ends', async () => {
    const { id } = await server.jobs.start(JOB, 'test');
    const { response, text } = await follow(id);
    expect(response.headers['content-type']).toBe('text/event-stream');
    await vi.waitFor(() => {
      expect(text()).toContain('"state":"pending"');
    }, 30_000);
    await server.jobs.set(id, { state: 'running', bytesDone: 10, bytesTotal: 20 });
    await vi.waitFor(() => {
      expect(text()).toContain('"bytesDone":10');
    }, 30_000);
    const ended = once(response, 'end');
    await server.jobs.set(id, { state: 'completed' });
    await ended;
    const states = [...text().matchAll(/event: job\ndata: (.*)\n\n/g)].map(
      ([, data]) => (JSON.parse(data ?? '') as { state: string }).state,
    );
    expect(states).toEqual(['pending', 'running', 'completed']);
  });

  it('end when who may call changes', async () => {
    const { id } = await server.jobs.start(JOB, 'test');
    const { response, text } = await follow(id);
    await vi.waitFor(() => {
      expect(text()).toContain('"state":"pending"');
    }, 30_000);
    const ended = once(response, 'end');
    server.api.reload();
    await ended;
  });
});

describe('domains and images', () => {
  it('are listed and looked at', async () => {
    const names = ((await server.call('GET', '/api/v1/domains')).body as { name: string }[]).map(
      ({ name }) => name,
    );
    expect(names).toEqual(['broken', 'db1', 'web1']);
    expect((await server.call('GET', '/api/v1/domains/web1')).body).toMatchObject({ name: 'web1' });
    expect((await server.call('GET', '/api/v1/domains/web1/plan')).body).toMatchObject({
      start: { allowed: false },
      steps: [{ action: 'wait' }, { action: 'fill' }],
    });
    expect((await server.call('GET', '/api/v1/domains/none')).status).toBe(404);
    expect((await server.call('GET', '/api/v1/images')).body).toMatchObject({ sizeMaxBytes: 2 ** 30 });
  });

  it('are changed by retry and reprovision', async () => {
    expect(
      (await server.call('POST', '/api/v1/domains/web1/retry', { body: { target: 'vdb' } })).status,
    ).toBe(200);
    const body = { target: 'vda', confirm: 'web1/vda' };
    expect((await server.call('POST', '/api/v1/domains/web1/reprovision', { body })).status).toBe(200);
    expect(server.domains.calls).toEqual([
      ['retry', 'web1', 'vdb'],
      ['reprovision', 'web1', body],
    ]);
    expect(server.audited).toMatchObject([
      { what: 'retry', volume: 'guests/web1-data', domain: A_TEXT },
      { what: 'reprovision', volume: 'guests/web1-root' },
    ]);
    expect(
      (await server.call('POST', '/api/v1/domains/web1/reprovision', { body: { target: 'vda' } })).status,
    ).toBe(400);
  });
});

describe('what else lvp asks for', () => {
  const IMAGE = { image: 'images/a.raw', format: 'raw' };
  const post = (path: string, body: object, token?: string) =>
    server.call('POST', path, { body, ...(token === undefined ? {} : { token: server.tokens.get(token) }) });
  const xml = (volume: string) =>
    `<domain><name>a</name><uuid>${NO_JOB}</uuid><metadata>` +
    '<vp:provision xmlns:vp="urn:libvirt-volume-provisioner:domain:1">' +
    '<vp:volume target="vda" image="images/a.raw" format="raw"/></vp:provision></metadata><devices>' +
    `<disk type="${volume.startsWith('/') ? 'block' : 'volume'}" device="disk"><target dev="vda"/>` +
    `<source ${volume.startsWith('/') ? `dev="${volume}"` : `pool="guests" volume="${volume}"`}/></disk></devices></domain>`;

  beforeEach(() => {
    server.domains.calls.length = 0;
  });

  it('is written down, and a dry run is not', async () => {
    const annotate = { target: 'vda', image: 'images/a.raw', format: 'raw' };
    expect((await post('/api/v1/domains/web1/annotate', { ...annotate, dryRun: true })).status).toBe(200);
    const dry = { target: 'vda', dryRun: true };
    expect((await post('/api/v1/domains/web1/reprovision', dry)).status).toBe(200);
    expect(server.audited).toEqual([]);
    expect((await post('/api/v1/domains/web1/annotate', annotate)).status).toBe(200);
    expect((await post('/api/v1/domains/web1/cancel', {})).status).toBe(200);
    expect((await post('/api/v1/domains', { xml: xml('ci-x') })).status).toBe(200);
    expect((await post('/api/v1/images/gc', { all: true })).status).toBe(200);
    expect((await post('/api/v1/images/prefetch', IMAGE)).status).toBe(200);
    expect((await post('/api/v1/images/prefetch', { ...IMAGE, image: 'images/bad' })).status).toBe(200);
    expect((await post('/api/v1/images/verify', IMAGE)).status).toBe(200);
    expect(server.audited.map(({ what, volume, outcome }) => [what, volume, outcome])).toEqual([
      ['annotate', 'guests/web1-root', 'done'],
      ['cancel', 'guests/web1-root guests/web1-data', 'done'],
      ['provision', 'guests/web1-root guests/web1-data', 'done'],
      ['image gc', undefined, 'done'],
      ['image prefetch', undefined, 'done'],
      // Its status had been sent before.
      ['image prefetch', undefined, 'failed'],
    ]);
    expect(server.audited.at(-1)).toMatchObject({ problem: { code: 'DIGEST_MISMATCH' } });
  });

  it('needs a right of its own', async () => {
    const annotate = { target: 'vda', image: 'images/a.raw', format: 'raw' };
    for (const [path, body] of [
      ['/api/v1/domains/web1/annotate', annotate],
      ['/api/v1/domains/web1/cancel', {}],
      ['/api/v1/domains', { xml: xml('x') }],
      ['/api/v1/images/gc', {}],
      ['/api/v1/images/verify', IMAGE],
      ['/api/v1/images/prefetch', IMAGE],
    ] as const) {
      expect([path, (await post(path, body, 'reader')).status]).toEqual([path, 403]);
    }
    const token = server.tokens.get('reader');
    expect((await server.call('GET', '/api/v1/audit', { token })).status).toBe(403);
    expect((await server.call('GET', '/api/v1/disks', { token })).status).toBe(200);
    expect(server.domains.calls).toEqual([]);
  });

  it.each([
    ['ci-one', 200],
    ['/dev/vg0/ci-one', 200],
    ['web1', 403],
    ['/dev/vg0/web1', 403],
    ['/dev/mapper/vg0-ci--one', 403],
  ])('is for volumes with the right beginning: %s', async (volume, status) => {
    expect((await post('/api/v1/domains', { xml: xml(volume) }, 'ci')).status).toBe(status);
    expect(server.domains.calls).toHaveLength(status === 200 ? 1 : 0);
  });

  it('annotates no disk of which the volume has another beginning, annotated or not', async () => {
    const annotate = { target: 'vda', image: 'images/a.raw', format: 'raw' };
    for (const name of ['web1', 'plain1'])
      expect((await post(`/api/v1/domains/${name}/annotate`, annotate, 'ci')).status).toBe(403);
    expect(server.domains.calls).toEqual([]);
  });

  it('takes XML as long as a domain may have it, and no other request that long', async () => {
    expect((await post('/api/v1/domains', { xml: 'x'.repeat(2 ** 21) })).status).toBe(413);
    expect((await post('/api/v1/domains', { xml: `<!--${'x'.repeat(2 ** 17)}-->${xml('a')}` })).status).toBe(
      200,
    );
    expect((await post('/api/v1/images/verify', { image: 'x'.repeat(2 ** 17) })).status).toBe(413);
  });

  it('ends the reading of an image when who may call changes', async () => {
    const { images } = server;
    images.calls.length = 0;
    const ended = post('/api/v1/images/verify', { ...IMAGE, image: 'images/endless' });
    await vi.waitFor(() => {
      expect(images.calls).toHaveLength(1);
    }, 30_000);
    server.api.reload();
    await ended;
    expect(images.calls.at(-1)).toBe('aborted');
  });
});

describe('/metrics', () => {
  it('needs authentication unless it is said otherwise', async () => {
    expect((await server.call('GET', '/metrics', { token: undefined })).status).toBe(401);
    const { status, text, headers } = await server.call('GET', '/metrics');
    expect([status, text, headers['content-type']]).toEqual([
      200,
      'up 1\n',
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
  });
});

describe('/openapi.json', () => {
  it('has every route with what it takes and answers', async () => {
    const { status, body } = await server.call('GET', '/openapi.json', { token: undefined });
    const { openapi, paths } = body as { openapi: string; paths: Record<string, object> };
    expect([status, openapi]).toEqual([200, '3.1.0']);
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect(routes).toMatchInlineSnapshot(`
      [
        "get /health",
        "get /healthz",
        "get /livez",
        "get /metrics",
        "post /api/v1/provision",
        "get /api/v1/status/{job_id}",
        "delete /api/v1/cancel/{job_id}",
        "post /api/v1/jobs",
        "get /api/v1/jobs",
        "get /api/v1/jobs/{id}",
        "post /api/v1/jobs/{id}/cancel",
        "post /api/v1/jobs/{id}/retry",
        "get /api/v1/jobs/{id}/events",
        "get /api/v1/domains",
        "post /api/v1/domains",
        "get /api/v1/domains/{name}",
        "get /api/v1/domains/{name}/plan",
        "post /api/v1/domains/{name}/cancel",
        "post /api/v1/domains/{name}/retry",
        "post /api/v1/domains/{name}/reprovision",
        "get /api/v1/disks",
        "post /api/v1/domains/{name}/annotate",
        "get /api/v1/images",
        "get /api/v1/images/stored",
        "post /api/v1/images/inspect",
        "post /api/v1/images/gc",
        "post /api/v1/images/rm",
        "post /api/v1/images/verify",
        "post /api/v1/images/prefetch",
        "get /api/v1/audit",
      ]
    `);
    expect(paths).toMatchObject({
      '/api/v1/provision': {
        post: {
          requestBody: {
            content: { 'application/json': { schema: { required: AN_OBJECT } } },
          },
          responses: { 202: AN_OBJECT, '4XX': AN_OBJECT },
        },
      },
    });
  });
});
