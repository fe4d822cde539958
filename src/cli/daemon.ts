/** The daemon as `lvp` sees it: what can be asked of it, whichever way the questions go. */
import type { z } from 'zod';
import { ProvisionError } from '../core/errors.ts';
import { Handover, ReceiveResult } from '../core/handover.ts';
import type { AuditQuery } from '../core/protocol/audit-protocol.ts';
import { AuditEvents } from '../core/protocol/audit-protocol.ts';
import type { AnnotateRequest, ReprovisionRequest } from '../core/protocol/control-protocol.ts';
import {
  AnnotateResult,
  DomainDisks,
  DomainList,
  DomainStatus,
  ErrorBody,
  Explanation,
  LookResult,
  problemOf,
  ReprovisionResult,
} from '../core/protocol/control-protocol.ts';
import type { GarbageRequest } from '../core/protocol/garbage-protocol.ts';
import { GarbageReport } from '../core/protocol/garbage-protocol.ts';
import type { ImageRequest, PrefetchRequest, ReadImage } from '../core/protocol/image-protocol.ts';
import {
  CachedImages,
  GcResult,
  ImageFacts,
  ImageStep,
  RmResult,
  StoredImages,
} from '../core/protocol/image-protocol.ts';
import type { JobFilter, JobRequest } from '../core/protocol/job-protocol.ts';
import { Job, Jobs } from '../core/protocol/job-protocol.ts';
import type { CryptoEraseRequest, RotateKeyRequest } from '../core/protocol/key-protocol.ts';
import { CryptoEraseResult, RotateKeyResult } from '../core/protocol/key-protocol.ts';
import { parsedJson } from './transport/parsed-json.ts';
import type { Asked, Transport } from './transport/transport.ts';

export class Daemon {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  domains(): Promise<DomainStatus[]> {
    return this.#call(DomainList, 'GET', '/v1/domains');
  }

  domain(name: string): Promise<DomainStatus> {
    return this.#call(DomainStatus, 'GET', pathOf(name));
  }

  /** Of all domains, annotated or not, or of one. */
  disks(name?: string): Promise<DomainDisks> {
    return this.#call(DomainDisks, 'GET', `/v1/disks${queryOf({ domain: name })}`);
  }

  explain(name: string): Promise<Explanation> {
    return this.#call(Explanation, 'GET', pathOf(name, 'plan'));
  }

  annotate(name: string, body: AnnotateRequest): Promise<AnnotateResult> {
    return this.#call(AnnotateResult, 'POST', pathOf(name, 'annotate'), body);
  }

  cancel(name: string, target: string | undefined): Promise<DomainStatus> {
    return this.#call(DomainStatus, 'POST', pathOf(name, 'cancel'), { target });
  }

  retry(name: string, target: string | undefined): Promise<DomainStatus> {
    return this.#call(DomainStatus, 'POST', pathOf(name, 'retry'), { target });
  }

  reprovision(name: string, body: ReprovisionRequest): Promise<ReprovisionResult> {
    return this.#call(ReprovisionResult, 'POST', pathOf(name, 'reprovision'), body);
  }

  provision(xml: string): Promise<DomainStatus> {
    return this.#call(DomainStatus, 'POST', '/v1/domains', { xml });
  }

  /** Oldest first. */
  audit(query: Partial<AuditQuery>): Promise<AuditEvents> {
    return this.#call(AuditEvents, 'GET', `/v1/audit${queryOf(query)}`);
  }

  startJob(request: JobRequest): Promise<Job> {
    return this.#call(Job, 'POST', '/v1/jobs', request);
  }

  job(id: string): Promise<Job> {
    return this.#call(Job, 'GET', pathOfJob(id));
  }

  /** Newest first. */
  jobs(filter: Partial<JobFilter> = {}): Promise<Jobs> {
    return this.#call(Jobs, 'GET', `/v1/jobs${queryOf(filter)}`);
  }

  changeJob(verb: 'cancel' | 'retry', id: string): Promise<Job> {
    return this.#call(Job, 'POST', `${pathOfJob(id)}/${verb}`, {});
  }

