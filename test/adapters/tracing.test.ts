/**
 * Goal: a collector gets a span for each step of a fill, under an id that log and audit trail have too, and no secret;
 * whatever is wrong with it, fills go on. Method: the real verbs over a world in memory, the real exporter, and a
 * collector that reads what OTLP says.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Secret } from '../../src/adapters/config/secret.ts';
import { openTracing } from '../../src/adapters/tracing.ts';
import type { OtlpTracesOptions } from '../../src/adapters/tracing/otlp-traces.ts';
import { OtlpTraces } from '../../src/adapters/tracing/otlp-traces.ts';
import type { TracingSettings } from '../../src/core/settings/tracing-settings.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type { FillRecord } from '../../src/provision/ports/ledger.ts';
import { until, World } from '../provision/world.ts';
import { CertificateFolder } from './http-api/certificates.ts';
import type { Span } from './otlp-collector.ts';
import { Collector } from './otlp-collector.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const vm1 = { uuid, name: 'vm1' };
const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

class TestLog implements Log {
  readonly lines: string[] = [];
  readonly debug = () => undefined;
  readonly info = this.#line('info');
  readonly warn = this.#line('warn');
  readonly error = this.#line('error');
  readonly child = () => this;

  #line(level: string) {
    return (fields: object, message: string) => {
      this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
    };
  }
}

async function scene(settings: Partial<TracingSettings> = {}, options: Partial<OtlpTracesOptions> = {}) {
  const collector = new Collector();
  opened.push(collector);
  const endpoint = await collector.listen();
  const log = new TestLog();
  const trace = new OtlpTraces(
    { endpoint, ca: undefined, authorization: undefined, ...settings },
    { version: '1.2.3', log, ...options },
  );
  opened.push(trace);
  return { collector, log, trace, world: new World({ trace, readBack: true }) };
}

const recordOf = (world: World) => world.ledger.fillOf(uuid, 'vda');

async function filled(world: World): Promise<FillRecord> {
  world.define(vm1);
  await until('published', () => recordOf(world)?.state === 'ready');
  const record = recordOf(world);
  if (record === undefined) throw new Error('no row');
  return record;
}

const rootOf = (spans: readonly Span[]) => {
  const root = spans.find(({ name }) => name === 'fill');
  if (root === undefined) throw new Error('no root');
  return root;
};

describe('the trace of a fill', () => {
  it('has its steps without a gap, under the id of the fill', async () => {
    const { collector, trace, world } = await scene();
    const { fillId, sha256 } = await filled(world);
    await trace.close();
    const root = rootOf(collector.spans);
    expect(root).toMatchObject({ traceId: fillId + fillId, status: { code: 0 } });
    expect(root.parentSpanId ?? '').toBe('');
    const steps = collector.spans.filter(({ name }) => name !== 'fill');
    expect(steps.map(({ name }) => name)).toEqual(['resolve', 'create', 'stream', 'verify', 'publish']);
    for (const [index, step] of steps.entries()) {
      expect(step).toMatchObject({ traceId: root.traceId, parentSpanId: root.spanId });
      expect(step.startTimeUnixNano).toBe(steps[index - 1]?.endTimeUnixNano ?? step.startTimeUnixNano);
    }
    expect(steps.at(-1)?.endTimeUnixNano).toBe(root.endTimeUnixNano);
    expect(root.attributes).toMatchObject({
      'lvp.correlation_id': fillId,
      'lvp.domain.uuid': uuid,
      'lvp.domain.name': 'vm1',
      'lvp.volume.name': 'vg0/vm1',
      'lvp.volume.pool': 'guests',
      'lvp.image.from': 'store',
      'lvp.image.sha256': sha256,
      'lvp.image.size_bytes': world.image.length,
      'lvp.volume.size_bytes': world.volume('vm1')?.bytes.length,
      'lvp.fill.outcome': 'published',
      'aws.s3.bucket': 'images',
      'aws.s3.key': 'small.raw',
    });
    expect(collector.resources[0]).toMatchObject({
      'service.name': 'libvirt-volume-provisioner',
      'service.version': '1.2.3',
    });
  });

  it('of a job names the request as the audit trail does', async () => {
    const { collector, trace, world } = await scene();
    const asked = { image: 'images/small.raw', format: 'raw', volume: 'vm1' } as const;
    const job = await world.jobs.start({ ...asked, correlationId: 'order-7' }, 'uid:0');
    await until('the job has ended', () => world.ledger.jobOf(job.id)?.end !== undefined);
    await trace.close();
    expect(rootOf(collector.spans).attributes).toMatchObject({
      'lvp.request.correlation_id': 'order-7',
      'lvp.domain.uuid': `job:${job.id}`,
    });
  });

  it('says at which step it failed, and why', async () => {
    const { collector, trace, world } = await scene();
    world.images.objects.set('images/small.raw.sha256', Buffer.from('0'.repeat(64)));
    world.define(vm1);
    await until('failed', () => recordOf(world)?.state === 'failed');
    await trace.close();
    const failed = collector.spans.filter(({ status }) => status.code === 2);
    expect(failed.map(({ name }) => name)).toEqual(['verify', 'fill']);
    for (const { attributes, status } of failed) {
      expect(attributes).toMatchObject({ 'error.type': 'DIGEST_MISMATCH' });
      expect(status.message).toBe(recordOf(world)?.problem?.message);
    }
  });

  it('travels over TLS to whom the authority speaks for, with the authorization and without it in any span', async () => {
    const folder = new CertificateFolder();
    opened.push({
      close: () => {
        folder.remove();
      },
    });
    const pair = folder.make({ subject: '/CN=otel' });
    const collector = new Collector(pair);
    opened.push(collector);
    const endpoint = new URL('/tenant/', await collector.listen());
    const authorization = new Secret('Bearer hunter2');
    const { trace, world } = await scene({ endpoint, ca: pair.cert, authorization });
    await filled(world);
    await trace.close();
    expect(collector.spans).toHaveLength(6);
    expect(collector.requests[0]).toMatchObject({
      path: '/tenant/v1/traces',
      headers: { authorization: 'Bearer hunter2', 'content-type': 'application/json' },
    });
    expect(collector.requests.map(({ text }) => text).join()).not.toContain('hunter2');
  });
});

describe('a collector that', () => {
  it('refuses is spoken of once, and once more when it takes them again; volumes are filled meanwhile', async () => {
    const { collector, log, trace, world } = await scene({}, { sendEachMs: 1 });
    collector.answer = 400;
    await filled(world);
    await expect.poll(() => collector.requests.length).toBeGreaterThan(0);
    const sent = collector.requests.length;
    world.define({ uuid: uuid.replace(/^1/, '2'), name: 'vm2' });
    await expect.poll(() => collector.requests.length).toBeGreaterThan(sent);
    await until('published', () => world.isFilled('vm2'));
    collector.answer = 200;
    world.define({ uuid: uuid.replace(/^1/, '3'), name: 'vm3' });
    await until('published', () => world.isFilled('vm3'));
    await trace.close();
    const [first, second, ...rest] = log.lines;
    expect(first).toMatch(/^warn traces do not reach their collector/);
    expect(second).toMatch(/^info traces reach their collector again.*"lostSpans":\d+/);
    expect(rest).toEqual([]);
  });

  it('is of another authority gets nothing, and the fill is done', async () => {
    const folder = new CertificateFolder();
    opened.push({
      close: () => {
        folder.remove();
      },
    });
    const collector = new Collector(folder.make({ subject: '/CN=otel' }));
    opened.push(collector);
    const endpoint = await collector.listen();
    const ca = folder.make({ subject: '/CN=other' }).cert;
    const { log, trace, world } = await scene({ endpoint, ca }, { closeLimitMs: 10 });
    expect((await filled(world)).state).toBe('ready');
    await trace.close();
    expect(collector.requests).toEqual([]);
    expect(log.lines.join()).not.toMatch(/error/);
  });

  it('hangs keeps neither fills nor the end of the daemon waiting', async () => {
    const { collector, log, trace, world } = await scene({}, { sendEachMs: 1, closeLimitMs: 10 });
    collector.answer = 'hang';
    expect((await filled(world)).state).toBe('ready');
    await expect.poll(() => collector.requests.length).toBe(1);
    await trace.close();
    // Not even waited for until the exporter has given up.
    expect({ spans: collector.spans, lines: log.lines }).toEqual({ spans: [], lines: [] });
  });

  it('is late finds only so many spans waiting', async () => {
    const { collector, trace, world } = await scene({}, { sendEachMs: 1 });
    collector.answer = 'hang';
    const record = await filled(world);
    await expect.poll(() => collector.requests.length).toBe(1);
    for (let index = 0; index < 1_000; index++) {
      const fillId = index.toString(16).padStart(16, '0');
      trace.begun({ ...record, fillId }, 'nothing');
      trace.ended(fillId, { how: 'published' });
    }
    collector.release();
    await expect.poll(() => collector.spans.length).toBeGreaterThanOrEqual(512);
    await trace.close();
    // Those of the fill itself were under way.
    expect(collector.spans.length).toBeLessThanOrEqual(512 + 6);
  });
});

describe('OpenTelemetry', () => {
  it('is not loaded by a daemon that is not configured for it', () => {
    const program = join(import.meta.dirname, '../../src/main.ts');
    const adapter = join(import.meta.dirname, '../../src/adapters/tracing.ts');
    const script = `
      import { registerHooks } from 'node:module';
      const urls = [];
      registerHooks({ resolve: (name, context, next) => { const found = next(name, context); urls.push(found.url); return found; } });
      process.argv.push('run', '--help');
      await import(${JSON.stringify(program)});
      const { openTracing } = await import(${JSON.stringify(adapter)});
      await openTracing(undefined, {});
      // Its API alone, of a few types and no-ops, comes with prom-client anyhow.
      const own = urls.filter((url) => /opentelemetry\\/(?!api\\/)/.test(url));
      console.log(JSON.stringify({ all: urls.length, own }));`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    const { all, own } = JSON.parse(output.trim().split('\n').at(-1) ?? '') as { all: number; own: string[] };
    expect(all).toBeGreaterThan(100);
    expect(own).toEqual([]);
  });

  it('is there for one that is', async () => {
    const collector = new Collector();
    opened.push(collector);
    const settings = { endpoint: await collector.listen(), ca: undefined, authorization: undefined };
    const trace = await openTracing(settings, { version: '1.2.3', log: new TestLog() });
    expect(trace).toBeInstanceOf(OtlpTraces);
    await trace?.close();
  });
});
