/** A small daemon behind the real control socket: three domains in states worth showing. */
import type { AuditEvent } from '../../src/core/protocol/audit-event.ts';
import type {
  AnnotateRequest,
  AnnotateResult,
  DomainDisks,
  DomainStatus,
  Explanation,
  LookResult,
  ReprovisionRequest,
  ReprovisionResult,
} from '../../src/core/protocol/control-protocol.ts';
import type { Problem } from '../../src/core/errors.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { Handover, ReceiveResult } from '../../src/core/handover.ts';
import type {
  CachedImages,
  GcResult,
  ImageFacts,
  ImageRequest,
  ReadImage,
  RmResult,
  StoredImages,
} from '../../src/core/protocol/image-protocol.ts';
import type { Finding, GarbageReport, GarbageRequest } from '../../src/core/protocol/garbage-protocol.ts';
import type {
  CryptoEraseRequest,
  CryptoEraseResult,
  RotateKeyRequest,
  RotateKeyResult,
} from '../../src/core/protocol/key-protocol.ts';
import type { Job, JobFilter, JobRequest, Jobs } from '../../src/core/protocol/job-protocol.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type {
  ControlVerbs,
  GarbageVerbs,
  ImageVerbs,
  JobVerbs,
  KeyVerbs,
} from '../../src/provision/ports/verbs.ts';

export const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

const volume = { image: 'images/debian-13.qcow2', format: 'qcow2', pool: 'guests' } as const;

export const WEB: DomainStatus = {
  uuid: '9d3a4b1c-0000-4000-8000-000000000001',
  name: 'web1',
  active: false,
  startWhenReady: true,
  problems: [],
  volumes: [
    {
      ...volume,
      target: 'vda',
      volume: 'web1-root',
      state: 'filling',
      bytesDone: 3 * 2 ** 28,
      bytesTotal: 2 ** 30,
      rateBytesPerSecond: 800 * 2 ** 20,
      secondsLeft: 1.2,
      fillId: '00112233445566aa',
      updatedAt: '2026-11-22T08:00:00Z',
    },
    { ...volume, target: 'vdb', volume: 'web1-data', state: 'waiting' },
  ],
};

export const DB: DomainStatus = {
  uuid: '9d3a4b1c-0000-4000-8000-000000000002',
  name: 'db1',
  active: true,
  startWhenReady: false,
  problems: [],
  volumes: [
    {
      ...volume,
      target: 'vda',
      volume: 'db1-root',
      state: 'ready',
      sha256: 'ab'.repeat(32),
      drift: 'generation 1, asked for 2',
    },
  ],
};

export const BROKEN: DomainStatus = {
  uuid: '9d3a4b1c-0000-4000-8000-000000000003',
  name: 'broken',
  active: false,
  startWhenReady: false,
  problems: [],
  volumes: [
    {
      ...volume,
      target: 'vda',
      volume: 'broken-root',
      state: 'failed',
      problem: {
        code: 'DIGEST_MISMATCH',
        message: 'The image images/debian-13.qcow2 has another digest than asked for.',
        hint: 'Correct sha256 in the annotation or upload the image again.',
      },
    },
  ],
};

/** Not annotated. */
const PLAIN: DomainStatus = {
  ...{ uuid: '9d3a4b1c-0000-4000-8000-000000000005', name: 'plain1', active: false, startWhenReady: false },
  ...{ volumes: [], problems: [] },
};

export const SEAL = {
  ...{ state: 'ready' as const, fillId: '00112233445566aa', target: 'db1-root', domainUuid: DB.uuid },
  ...{ image: 'images/debian-13.qcow2', sha256: 'ab'.repeat(32), generation: 1 },
};

export class FakeVerbs implements ControlVerbs {
  readonly calls: unknown[] = [];
  readonly #domains = [BROKEN, DB, WEB];
  /** What `domain('web1')` answers next, one after the other; then WEB again. */
  progress: DomainStatus[] = [];

