/** Goal: a client of the Go provisioner finds its fields, codes and states, and where that was a defect a refusal. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import { A_TEXT, matching, PROVISION, TestServer } from './server.ts';

/** Its clients read times into Go's time.Time, which takes nothing else. */
const RFC_3339 = matching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);

const server = new TestServer();
beforeAll(async () => {
  await server.writeTokens('all', 'reader', 'ci', 'unlisted');
  await server.open({ pool: 'guests' });
});
beforeEach(() => {
  server.audited.length = 0;
  server.jobs.refusal = undefined;
});
afterAll(async () => {
  await server.close();
  server.folder.remove();
});

async function begin(change: object = {}): Promise<string> {
  const answer = await server.call('POST', '/api/v1/provision', { body: { ...PROVISION, ...change } });
  expect(answer.status, answer.text).toBe(202);
  return (answer.body as { job_id: string }).job_id;
}

const statusOf = async (id: string) => (await server.call('GET', `/api/v1/status/${id}`)).body as object;

describe('POST /api/v1/provision', () => {
  it('begins a job and answers 202 with nothing but its id', async () => {
    const answer = await server.call('POST', '/api/v1/provision', {
      body: { ...PROVISION, correlation_id: 'c-1', somethingElse: true },
    });
    expect([answer.status, Object.keys(answer.body as object)]).toEqual([202, ['job_id']]);
    const job = await server.jobs.job((answer.body as { job_id: string }).job_id);
    expect(job.by).toBe('token:all');
    expect(job.request).toEqual({
      ...{ image: 'images/os/debian-13.qcow2', format: 'qcow2', size: '20GiB', volume: 'web1-root' },
      ...{ pool: 'guests', correlationId: 'c-1' },
    });
    expect(server.audited).toEqual([
      {
        ...{ who: 'token:all', what: 'provision', volume: 'vg0/web1-root', decision: 'allowed' },
        ...{ outcome: 'begun', correlationId: 'c-1', domain: `job:${job.id}` },
      },
    ]);
  });

  it('takes raw images, an empty image_type, and escaped keys on another name of the store', async () => {
    const raw = await server.jobs.job(await begin({ image_type: 'raw' }));
    expect(raw.request.format).toBe('raw');
    const empty = await begin({
      image_type: '',
      correlation_id: '',
      image_url: 'http://minio:9000/b12/a%20b',
    });
    expect((await server.jobs.job(empty)).request).toMatchObject({ format: 'qcow2', image: 'b12/a b' });
  });

  it.each([
    ['no image_url', { image_url: '' }],
    ['no volume_name', { volume_name: '' }],
    ['a size of nothing', { volume_size_gb: 0 }],
    ['a size below nothing', { volume_size_gb: -1 }],
    ['a size that is no whole number', { volume_size_gb: 1.5 }],
    ['another image_type', { image_type: 'invalid' }],
    ['another host', { image_url: 'https://elsewhere.test/images/x' }],
    ['another port of the host', { image_url: 'https://minio.test:9001/images/x' }],
    ['a user in the URL', { image_url: 'https://u:p@minio.test:9000/images/x' }],
    ['a query', { image_url: 'https://minio.test:9000/images/x?versionId=1' }],
    ['no key', { image_url: 'https://minio.test:9000/images/' }],
    ['a key that is badly escaped', { image_url: 'https://minio.test:9000/images/%zz' }],
    ['no URL at all', { image_url: 'images/x' }],
  ])('refuses %s with 400', async (_what, change) => {
    const { status, body } = await server.call('POST', '/api/v1/provision', {
      body: { ...PROVISION, ...change },
    });
    expect([status, body]).toEqual([400, { error: 'invalid request', message: A_TEXT, code: 400 }]);
  });

  it('says what the provisioner refuses', async () => {
    server.jobs.refusal = new ProvisionError({
      ...{
        code: 'VOLUME_NOT_BLANK',
        message: 'The volume vg0/web1-root holds something.',
        hint: 'Take another.',
      },
    });
    const { status, body } = await server.call('POST', '/api/v1/provision', { body: PROVISION });
    expect([status, body]).toEqual([
      409,
      {
        error: 'failed to start provisioning',
        message: 'The volume vg0/web1-root holds something. Take another.',
        code: 409,
      },
    ]);
    expect(server.audited).toMatchObject([
      { decision: 'allowed', outcome: 'refused', problem: { code: 'VOLUME_NOT_BLANK' } },
    ]);
  });
});

