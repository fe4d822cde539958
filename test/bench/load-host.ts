/**
 * The daemon without libvirt and LVM around it: HTTP API with TLS and tokens, ledger, audit trail, metrics, planner,
 * jobs and fills are the real ones, from a real store to loop devices. LVM is the model that the helper's own tests
 * use, behind the helper's own protocol. How it is set up comes as a message; each further one is a job to begin, and
 * is answered when that has ended.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { RecordedAudit } from '../../src/adapters/audit-trail.ts';
import { JournalStream } from '../../src/adapters/audit/journal-stream.ts';
import { openBlockDevice } from '../../src/adapters/block-device.ts';
import { systemClock } from '../../src/adapters/clock.ts';
import { SystemDecompressors } from '../../src/adapters/decompressors.ts';
import { watchEventLoop } from '../../src/adapters/event-loop-delay.ts';
import { JournalFolder } from '../../src/adapters/fill-journals.ts';
import { openHttpApi } from '../../src/adapters/http-api.ts';
import { ImageFolder } from '../../src/adapters/image-cache.ts';
import { openLedger } from '../../src/adapters/ledger.ts';
import { openLog } from '../../src/adapters/log.ts';
import { LvmHelper } from '../../src/adapters/lvm-helper.ts';
import { Metrics } from '../../src/adapters/metrics.ts';
import { MinioImages } from '../../src/adapters/minio/images.ts';
import { WorkerThreads } from '../../src/adapters/threads.ts';
import type { HttpSettings } from '../../src/core/settings/http-settings.ts';
import type { Job, JobRequest } from '../../src/core/protocol/job-protocol.ts';
import type { LogicalPool } from '../../src/core/request.ts';
import { keyLengthsOf } from '../../src/core/protocol/helper-protocol.ts';
import { serveLines } from '../../src/helper/connections.ts';
import { answer } from '../../src/helper/requests.ts';
import { auditedFills, auditedVolumes } from '../../src/provision/audit/audited-effects.ts';
import { DomainVerbs } from '../../src/provision/control-verbs.ts';
import { FindAudit } from '../../src/provision/audit/find-audit.ts';
import { GoldenVolumes } from '../../src/provision/golden/golden-volumes.ts';
import { fillVolume } from '../../src/provision/fill/fill-volume.ts';
import { Fills } from '../../src/provision/fill/fills.ts';
import { CachedImageVerbs } from '../../src/provision/images/image-verbs.ts';
import { PoolKeeper } from '../../src/provision/pools/pool-keeper.ts';
import type { AuditTrail } from '../../src/provision/ports/audit.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type { JobRecord } from '../../src/provision/ports/ledger.ts';
import type { Domains, Pools } from '../../src/provision/ports/libvirt.ts';
import type { VolumeDevice, VolumeDevices, Volumes } from '../../src/provision/ports/volumes.ts';
import { Reconciler } from '../../src/provision/reconcile.ts';
import { Reservations } from '../../src/provision/reservations.ts';
import { VolumeJobs } from '../../src/provision/jobs/volume-jobs.ts';
import { watchedFill } from '../../src/provision/fill/watched-fill.ts';
import { MemoryLvm } from '../helper/memory-lvm.ts';
import { NO_KEYS, NO_LUKS, nothingEncrypted } from '../helper/no-luks.ts';
import { KEYS } from './store.ts';

export interface HostSetUp {
  readonly folder: string;
  /** Of the store. */
  readonly endpoint: string;
  readonly devices: readonly string[];
  readonly http: HttpSettings;
  /** Jobs in the ledger that have ended. */
  readonly endedJobs: number;
}

/** `id` is one of the jobs that have ended. */
export interface Ready {
  readonly url: string;
  readonly id: string;
}

export type FromHost =
  | { readonly ready: Ready }
  | { readonly begun: string }
  | { readonly ended: Job }
  | { readonly stillMs: number };

const POOL: LogicalPool = {
  name: 'guests',
  uuid: '5e5f4a8e-4a36-4f9b-a6d5-2a57a2f0a4f1',
  vg: 'vg0',
  active: true,
};
/** Enough for whatever a run makes. */
const EXTENTS = 2 ** 30;
const LOOK_MS = 20;
/** What is shorter is the timer's own. */
const STILL_MIN_MS = 5;