  domains(): Promise<readonly DomainStatus[]> {
    return Promise.resolve(this.#domains);
  }

  domain(nameOrUuid: string): Promise<DomainStatus> {
    const next = nameOrUuid === 'web1' ? this.progress.shift() : undefined;
    return next === undefined ? this.#find(nameOrUuid) : Promise.resolve(next);
  }

  /** Why the host is frozen. */
  frozen: Problem | undefined;

  look(): Promise<LookResult> {
    this.calls.push(['look']);
    return Promise.resolve({ ...(this.frozen && { frozen: this.frozen }), fills: 2 });
  }

  /** Beside the annotated ones a domain that nobody has annotated, and one disk that cannot be filled. */
  async disks(nameOrUuid?: string): Promise<DomainDisks> {
    const domain = nameOrUuid === undefined ? undefined : await this.#find(nameOrUuid);
    const all = [BROKEN, DB, WEB].map(({ uuid, name, volumes }) => ({
      ...{ uuid, name },
      disks: volumes.map(({ target, pool, volume: lv, image }) => ({
        ...{ target, pool, volume: lv, image },
        encrypted: false,
      })),
    }));
    const problem = { code: 'DISK_UNSUITABLE', message: 'Disk "sda" is a device of kind "cdrom".' };
    const plain = {
      ...{ uuid: PLAIN.uuid, name: PLAIN.name },
      disks: [
        { target: 'vda', pool: 'guests', volume: 'plain1-root', encrypted: false },
        { target: 'sda', encrypted: false, problem },
      ],
    };
    const found = [...all, plain].filter(({ uuid }) => domain === undefined || uuid === domain.uuid);
    return { domains: found, more: false };
  }

  async explain(nameOrUuid: string): Promise<Explanation> {
    const { uuid, name } = await this.#find(nameOrUuid);
    return {
      uuid,
      name,
      start: { allowed: false, why: 'vda is being filled, 75 % done.' },
      steps: [
        {
          target: 'vda',
          action: 'wait',
          why: 'its fill 00112233445566aa runs',
          policy: 'rule web allows it',
        },
        { target: 'vdb', action: 'fill', why: 'there is no volume guests/web1-data' },
      ],
    };
  }

  async annotate(nameOrUuid: string, request: AnnotateRequest): Promise<AnnotateResult> {
    await this.#find(nameOrUuid);
    this.calls.push(['annotate', nameOrUuid, request]);
    if (request.target === 'vdz') {
      throw new ProvisionError({
        code: 'DOMAIN_NOT_FOUND',
        message: `The domain ${nameOrUuid} has no disk vdz.`,
        hint: 'It has vda and vdb.',
      });
    }
    const xml = `<vp:provision xmlns:vp="urn:libvirt-volume-provisioner:domain:1">\n  <vp:volume target="${request.target}" image="${request.image}" format="${request.format}"/>\n</vp:provision>`;
    return { xml, applied: request.dryRun !== true };
  }

  async cancel(nameOrUuid: string, target?: string): Promise<DomainStatus> {
    const domain = await this.#find(nameOrUuid);
    this.calls.push(['cancel', nameOrUuid, target]);
    return domain;
  }

  async retry(nameOrUuid: string, target?: string): Promise<DomainStatus> {
    const domain = await this.#find(nameOrUuid);
    this.calls.push(['retry', nameOrUuid, target]);
    if (domain === DB) {
      throw new ProvisionError({ code: 'VOLUME_STATE', message: 'The volume guests/db1-root is ready.' });
    }
    return domain;
  }

  async reprovision(nameOrUuid: string, request: ReprovisionRequest): Promise<ReprovisionResult> {
    const { uuid, name } = await this.#find(nameOrUuid);
    this.calls.push(['reprovision', nameOrUuid, request]);
    const confirm = `${name}/${request.target}`;
    if (request.dryRun !== true && request.confirm !== confirm) {
      throw new ProvisionError({
        code: 'USAGE',
        message: `It has to be confirmed with exactly "${confirm}".`,
      });
    }
    return {
      ...{ uuid, name, target: request.target, confirm, volume: 'vg0/web1-root', sizeBytes: 20 * 2 ** 30 },
      holds: { image: 'images/debian-12.qcow2', sha256: 'ab'.repeat(32), generation: 1 },
      wanted: { image: 'images/debian-13.qcow2', generation: 2 },
    };
  }

  provision(xml: string): Promise<DomainStatus> {
    this.calls.push(['provision', xml.length]);
    return this.#find('web1');
  }

  async handover(nameOrUuid: string): Promise<Handover> {
    const { uuid, name } = await this.#find(nameOrUuid);
    return { uuid, name, volumes: [{ target: 'vda', pool: 'guests', sizeBytes: 2 ** 30, seal: SEAL }] };
  }

  receive(handover: Handover): Promise<ReceiveResult> {
    this.calls.push(['receive', handover]);
    const { uuid, name } = handover;
    const volumes = handover.volumes.map(({ target, pool, seal }) => ({
      ...{ target, pool, volume: seal.target, made: 'created' as const },
    }));
    return Promise.resolve({ uuid, name, volumes, until: '2026-11-22T09:00:00.000Z' });
  }

  #find(nameOrUuid: string): Promise<DomainStatus> {
    const domain = [...this.#domains, PLAIN].find(
      ({ name, uuid }) => name === nameOrUuid || uuid === nameOrUuid,
    );
    if (domain !== undefined) return Promise.resolve(domain);
    return Promise.reject(
      new ProvisionError({
        code: 'DOMAIN_NOT_FOUND',
        message: `There is no domain '${nameOrUuid}'.`,
        hint: 'See: virsh list --all',
      }),
    );
  }
}