describe('GET /api/v1/status/{id}', () => {
  it('tells of a job from its begin to its end', async () => {
    const id = await begin();
    expect(await statusOf(id)).toMatchObject({ job_id: id, status: 'pending', correlation_id: id });
    await server.jobs.set(id, { state: 'running', phase: 'filling', bytesDone: 25, bytesTotal: 100 });
    expect(await statusOf(id)).toMatchObject({
      status: 'running',
      progress: { stage: 'downloading', percent: 25, bytes_processed: 25, bytes_total: 100 },
    });
    expect(await statusOf(id)).not.toHaveProperty('cache_hit');
    await server.jobs.set(id, { state: 'completed', cacheHit: true, bytesDone: 100 });
    expect(await statusOf(id)).toMatchObject({
      ...{ status: 'completed', cache_hit: true, image_path: 'images/os/debian-13.qcow2' },
      ...{ progress: { stage: 'finalizing', percent: 100 }, created_at: RFC_3339, updated_at: RFC_3339 },
    });
    await server.jobs.set(id, { state: 'completed', cacheHit: false, bytesDone: 100 });
    expect(await statusOf(id)).toMatchObject({ cache_hit: false });
  });

  it('has no cache_hit of true where nothing is known', async () => {
    const id = await begin();
    await server.jobs.set(id, { state: 'completed' });
    expect(await statusOf(id)).toMatchObject({ cache_hit: false });
  });

  it('gives the error of a failed job', async () => {
    const id = await begin();
    const problem = { code: 'IMAGE_NOT_FOUND', message: 'There is no image.', hint: 'Upload it.' };
    await server.jobs.set(id, { state: 'failed', problem });
    expect(await statusOf(id)).toMatchObject({ status: 'failed', error: 'There is no image. Upload it.' });
  });

  it.each(['0d3a4b1c-0000-4000-8000-00000000000f', 'nonsense'])('knows no job %s: 404', async (id) => {
    const { status, body } = await server.call('GET', `/api/v1/status/${id}`);
    expect([status, body]).toMatchObject([404, { error: 'job not found', code: 404 }]);
  });
});

describe('DELETE /api/v1/cancel/{id}', () => {
  it('answers 200, and the job is failed from then on', async () => {
    const id = await begin();
    const { status, body } = await server.call('DELETE', `/api/v1/cancel/${id}`);
    expect([status, body]).toEqual([200, { status: 'cancelled', job_id: id }]);
    expect(await statusOf(id)).toMatchObject({ status: 'failed', error: 'job cancelled by user' });
    expect(server.audited.at(-1)).toMatchObject({ what: 'cancel', volume: 'vg0/web1-root', outcome: 'done' });
  });

  it('answers 400 for a job that has ended, and for none', async () => {
    const id = await begin();
    await server.jobs.set(id, { state: 'completed' });
    for (const one of [id, '0d3a4b1c-0000-4000-8000-00000000000f', 'x']) {
      const { status, body } = await server.call('DELETE', `/api/v1/cancel/${one}`);
      expect([status, body]).toMatchObject([400, { error: 'failed to cancel job', code: 400 }]);
    }
  });
});

describe('/health, /healthz, /livez', () => {
  it('need no authentication', async () => {
    for (const path of ['/health', '/healthz', '/livez']) {
      const { status, body } = await server.call('GET', path, { token: undefined });
      expect([status, body]).toEqual([
        200,
        {
          ...{ status: matching(/^(healthy|degraded)$/), timestamp: A_TEXT },
          ...{ version: '1.2.3', uptime: matching(/^\d+s$/) },
        },
      ]);
    }
  });

  it('are degraded with more than two jobs under way', async () => {
    for (const { id } of (await server.jobs.jobs({ limit: 100 })).jobs)
      await server.jobs.set(id, { state: 'failed' });
    const health = async () => ((await server.call('GET', '/health')).body as { status: string }).status;
    await begin();
    await begin();
    expect(await health()).toBe('healthy');
    await begin();
    expect(await health()).toBe('degraded');
  });
});