// Not by the signal itself: a profile (node --cpu-prof) is written at the end.
process.once('SIGTERM', () => process.exit());
process.once('message', (setUp: HostSetUp) => {
  void open(setUp).then((begin) => {
    process.on('message', (request: JobRequest) => void begin(request));
  });
});

function tell(message: FromHost): void {
  process.send?.(message);
}

async function open(setUp: HostSetUp): Promise<(request: JobRequest) => Promise<void>> {
  const { folder, endpoint, http, endedJobs } = setUp;
  const clock = systemClock;
  const log = openLog('warn', 'json');
  const { ledger } = openLedger(join(folder, 'ledger.db'));
  const id = seedJobs(ledger, endedJobs);
  const journal = new JournalStream({
    identifier: 'bench',
    log,
    path: await openSink(join(folder, 'journal')),
  });
  const metrics = new Metrics('0.0.0');
  const audit = metrics.audit.counted(new RecordedAudit({ journal, store: ledger.audit, clock, log }));
  const lvm = new MemoryLvm();
  lvm.freeExtents = EXTENTS;
  const helper = metrics.helper.measured(new LvmHelper(await openHelper(lvm, join(folder, 'helper'))));
  const host = { clock, log, ledger, metrics, audit, volumes: auditedVolumes(helper, audit) };
  const { jobs, ...verbs } = await openVerbs(setUp, host);
  const { url } = await openHttpApi({
    ...{
      ...verbs,
      jobs,
      settings: http,
      endpoint: new URL(endpoint),
      version: '0.0.0',
      audit,
      clock,
      log,
      metrics,
    },
    onRequest: (...request) => {
      metrics.http.onRequest(...request);
    },
  });
  watchEventLoop(log, Infinity, (stillMs) => {
    if (stillMs > STILL_MIN_MS) tell({ stillMs });
  });
  tell({ ready: { url: url.href, id } });
  return async (request) => {
    let job = await jobs.start(request, 'bench');
    tell({ begun: job.id });
    while (job.state === 'pending' || job.state === 'running') {
      await clock.sleep(LOOK_MS);
      job = await jobs.job(job.id);
    }
    lvm.volumes = lvm.volumes.filter(({ lv }) => lv !== request.volume);
    tell({ ended: job });
  };
}

interface Host {
  readonly clock: typeof systemClock;
  readonly log: Log;
  readonly ledger: ReturnType<typeof openLedger>['ledger'];
  readonly metrics: Metrics;
  readonly audit: AuditTrail;
  readonly volumes: Volumes;
}

/** As src/main.ts puts them together. */
async function openVerbs({ folder, endpoint, devices: paths }: HostSetUp, host: Host) {
  const { metrics, audit, volumes, clock, log, ledger } = host;
  const images = new MinioImages({
    ...{ endpoint, caPem: undefined },
    ...{ accessKey: KEYS.MINIO_ROOT_USER, secretKey: KEYS.MINIO_ROOT_PASSWORD },
  });
  const cache = new ImageFolder({ folder: join(folder, 'cache'), store: images, log, budgetBytes: 0 });
  await cache.open();
  const workshops = new WorkerThreads();
  const devices = metrics.volumes.measured(new LoopDevices(paths, workshops));
  const reservations = new Reservations({ volumes, log });
  const pools = new PoolKeeper({ pools: POOLS, volumes, clock, log });
  const goldenNeeds = {
    ...{
      images,
      buckets: images.buckets,
      cache,
      workshops,
      volumes,
      devices,
      clock,
      log,
      reservations,
      pools,
      hostPolicy: undefined,
    },
    ...{ journals: new JournalFolder(join(folder, 'journals')), decompressors: new SystemDecompressors() },
    policy: {
      ...{ requireDigest: true, virtualSizeMaxBytes: 2 ** 41 },
      expansion: { ratioMax: 2_000, timeMaxMs: 3_600_000 },
    },
  };
  const thinPools = new Map<string, string>();
  const goldens = new GoldenVolumes({ ...goldenNeeds, luks: NO_LUKS, thinPools, ledger });
  const fillNeeds = { ...goldenNeeds, goldens, luks: NO_LUKS, keys: NO_KEYS };
  const freeze = { frozen: () => undefined };
  const fills = new Fills(
    { freeze, ledger, clock, log },
    watchedFill((...fill) => fillVolume(fillNeeds, ...fill), [metrics.fills, auditedFills(audit)]),
    { concurrentMax: paths.length, queueMax: 1_000, deadlineMs: 3_600_000 },
  );
  const needs = {
    ...{ freeze, ledger, clock, log, volumes, reservations, pools, fills, domains: NO_DOMAINS },
    ...{ goldens, thinPools },
    ...{
      firstStarts: new Map<string, string>(),
      retiring: new Set<string>(),
      ...nothingEncrypted(),
      hostPolicy: undefined,
    },
  };
  const reconciler = new Reconciler(needs);
  metrics.ask({ ledger, fills, reservations, cache, volumeGroups: [POOL.vg], keepFree: new Map() });
  return {
    jobs: new VolumeJobs({ ...needs, reconciler }),
    domains: new DomainVerbs({
      ...{ ...needs, reconciler, devices, sharedGroups: new Set<string>(), virtualSizeMaxBytes: 0 },
    }),
    images: new CachedImageVerbs(fillNeeds),
    space: reservations,
    events: new FindAudit({ ...needs, store: ledger.audit }),
  };
}

