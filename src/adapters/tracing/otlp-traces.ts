/**
 * Traces of fills over OTLP/HTTP with JSON (https://opentelemetry.io/docs/specs/otlp/), by OpenTelemetry's own SDK.
 * Nothing of it is global, and nothing is looked into by itself: there are the spans made here, and no others.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Attributes, Context, Span, Tracer } from '@opentelemetry/api';
import { ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { IdGenerator } from '@opentelemetry/sdk-trace';
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import { imageName } from '../../core/request.ts';
import type { TracingSettings } from '../../core/settings/tracing-settings.ts';
import type { FillFacts, FillStep, FillTrace } from '../../provision/ports/fill-trace.ts';
import type { Log } from '../../provision/ports/host.ts';
import type { FillRecord } from '../../provision/ports/ledger.ts';
import type { FillEnd } from '../../provision/ports/watches.ts';
import { TellingExporter } from './telling-exporter.ts';

const NAME = 'libvirt-volume-provisioner';
/** Spans that wait to be sent: some 80 fills. What comes then is dropped. */
const WAITING_MAX = 512;
const SENT_TOGETHER_MAX = 128;
/** Under way at the same time: all that waits, at the end, and what is under way by then. */
const REQUESTS_MAX = WAITING_MAX / SENT_TOGETHER_MAX + 1;
const SEND_EACH_MS = 2_000;
const SEND_LIMIT_MS = 5_000;
/** Longer than the one before, which has the better reason to tell. */
const EXPORT_LIMIT_MS = 10_000;
const CLOSE_LIMIT_MS = 3_000;
const TEXT_MAX = 1_024;

export interface OtlpTracesOptions {
  readonly version: string;
  readonly log: Log;
  /** How long spans wait for others to be sent with, in ms. */
  readonly sendEachMs?: number;
  /** How long the end waits for what is still to be sent, in ms. */
  readonly closeLimitMs?: number;
}

interface Running {
  /** Unix time in ms, with fractions, that does not jump: where one step ends the next one begins. */
  readonly nowMs: () => number;
  readonly span: Span;
  readonly context: Context;
  step: { readonly name: FillStep; readonly span: Span } | undefined;
}

export class OtlpTraces implements FillTrace {
  readonly #closeLimitMs: number;
  readonly #provider: TracerProvider;
  readonly #tracer: Tracer;
  readonly #ids = new FillIds();
  readonly #running = new Map<string, Running>();

  constructor(
    { endpoint, ca, authorization }: TracingSettings,
    { version, log, sendEachMs = SEND_EACH_MS, closeLimitMs = CLOSE_LIMIT_MS }: OtlpTracesOptions,
  ) {
    this.#closeLimitMs = closeLimitMs;
    const exporter = new OTLPTraceExporter({
      url: tracesUrl(endpoint),
      headers: authorization === undefined ? {} : { authorization: authorization.reveal() },
      timeoutMillis: SEND_LIMIT_MS,
      concurrencyLimit: REQUESTS_MAX,
      httpAgentOptions: { keepAlive: true, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) },
    });
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({
        'service.name': NAME,
        'service.version': version,
        'host.name': hostname(),
        'process.pid': process.pid,
      }),
      sampler: new AlwaysOnSampler(),
      idGenerator: this.#ids,
      spanLimits: { attributeValueLengthLimit: TEXT_MAX },
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new TellingExporter(exporter, endpoint.href, log),
          ...{ maxQueueSize: WAITING_MAX, maxExportBatchSize: SENT_TOGETHER_MAX },
          ...{ scheduledDelayMillis: sendEachMs, exportTimeoutMillis: EXPORT_LIMIT_MS },
        }),
      ],
    });
    this.#tracer = this.#provider.getTracer(NAME, version);
  }

  begun(record: FillRecord, task: string): void {
    const { fillId } = record;
    const sinceMs = Date.now() - performance.now();
    const nowMs = () => sinceMs + performance.now();
    this.#ids.next = fillId;
    const attributes = { ...attributesOf(record), 'lvp.fill.task': task };
    const span = this.#tracer.startSpan('fill', { root: true, startTime: nowMs(), attributes }, ROOT_CONTEXT);
    this.#running.set(fillId, { nowMs, span, context: trace.setSpan(ROOT_CONTEXT, span), step: undefined });
  }

  entered(fillId: string, step: FillStep): void {
    const running = this.#running.get(fillId);
    if (running === undefined || running.step?.name === step) return;
    const startTime = running.nowMs();
    running.step?.span.end(startTime);
    running.step = { name: step, span: this.#tracer.startSpan(step, { startTime }, running.context) };
  }

  learned(fillId: string, { requestedAs, from, objectBytes, volumeBytes, sha256 }: FillFacts): void {
    const known = {
      'lvp.request.correlation_id': requestedAs,
      'lvp.image.from': from,
      'lvp.image.size_bytes': objectBytes,
      'lvp.image.sha256': sha256,
      'lvp.volume.size_bytes': volumeBytes,
    };
    for (const [name, value] of Object.entries(known)) {
      if (value !== undefined) this.#running.get(fillId)?.span.setAttribute(name, value);
    }
  }

  ended(fillId: string, end: FillEnd): void {
    const running = this.#running.get(fillId);
    this.#running.delete(fillId);
    if (running === undefined) return;
    const { span, step } = running;
    const endTime = running.nowMs();
    span.setAttribute('lvp.fill.outcome', end.how);
    if ('problem' in end) {
      const { code, message } = end.problem;
      for (const each of [span, ...(step === undefined ? [] : [step.span])]) {
        each.setAttribute('error.type', code);
        if (end.how === 'failed')
          each.setStatus({ code: SpanStatusCode.ERROR, message: message.slice(0, TEXT_MAX) });
      }
    }
    step?.span.end(endTime);
    span.end(endTime);
  }

  async close(): Promise<void> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(late.resolve, this.#closeLimitMs, undefined);
    // What could not be sent has been told by the exporter.
    await Promise.race([this.#provider.shutdown().catch(() => undefined), late.promise]);
    clearTimeout(timer);
  }
}

/**
 * A fill's trace has its id, twice: from any line of log or audit trail to the trace without a search. A fill that goes
 * on after a restart goes on in the same trace.
 */
class FillIds implements IdGenerator {
  next: string | undefined;

  generateTraceId(): string {
    const { next } = this;
    this.next = undefined;
    return next === undefined ? randomBytes(16).toString('hex') : `${next}${next}`;
  }

  generateSpanId(): string {
    return randomBytes(8).toString('hex');
  }
}

/** Names of https://opentelemetry.io/docs/specs/semconv/ where it has one. */
function attributesOf({
  fillId,
  domainUuid,
  domainName,
  location,
  request,
  attempts,
}: FillRecord): Attributes {
  return {
    'lvp.correlation_id': fillId,
    'lvp.domain.uuid': domainUuid,
    'lvp.domain.name': domainName,
    'lvp.disk.target': request.target,
    'lvp.volume.name': volumeKey(location),
    'lvp.volume.pool': location.pool,
    'lvp.image.name': imageName(request.image),
    'lvp.image.format': request.format,
    'lvp.fill.attempt': attempts + 1,
    'aws.s3.bucket': request.image.bucket,
    'aws.s3.key': request.image.key,
  };
}

function tracesUrl({ href }: URL): string {
  return `${href.replace(/\/$/, '')}/v1/traces`;
}