const CACHED: CachedImages['images'][number] = {
  sha256: 'ab'.repeat(32),
  sizeBytes: 300 * 2 ** 20,
  image: 'images/debian-13.qcow2',
  usedAt: '2026-11-22T08:00:00.000Z',
  inUse: false,
  pinned: false,
  kept: 'recent',
};

/** One image in a cache of 1 GiB; images/bad has another digest than it should. */
export class FakeImageVerbs implements ImageVerbs {
  readonly calls: unknown[] = [];

  /** In place of the one image. */
  list: CachedImages | undefined;

  images(): Promise<CachedImages> {
    return Promise.resolve(
      this.list ?? { sizeMaxBytes: 2 ** 30, images: [CACHED], golden: [], goldenSpace: [] },
    );
  }

  stored(): Promise<StoredImages> {
    const images = ['images/debian-12.qcow2', 'images/debian-13.qcow2', 'images/data.raw.zst'];
    return Promise.resolve({
      images: images.map((image) => ({ image, sizeBytes: 2 ** 28, modifiedAt: '2026-11-20T08:00:00.000Z' })),
      more: false,
    });
  }

  inspect(request: ImageRequest): Promise<ImageFacts> {
    return Promise.resolve({
      ...{ image: request.image, format: request.format, sizeBytes: 300 * 2 ** 20, etag: '0123abcd' },
      ...{ virtualSizeBytes: 3 * 2 ** 30, dataBytes: 2 ** 30, sha256: 'ab'.repeat(32) },
      ...{ proofs: ['sha256' as const], cached: true },
    });
  }

  async verify(
    request: ImageRequest,
    signal: AbortSignal,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
  ): Promise<ReadImage> {
    this.calls.push(['verify', request]);
    onProgress(50, 100);
    if (request.image === 'images/endless') {
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve);
      });
      this.calls.push('aborted');
    }
    if (request.image === 'images/bad') {
      throw new ProvisionError({
        code: 'DIGEST_MISMATCH',
        message: 'The image images/bad has another digest.',
        hint: 'Upload it again.',
      });
    }
    const { image } = request;
    return { image, sizeBytes: 100, sha256: 'cd'.repeat(32), proven: true, from: 'store', cached: false };
  }

  async prefetch(...call: Parameters<FakeImageVerbs['verify']>): Promise<ReadImage> {
    return { ...(await this.verify(...call)), cached: true };
  }

  rm(images: readonly string[]): Promise<RmResult> {
    this.calls.push(['rm', images]);
    if (images.includes(CACHED.image)) return Promise.resolve({ removed: [CACHED], removedGolden: [] });
    const message = `There is no image ${images.join()} on this host.`;
    return Promise.reject(new ProvisionError({ code: 'IMAGE_NOT_FOUND', message }));
  }

  gc(all: boolean): Promise<GcResult> {
    this.calls.push(['gc', all]);
    return Promise.resolve({ evicted: all ? [CACHED] : [], evictedGolden: [] });
  }
}

const ORPHAN: Finding = {
  ...{
    kind: 'orphan',
    name: 'vg0/old-root',
    domain: '9d3a4b1c-0000-4000-8000-000000000004',
    action: 'delete',
  },
  ...{ done: false, why: 'the domain old is gone, and nothing proves that its guest has ended here' },
  hint: 'Delete it with: lvp gc --delete-orphans',
};

/** A fill that nobody goes on with, and a published volume whose domain is gone. */
export class FakeGarbageVerbs implements GarbageVerbs {
  readonly calls: GarbageRequest[] = [];
  findings: readonly Finding[] = [
    {
      ...{ kind: 'abandoned', name: 'vg0/lvp-fill-00112233445566aa', action: 'remove', done: false },
      why: 'begun for a fill that nobody goes on with',
    },
    ORPHAN,
  ];

  collect(request: GarbageRequest): Promise<GarbageReport> {
    this.calls.push(request);
    const { dryRun = false, deleteOrphans = [] } = request;
    return Promise.resolve({
      findings: this.findings.map((one) => ({
        ...one,
        done: !dryRun && (one.action === 'remove' || deleteOrphans.includes(one.name)),
      })),
    });
  }
}