const POOLS: Pools = {
  list: () => Promise.resolve([POOL]),
  refresh: () => Promise.resolve(),
  start: () => Promise.resolve(),
  deleteVolume: () => Promise.reject(new Error('nothing is deleted here')),
};

const none = () => Promise.resolve(undefined);
const NO_DOMAINS: Domains = {
  list: () => Promise.resolve([]),
  ...{ read: none, xml: none, find: none, everyXml: none, start: none },
  hasArrived: () => Promise.resolve(false),
  hasManagedSave: () => Promise.resolve(false),
  writeAnnotation: none,
};

/** Whichever is free takes the place of the logical volume that is opened. */
class LoopDevices implements VolumeDevices {
  readonly #free: string[];
  readonly #workshops: WorkerThreads;

  constructor(paths: readonly string[], workshops: WorkerThreads) {
    this.#free = [...paths];
    this.#workshops = workshops;
  }

  async open(): Promise<VolumeDevice> {
    const path = this.#free.shift();
    if (path === undefined) throw new Error('more fills than devices');
    const device = await openBlockDevice(path, { zero: (...range) => this.#workshops.zero(...range) });
    const close = async () => {
      await device.close();
      this.#free.push(path);
    };
    return new Proxy(device, {
      get: (target, name) => {
        const value: unknown = name === 'close' ? close : Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }
}

/** journald, as far as the audit trail sees of it: it reads, and says nothing. */
async function openSink(path: string): Promise<string> {
  const server = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

async function openHelper(lvm: MemoryLvm, path: string): Promise<string> {
  const groups = () => Promise.resolve({ own: [POOL.vg], verified: [], shared: [], thinPools: new Map() });
  const { server } = serveLines({
    answer: (line, keys) => answer(line, lvm.tools(), groups, keys),
    keyLengthsOf,
    mayAsk: () => true,
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

/** Returns the id of one of them. */
function seedJobs(ledger: { putJob(record: JobRecord): void }, count: number): string {
  const nowMs = Date.now();
  const idOf = (index: number) => `00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;
  for (let index = 0; index < count; index++) {
    const atMs = nowMs - (count - index) * 60_000;
    const lv = `old-${index}-root`;
    ledger.putJob({
      ...{ id: idOf(index), by: 'token:ci', createdAtMs: atMs, updatedAtMs: atMs + 42_000 },
      request: {
        image: 'images/debian-13.qcow2',
        format: 'qcow2',
        size: '20GiB',
        volume: lv,
        pool: POOL.name,
      },
      location: { pool: POOL.name, vg: POOL.vg, lv },
      end: {
        ...{ state: 'completed', fillId: index.toString(16).padStart(16, '0'), sha256: 'a'.repeat(64) },
        ...{ bytesDone: 2 ** 30, bytesTotal: 2 ** 30, cacheHit: false },
      },
    });
  }
  return idOf(count >> 1);
}
