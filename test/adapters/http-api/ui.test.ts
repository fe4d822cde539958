/** Goal: the status page lets in whom the API lets in, shows what there is, and runs nobody's script but its own. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { html } from '../../../src/adapters/http-api/ui/html.ts';
import { View } from '../../../src/adapters/http-api/ui/view.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { HttpApiOptions } from '../../../src/adapters/http-api/routes.ts';
import type { Job } from '../../../src/core/protocol/job-protocol.ts';
import { FakeVerbs } from '../../cli/fake-verbs.ts';
import { FakeJobs } from './fake-jobs.ts';
import type { DomainStatus } from '../../../src/core/protocol/control-protocol.ts';
import { BUSY_HOST, BUSY_JOBS, FAILED, HOSTILE, HOSTILE_HOST, HOSTILE_JOBS } from './busy-host.ts';
import type { Answer } from './server.ts';
import { clock, containing, TestServer } from './server.ts';

const MISTAKE = { code: 'ANNOTATION_INVALID', message: 'The annotation has two volumes for vda.' };

const server = new TestServer();
const admin = server.folder.make({ subject: '/O=Example/CN=admin', by: server.authority });
beforeAll(async () => {
  await server.writeTokens('all', 'reader', 'unlisted');
});
beforeEach(() => {
  server.audited.length = 0;
});
afterEach(() => server.close());
afterAll(() => {
  server.folder.remove();
});

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
});
const tokenOf = (name: string) => server.tokens.get(name) ?? '';
const look = (path = '/ui', token = tokenOf('all')): Promise<Answer> => server.call('GET', path, { token });

function domainsAre(domains: () => Promise<readonly DomainStatus[]>): Partial<HttpApiOptions> {
  return { domains: Object.assign(new FakeVerbs(), { domains }) };
}

function jobsAre(jobs: readonly Job[]): Partial<HttpApiOptions> {
  return { jobs: Object.assign(new FakeJobs(), { jobs: () => Promise.resolve({ jobs }) }) };
}

describe('who is let in', () => {
  it('has a token as the password, whatever the name, as browsers send it', async () => {
    await server.open();
    for (const user of ['', 'all', 'somebody']) {
      const { status } = await server.call('GET', '/ui', {
        token: undefined,
        headers: basic(user, tokenOf('all')),
      });
      expect(status).toBe(200);
    }
  });

  it('has a token in a header, or a certificate, as for the API', async () => {
    await server.open();
    const bearer = { authorization: `Bearer ${tokenOf('reader')}` };
    expect((await server.call('GET', '/ui', { token: undefined, headers: bearer })).status).toBe(200);
    expect((await server.call('GET', '/ui', { token: tokenOf('reader') })).status).toBe(200);
    const { status, text } = await server.call('GET', '/ui', { client: admin });
    expect([status, text]).toEqual([200, containing('certificate:O=Example,CN=admin')]);
  });

  it('is asked for a token by the browser, and told on a page what to do', async () => {
    await server.open();
    const { status, text, headers } = await server.call('GET', '/ui', { token: undefined });
    expect(status).toBe(401);
    expect(headers['www-authenticate']).toBe('Basic realm="libvirt-volume-provisioner", charset="UTF-8"');
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    expect(text).toContain('sudo lvp token create NAME');
    expect(text).toContain('client certificate');
    expect(server.audited).toMatchObject([{ what: 'GET /ui', who: 'unknown', decision: 'unauthorized' }]);
  });

  it('is not asked in the middle of looking, nor where there are no tokens', async () => {
    await server.open();
    const fetched = { 'sec-fetch-dest': 'empty' };
    const { status, headers } = await server.call('GET', '/ui', { token: undefined, headers: fetched });
    expect([status, headers['www-authenticate']]).toEqual([401, undefined]);
    await server.close();
    await server.open({ tokensFile: undefined });
    const other = await server.call('GET', '/ui', { token: undefined });
    expect([other.status, other.headers['www-authenticate']]).toEqual([401, containing('Bearer')]);
    expect(other.text).not.toContain('token create');
  });

  it('counts among the failures of its address', async () => {
    await server.open({ failuresPerMinuteMax: 2 });
    const guess = () =>
      server.call('GET', '/ui', { token: undefined, headers: basic('all', `all.${'x'.repeat(43)}`) });
    expect([(await guess()).status, (await guess()).status]).toEqual([401, 401]);
    const { status, headers, text } = await guess();
    expect([status, headers['retry-after']]).toEqual([429, containing('')]);
    expect(text).toContain('Too often');
    // An event is written when its answer has been sent.
    await vi.waitFor(() => {
      const decisions = server.audited.map(({ decision }) => decision);
      expect(decisions).toEqual(['unauthorized', 'unauthorized', 'denied']);
    }, 30_000);
  });

  it.each([['a token that may not read', 'unlisted', 'token:unlisted may not read here.']])(
    'is not %s, and told so',
    async (_what, name, why) => {
      await server.open();
      const { status, text } = await look('/ui', tokenOf(name));
      expect([status, text]).toEqual([403, containing(why)]);
      expect(text).toContain('private window');
      await vi.waitFor(() => {
        expect(server.audited).toMatchObject([{ who: `token:${name}`, decision: 'denied' }]);
      }, 30_000);
    },
  );
});

describe('HTTP Basic', () => {
  it.each([
    '/api/v1/jobs',
    '/api/v1/domains',
    '/metrics',
    '/api/v1/status/0d3a4b1c-0000-4000-8000-00000000000f',
  ])('is not taken by %s', async (path) => {
    await server.open({}, { metrics: { contentType: 'text/plain', render: () => Promise.resolve('') } });
    const { status, headers } = await server.call('GET', path, {
      token: undefined,
      headers: basic('all', tokenOf('all')),
    });
    expect([status, headers['www-authenticate']]).toEqual([401, containing('Bearer')]);
  });

  it('is not taken by what changes something', async () => {
    await server.open();
    const { id } = await server.jobs.start({ image: 'b/k', format: 'raw', volume: 'v' }, 'test');
    const headers = basic('all', tokenOf('all'));
    expect(
      (await server.call('POST', `/api/v1/jobs/${id}/cancel`, { token: undefined, headers })).status,
    ).toBe(401);
    expect((await server.jobs.job(id)).state).toBe('pending');
  });
});

describe('a page of another site', () => {
  it.each(['cross-site', 'same-site'])(
    'changes nothing with the certificate of whoever reads it (%s)',
    async (site) => {
      await server.open();
      const { id } = await server.jobs.start({ image: 'b/k', format: 'raw', volume: 'v' }, 'test');
      const call = { client: admin, headers: { 'sec-fetch-site': site } };
      const { status, body } = await server.call('POST', `/api/v1/jobs/${id}/cancel`, call);
      expect([status, body]).toMatchObject([403, { code: 'FORBIDDEN', detail: containing('another site') }]);
      expect((await server.jobs.job(id)).state).toBe('pending');
      expect(server.audited).toMatchObject([{ what: 'cancel', decision: 'denied' }]);
      const own = { client: admin, headers: { 'sec-fetch-site': 'same-origin' } };
      expect((await server.call('POST', `/api/v1/jobs/${id}/cancel`, own)).status).toBe(200);
    },
  );
});

describe('the page', () => {
  it('lets a browser do nothing but show it, with what comes from here', async () => {
    await server.open();
    const { headers, text } = await look();
    expect(headers).toMatchObject({
      'content-security-policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      ...{ 'x-frame-options': 'DENY', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' },
      ...{ 'cache-control': 'no-store', 'cross-origin-resource-policy': 'same-origin' },
      ...{ 'cross-origin-opener-policy': 'same-origin', 'strict-transport-security': containing('max-age') },
    });
    expect(text).not.toMatch(/ style=| on[a-z]+=|<script>|https?:/);
    const linked = [...text.matchAll(/(?:src|href)="(\/ui\/[^"]+)"/g)].map(([, path = '']) => path);
    expect(linked).toHaveLength(3);
    for (const path of linked) {
      const { status, headers: of } = await server.call('GET', path, { token: undefined });
      expect([status, of['cache-control']]).toEqual([200, 'public, max-age=31536000, immutable']);
    }
  });

  it('shows volumes, progress, problems with their remedies, space, cache and who did what', async () => {
    await server.open({}, { ...domainsAre(() => Promise.resolve(BUSY_HOST)), ...jobsAre(BUSY_JOBS) });
    const { text } = await look();
    const words = text
      .replaceAll('\u00a0', ' ')
      .replace(/<[^>]*>/g, ' ')
      .replace(/\s+/g, ' ');
    for (const wanted of [
      'host1',
      'web1 vda starts when ready filling',
      '36 %, 778 MiB of 2.1 GiB, 412 MiB/s, 4 s left',
      'DIGEST_MISMATCH The image images/debian-13-generic-amd64.qcow2 has the digest',
      'What to do: Correct sha256 in the annotation',
      'differs from the annotation: generation 1, asked for 2',
      'IMAGE_NOT_FOUND There is no image',
      '2 before it',
      '120 GiB promised to fills 90.0 GiB kept free 490 GiB left for volumes',
      '300 MiB in use 724 MiB left',
      'unauthorized, refused',
      'allowed, failed',
      'domain web1 publish vg0/web1-root allowed, done',
      'job 5dddbe6b fill vg0/ci-one allowed, done',
      'uid:0 reprovision vg0/web1-root domain web1 allowed, failed',
      'claimed by domain app1.eu-central.example.net',
    ]) {
      expect(words).toContain(wanted);
    }
  });

  it('shows the audit trail only to those who may see it', async () => {
    await server.open();
    const { text } = await look('/ui', tokenOf('reader'));
    expect(text).not.toContain('STORE_UNREACHABLE');
    expect(text).toContain('Only for identities with the verb <code>audit</code>');
    expect((await look()).text).toContain('STORE_UNREACHABLE');
  });

  it('shows the rest, and why, where something cannot be read', async () => {
    const away = new ProvisionError({
      code: 'LIBVIRT_UNAVAILABLE',
      message: 'libvirt is away.',
      hint: 'Start it.',
    });
    await server.open(
      {},
      domainsAre(() => Promise.reject(away)),
    );
    const { status, text } = await look();
    expect(status).toBe(200);
    for (const wanted of ['LIBVIRT_UNAVAILABLE', 'libvirt is away.', 'Start it.', 'vg_fast']) {
      expect(text).toContain(wanted);
    }
  });

  it('does not wait for what hangs', async () => {
    await server.open(
      {},
      domainsAre(() => new Promise(() => undefined)),
    );
    const { status, text } = await look();
    expect(status).toBe(200);
    for (const wanted of ['has not said within 5 s how its domains are', 'vg_fast'])
      expect(text).toContain(wanted);
  });

  it('is read once for all who look at the same time, and then rests nine times as long as that took', async () => {
    let [readings, nowMs, looking] = [0, 0, 0];
    const everybodyLooks = Promise.withResolvers<undefined>();
    const read = async () => {
      readings += 1;
      await everybodyLooks.promise;
      nowMs += 500;
      return BUSY_HOST;
    };
    const jobs = () => {
      looking += 1;
      if (looking === 3) everybodyLooks.resolve(undefined);
      return Promise.resolve({ jobs: [] });
    };
    await server.open(
      {},
      {
        ...{ ...domainsAre(read), jobs: Object.assign(new FakeJobs(), { jobs }) },
        // Nobody is in a hurry here.
        clock: { ...clock, monotonicMs: () => nowMs, sleep: () => new Promise(() => undefined) },
      },
    );
    for (const { text } of await Promise.all([look(), look(), look()])) expect(text).toContain('web1');
    expect(readings).toBe(1);
    nowMs += 4_499;
    await look();
    expect(readings).toBe(1);
    nowMs += 1;
    await look();
    expect(readings).toBe(2);
  });

  it('says once that the host is frozen', async () => {
    const frozen = {
      code: 'FROZEN',
      message: 'This host is frozen: a test.',
      hint: 'sudo lvp incident thaw',
    };
    const all = BUSY_HOST.map((one) => ({ ...one, problems: [frozen] }));
    await server.open(
      {},
      domainsAre(() => Promise.resolve(all)),
    );
    const { text } = await look();
    expect(text.split('This host is frozen')).toHaveLength(2);
  });

  it('is as long as a page, however many volumes and problems there are', async () => {
    const many = Array.from({ length: 120 }, (_, index) => ({
      ...FAILED,
      uuid: `9d3a4b1c-0000-4000-8000-${String(index).padStart(12, '0')}`,
      name: `many-${String(index).padStart(3, '0')}`,
    }));
    await server.open(
      {},
      domainsAre(() => Promise.resolve(many)),
    );
    const rows = (text: string) => text.split('<tr role="row" id="volume-').length - 1;
    const troubles = (text: string) => text.split('id="trouble-').length - 1;
    const first = (await look()).text;
    expect([rows(first), troubles(first)]).toEqual([50, 20]);
    expect(first).toContain('1 to 50 of 120');
    expect(first).toContain('href="/ui?page=2#volumes"');
    const last = (await look('/ui?page=3&problems=6')).text;
    expect([rows(last), troubles(last)]).toEqual([20, 20]);
    expect((await look('/ui?page=999')).text).toContain('101 to 120 of 120');
    expect(rows((await look('/ui?show=ready')).text)).toBe(0);
  });

  it('has each id once, whatever is said twice', async () => {
    const twice = {
      ...FAILED,
      problems: [MISTAKE, MISTAKE],
      volumes: [...FAILED.volumes, ...FAILED.volumes],
    };
    server.events.events = server.events.events.flatMap((event) => [event, event]);
    await server.open(
      {},
      domainsAre(() => Promise.resolve([twice])),
    );
    const ids = [...(await look()).text.matchAll(/ id="([^"]*)"/g)].map(([, id = '']) => id);
    expect(ids.filter((id) => id.startsWith('trouble-'))).toHaveLength(4);
    expect(ids.toSorted()).toEqual([...new Set(ids)].toSorted());
    expect(ids.filter((id) => /\s/.test(id))).toEqual([]);
  });

  it('has links to older jobs and back', async () => {
    await server.open();
    const { length } = Array.from({ length: 30 });
    for (let index = 0; index < length; index += 1) {
      await server.jobs.start({ image: 'b/k', format: 'raw', volume: `aged-${index}` }, 'test');
    }
    const first = (await look()).text;
    expect(first.split('id="job-')).toHaveLength(26);
    const [, older = ''] = /id="older-jobs"[^>]*href="([^"#]+)/.exec(first) ?? [];
    const second = (await look(older)).text;
    expect(second).toContain('aged-4');
    expect(second).not.toContain('aged-5<');
    expect(second).toContain('id="newest-jobs"');
  });

  it.each(['/ui?show=everything', '/ui?page=0', '/ui?after=x'])(
    'says what is wrong with %s',
    async (path) => {
      await server.open();
      const { status, text, headers } = await look(path);
      expect([status, headers['content-type']]).toEqual([400, 'text/html; charset=utf-8']);
      expect(text).toContain('This address is not right');
    },
  );

  it('is where people look for it, and answers to nothing but GET', async () => {
    await server.open();
    const { status, headers } = await look('/ui/');
    expect([status, headers.location]).toEqual([308, '/ui']);
    expect((await server.call('POST', '/ui')).status).toBe(405);
  });
});

describe('what others write', () => {
  it('is text, wherever it stands', async () => {
    server.events.events = server.events.events.map((event) => ({
      ...{ ...event, who: HOSTILE, what: HOSTILE, volume: HOSTILE, domain: HOSTILE },
      problem: { code: HOSTILE, message: HOSTILE },
    }));
    await server.open(
      {},
      { ...domainsAre(() => Promise.resolve(HOSTILE_HOST)), ...jobsAre(HOSTILE_JOBS), hostName: HOSTILE },
    );
    const { text } = await look();
    expect(text).toContain('&lt;script&gt;alert(1)');
    expect(text).not.toContain('<script>');
    expect(text).not.toContain('<img');
    expect(text).not.toContain('\0');
  });

  it('is text on the page that refuses, too', async () => {
    await server.open();
    const stranger = server.folder.make({ subject: `/CN=<img src=x onerror=alert(1)>` });
    const { status, text } = await server.call('GET', '/ui', { client: stranger });
    expect([status, text]).toEqual([401, containing('&lt;img src=x')]);
    expect(text).not.toContain('<img');
  });
});

describe('html``', () => {
  it('escapes everything but what it has made itself', () => {
    const inner = html`<b>${'<&>'}</b>`;
    expect(String(html`<a title="${'"\''}">${[inner, undefined, 1]}</a>`)).toBe(
      '<a title="&quot;&#39;"><b>&lt;&amp;&gt;</b>1</a>',
    );
  });

  it('is not deceived by what looks like it', () => {
    const deceit = { toString: () => '<script>' };
    expect(String(html`${deceit as never}`)).not.toContain('<script>');
  });
});

it('an address without anything is that of everything', () => {
  expect(View.parse({})).toEqual({ show: 'all', page: 1, problems: 1 });
});