  /** What is in the cache of the host. */
  images(): Promise<CachedImages> {
    return this.#call(CachedImages, 'GET', '/v1/images');
  }

  /** What is in the buckets. */
  storedImages(): Promise<StoredImages> {
    return this.#call(StoredImages, 'GET', '/v1/images/stored');
  }

  inspectImage(request: ImageRequest): Promise<ImageFacts> {
    return this.#call(ImageFacts, 'POST', '/v1/images/inspect', request);
  }

  /** Takes as long as it takes. */
  async readImage(
    verb: 'verify' | 'prefetch',
    request: PrefetchRequest,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
  ): Promise<ReadImage> {
    const asked = { method: 'POST', path: `/v1/images/${verb}`, body: request } as const;
    let result: ReadImage | undefined;
    await this.#transport.ask(asked, (line) => {
      const step = understood(ImageStep, line);
      if ('result' in step) result = step.result;
      else if ('bytesDone' in step) onProgress(step.bytesDone, step.bytesTotal);
    });
    if (result !== undefined) return result;
    throw new ProvisionError({
      code: 'DAEMON_UNREACHABLE',
      message: 'The provisioner ended before the image was read.',
      hint: 'See: systemctl status libvirt-volume-provisioner',
    });
  }

  /** Each as `BUCKET/KEY`, or as at least 8 digits of its SHA-256. */
  removeImages(images: readonly string[]): Promise<RmResult> {
    return this.#call(RmResult, 'POST', '/v1/images/rm', { images });
  }

  collectImages(all: boolean): Promise<GcResult> {
    return this.#call(GcResult, 'POST', '/v1/images/gc', { all });
  }

  /** In Prometheus's text format. */
  metrics(): Promise<string> {
    return this.#transport.ask({ method: 'GET', path: '/metrics' });
  }

  // Those below are for this host: the HTTP API has them not.

  look(): Promise<LookResult> {
    return this.#call(LookResult, 'POST', '/v1/look', {});
  }

  handover(name: string): Promise<Handover> {
    return this.#call(Handover, 'GET', pathOf(name, 'handover'));
  }

  receive(handover: Handover): Promise<ReceiveResult> {
    return this.#call(ReceiveResult, 'POST', '/v1/receive', handover);
  }

  collectGarbage(request: GarbageRequest): Promise<GarbageReport> {
    return this.#call(GarbageReport, 'POST', '/v1/gc', request);
  }

  rotateKey(request: RotateKeyRequest): Promise<RotateKeyResult> {
    return this.#call(RotateKeyResult, 'POST', '/v1/keys/rotate', request);
  }

  cryptoErase(request: CryptoEraseRequest): Promise<CryptoEraseResult> {
    return this.#call(CryptoEraseResult, 'POST', '/v1/keys/erase', request);
  }

  #call<T>(schema: z.ZodType<T>, method: Asked['method'], path: string, body?: object): Promise<T> {
    return answerOf(this.#transport, schema, { method, path, body });
  }
}

/** The answer, understood; INTERNAL if it cannot be. */
export async function answerOf<T>(transport: Transport, schema: z.ZodType<T>, asked: Asked): Promise<T> {
  return understood(schema, await transport.ask(asked));
}

function pathOf(name: string, verb?: string): string {
  return `/v1/domains/${encodeURIComponent(name)}${verb === undefined ? '' : `/${verb}`}`;
}

function pathOfJob(id: string): string {
  return `/v1/jobs/${encodeURIComponent(id)}`;
}

/** With its question mark; empty if nothing is asked for. */
function queryOf(asked: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(asked).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)] as [string, string]],
  );
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
}

/** A line among others may be a failure. */
function understood<T>(schema: z.ZodType<T>, text: string): T {
  const answer = parsedJson(text);
  const failed = ErrorBody.safeParse(answer);
  if (failed.success) throw new ProvisionError(problemOf(failed.data));
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new ProvisionError({
    code: 'INTERNAL',
    message: 'The provisioner answered with something this lvp does not understand.',
    hint: 'Both must be of the same version. On this host, if lvp is newer: systemctl restart libvirt-volume-provisioner',
    cause: parsed.error,
  });
}