export const JOB: Job = {
  ...{ id: '9d3a4b1c-0000-4000-8000-00000000000a', state: 'running', location: 'vg0/web2-root' },
  request: { image: 'images/debian-13.qcow2', format: 'qcow2', volume: 'web2-root' },
  ...{ by: 'uid:0', bytesDone: 2 ** 29, bytesTotal: 2 ** 30, phase: 'filling' },
  ...{ createdAt: '2026-11-22T08:00:00.000Z', updatedAt: '2026-11-22T08:00:01.000Z' },
};

export const FAILED_JOB: Job = {
  ...JOB,
  ...{ id: '9d3a4b1c-0000-4000-8000-00000000000b', state: 'failed', location: 'vg0/web3-root', bytesDone: 0 },
  problem: {
    code: 'IMAGE_NOT_FOUND',
    message: 'There is no image images/debian-13.qcow2.',
    hint: 'Upload it.',
  },
};

/** One that runs and one that has failed. */
export class FakeJobVerbs implements JobVerbs {
  readonly calls: unknown[] = [];
  /** What `job(JOB.id)` answers next, one after the other; then JOB again. */
  progress: Job[] = [];

  start(request: JobRequest, by: string): Promise<Job> {
    this.calls.push(['start', request, by]);
    return Promise.resolve(JOB);
  }

  job(id: string): Promise<Job> {
    const found = [this.progress.shift() ?? JOB, FAILED_JOB].find((job) => job.id === id);
    if (found !== undefined) return Promise.resolve(found);
    return Promise.reject(new ProvisionError({ code: 'JOB_NOT_FOUND', message: `There is no job ${id}.` }));
  }

  jobs(filter: JobFilter): Promise<Jobs> {
    this.calls.push(['jobs', filter]);
    return Promise.resolve({ jobs: [JOB, FAILED_JOB] });
  }

  cancel(id: string): Promise<Job> {
    this.calls.push(['cancel', id]);
    return this.job(id);
  }

  retry(id: string): Promise<Job> {
    this.calls.push(['retry', id]);
    return this.job(id);
  }
}

/** One encrypted volume, vda of web1. */
export class FakeKeyVerbs implements KeyVerbs {
  readonly calls: unknown[] = [];

  rotate(request: RotateKeyRequest): Promise<RotateKeyResult> {
    this.calls.push(['rotate', request]);
    const { target, to, dryRun } = request;
    if (to === 'file:taken') {
      const message = 'The key file:taken is that of disk vda of domain db1 already.';
      return Promise.reject(new ProvisionError({ code: 'KEY_IN_USE', message, hint: 'Make another one.' }));
    }
    return Promise.resolve({
      ...{ uuid: WEB.uuid, name: 'web1', target, volume: 'vg0/web1-root', from: 'file:old', to },
      ...{ applied: dryRun !== true, next: ['lvp key revoke file:old'] },
    });
  }

  erase(request: CryptoEraseRequest): Promise<CryptoEraseResult> {
    this.calls.push(['erase', request]);
    const volume = 'vg0/web1-root';
    if (request.dryRun !== true && request.confirm !== volume) {
      const message = `It has to be confirmed with exactly "${volume}".`;
      return Promise.reject(new ProvisionError({ code: 'USAGE', message }));
    }
    return Promise.resolve({
      ...{
        volume,
        sizeBytes: 20 * 2 ** 30,
        domain: WEB.uuid,
        name: 'web1',
        applied: request.dryRun !== true,
      },
      holds: { image: 'images/debian-12.qcow2', sha256: 'ab'.repeat(32), generation: 1 },
    });
  }
}

/** What has been written down of WEB. */
export const EVENTS: AuditEvent[] = [
  {
    ...{ at: '2026-11-30T08:00:00.000Z', who: 'uid:0', what: 'reprovision', volume: 'vg0/web1-root' },
    ...{ domain: WEB.uuid, decision: 'allowed', outcome: 'done', correlationId: 'aa11' },
  },
  {
    ...{ at: '2026-11-30T08:00:01.000Z', who: `domain:${WEB.uuid}`, what: 'fill', volume: 'vg0/web1-root' },
    ...{ domain: WEB.uuid, decision: 'allowed', outcome: 'failed', correlationId: '00112233445566aa' },
    problem: { code: 'DIGEST_MISMATCH', message: 'It has\nanother digest.' },
  },
];
