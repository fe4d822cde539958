/**
 * A small world in memory for the verbs: a volume group, a libvirt, a bucket, and a clock that only moves
 * when told. The real adapters are tested on the real host; this one is for orders of events and faults
 * that no real host produces on demand.
 */
import { createHash } from 'node:crypto';
import { SystemDecompressors } from '../../src/adapters/decompressors.ts';
import { openLedger } from '../../src/adapters/ledger.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ErrorCode, Problem } from '../../src/core/errors.ts';
import type { Frozen } from '../../src/core/frozen.ts';
import type { GoldenMax } from '../../src/core/thin/golden-budget.ts';
import type { KeepFree } from '../../src/core/volume/headroom.ts';
import type { MinisignKey } from '../../src/core/policy/minisign.ts';
import type { HostPolicy } from '../../src/core/policy/host-policy.ts';
import type { ImageReference, LogicalPool } from '../../src/core/request.ts';
import { imageName } from '../../src/core/request.ts';
import type {
  Encryption,
  GoldenReference,
  GoldenSeal,
  NewGoldenSeal,
  ReceivingMark,
  Seal,
} from '../../src/core/volume/volume.ts';
import {
  fillIdOf,
  LUKS_BLANK_HEAD_BYTES,
  LUKS_HEADER_BYTES,
  mappingName,
  privateName,
} from '../../src/core/volume/volume.ts';
import { answer } from '../../src/helper/requests.ts';
import type { AdmitNeeds } from '../../src/provision/gate/admit-start.ts';
import { GarbageCollector } from '../../src/provision/ends/collect-garbage.ts';
import { DomainVerbs } from '../../src/provision/control-verbs.ts';
import type { FillNeeds } from '../../src/provision/fill/fill-volume.ts';
import { fillVolume } from '../../src/provision/fill/fill-volume.ts';
import type { FillLimits } from '../../src/core/settings/fill-limits.ts';
import type { FillVolume } from '../../src/provision/fill/fills.ts';
import { Fills } from '../../src/provision/fill/fills.ts';
import type { AuditEvent } from '../../src/core/protocol/audit-event.ts';
import { GuestKeys } from '../../src/provision/keys/guest-keys.ts';
import type { GoldenVolume } from '../../src/provision/golden/golden-volumes.ts';
import { GoldenVolumes } from '../../src/provision/golden/golden-volumes.ts';
import type { Blankness } from '../../src/core/plan/input.ts';
import type { FillTrace } from '../../src/provision/ports/fill-trace.ts';
import type { Clock, Log } from '../../src/provision/ports/host.ts';
import type { ImageObject, Images, ReadOptions } from '../../src/provision/ports/images.ts';
import type { KeyFiles, VolumeKey } from '../../src/provision/ports/keys.ts';
import type { Domains, LibvirtDomain, Pools } from '../../src/provision/ports/libvirt.ts';
import type {
  LuksVolumes,
  PrivateVolume,
  VolumeDevices,
  Volumes,
} from '../../src/provision/ports/volumes.ts';
import { PoolKeeper } from '../../src/provision/pools/pool-keeper.ts';
import { Reconciler } from '../../src/provision/reconcile.ts';
import { VolumeJobs } from '../../src/provision/jobs/volume-jobs.ts';
import { RecentListing } from '../../src/provision/recent-listing.ts';
import { Reservations } from '../../src/provision/reservations.ts';
import { tracedFill, tracedVolumes } from '../../src/provision/fill/traced-fill.ts';
import { refusingWhileFrozen } from '../../src/provision/while-frozen.ts';
import { WriteRate } from '../../src/provision/stream/write-rate.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import { MemoryLvm } from '../helper/memory-lvm.ts';
import { modelCipher } from '../helper/model-luks.ts';
import { FakeKeys, FakeLuks, MemorySecrets } from './fake-keys.ts';

const VIRTUAL_SIZE_MAX_BYTES = 2 ** 40;
export const MIB = 1 << 20;

export const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

/** Sleeps end when advance() passes them, those of no time at once; everything else takes no time. */
class FakeClock implements Clock {
  #nowMs = 1_800_000_000_000;
  #sleepers: { readonly atMs: number; readonly wake: () => void }[] = [];

  nowMs = () => this.#nowMs;
  monotonicMs = () => this.#nowMs;

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    // Others have their turn, and no time passes.
    if (durationMs === 0) return new Promise((resolve) => setImmediate(resolve));
    return new Promise((resolve, reject) => {
      this.#sleepers.push({ atMs: this.#nowMs + durationMs, wake: resolve });
      signal?.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
    });
  }

  advance(durationMs: number): void {
    this.#nowMs += durationMs;
    for (const sleeper of this.#sleepers.filter(({ atMs }) => atMs <= this.#nowMs)) sleeper.wake();
    this.#sleepers = this.#sleepers.filter(({ atMs }) => atMs > this.#nowMs);
  }
}

/**
 * The real helper's verbs over the model of LVM that their own tests use, and bytes behind each LV. What a
 * new LV holds is what an earlier owner has left there.
 */
class FakeVolumes implements Volumes, LuksVolumes, KeyFiles, VolumeDevices {
  readonly sharedGroups = new Set<string>();
  readonly thinPools = new Map<string, string>();
  readonly lvm = new MemoryLvm();
  readonly #bytes = new Map<string, Buffer>();
  #last: Promise<unknown> = Promise.resolve();
  isAway = false;
  /** Volumes whose examination fails, by LV name. */
  readonly unexaminable = new Set<string>();
  /** There is a private volume: the image has been judged. */
  onCreate: () => void = () => undefined;
  /** What the disk makes of the bytes it was told to keep. */
  onSync: (bytes: Buffer) => void = () => undefined;

  add(lv: string, bytes: Buffer, tags: string[] = []): void {
    const content = bytes.every((byte) => byte === 0) ? 'blank' : 'data';
    const { uuid } = this.lvm.add(lv, { sizeBytes: bytes.length, content, tags });
    this.#bytes.set(uuid, bytes);
  }

  get(lv: string): { readonly tags: readonly string[]; readonly bytes: Buffer } | undefined {
    const found = this.lvm.find(lv);
    return found === undefined ? undefined : { tags: found.tags, bytes: this.#bytesOf(found) };
  }

  remove(lv: string): void {
    this.lvm.volumes = this.lvm.volumes.filter((volume) => volume.lv !== lv);
  }

  list(): ReturnType<Volumes['list']> {
    return this.#ask({ verb: 'list' });
  }

  examine(vg: string, lv: string): Promise<Blankness> {
    if (this.unexaminable.has(lv)) return Promise.reject(refused('DEVICE_FAILED', lv));
    return this.#ask({ verb: 'examine', vg, lv });
  }

  create(volume: PrivateVolume, sizeBytes: number, thinPool?: string): ReturnType<Volumes['create']> {
    this.onCreate();
    return this.#ask({ verb: 'create', volume, sizeBytes, thinPool });
  }

  clone(
    volume: PrivateVolume,
    { fillId, sha256, format }: GoldenReference,
    sizeBytes: number,
  ): ReturnType<Volumes['clone']> {
    return this.#ask({ verb: 'clone', volume, golden: { fillId, sha256, format }, sizeBytes });
  }

  adopt(volume: PrivateVolume): ReturnType<Volumes['adopt']> {
    return this.#ask({ verb: 'adopt', volume });
  }

  publish(volume: PrivateVolume, seal: Seal | ReceivingMark | NewGoldenSeal, key?: VolumeKey): Promise<void> {
    return this.#ask({ verb: 'publish', volume, seal }, key === undefined ? [] : [key]);
  }

  claim(vg: string, seal: Seal, domainUuid: string): Promise<void> {
    return this.#ask({ verb: 'claim', vg, seal, domainUuid });
  }

  retire(vg: string, seal: Seal): Promise<void> {
    return this.#ask({ verb: 'retire', vg, seal });
  }

  restore(vg: string, seal: Seal): Promise<void> {
    return this.#ask({ verb: 'restore', vg, seal });
  }

  arrive(vg: string, seal: Seal): Promise<void> {
    return this.#ask({ verb: 'arrive', vg, seal });
  }

  recall(vg: string, fillId: string): Promise<void> {
    return this.#ask({ verb: 'recall', vg, fillId });
  }

  discard({ vg, fillId }: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void> {
    return this.#ask({ verb: 'discard', vg, fillId });
  }

  drop(vg: string, seal: Seal | GoldenSeal): Promise<void> {
    return this.#ask({ verb: 'drop', vg, seal });
  }

  async formatLuks(volume: PrivateVolume, key: VolumeKey): ReturnType<LuksVolumes['formatLuks']> {
    const made = await this.#ask<{ sizeBytes: number }>({ verb: 'formatLuks', volume }, [key]);
    // The header, and what stands where the content will.
    const found = this.lvm.get(privateName(volume.fillId));
    this.#bytesOf(found)
      .fill(0x4c, 0, LUKS_HEADER_BYTES)
      .fill(0, LUKS_HEADER_BYTES, LUKS_HEADER_BYTES + LUKS_BLANK_HEAD_BYTES);
    return made;
  }

  openLuks(volume: PrivateVolume, key: VolumeKey): ReturnType<LuksVolumes['openLuks']> {
    return this.#ask({ verb: 'openLuks', volume }, [key]);
  }

  closeLuks({ vg, fillId }: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void> {
    return this.#ask({ verb: 'closeLuks', vg, fillId });
  }

  checkLuks(vg: string, seal: Seal | ReceivingMark, key: VolumeKey): ReturnType<LuksVolumes['checkLuks']> {
    return this.#ask({ verb: 'checkLuks', vg, seal }, [key]);
  }

  addLuksKey(vg: string, seal: Seal, key: VolumeKey, added: VolumeKey): Promise<void> {
    return this.#ask({ verb: 'addLuksKey', vg, seal }, [key, added]);
  }

  keepOnlyLuksKey(vg: string, seal: Seal, key: VolumeKey): Promise<void> {
    return this.#ask({ verb: 'keepOnlyLuksKey', vg, seal }, [key]);
  }

  eraseLuks(vg: string, seal: Seal): Promise<void> {
    return this.#ask({ verb: 'eraseLuks', vg, seal });
  }

  async readKey(name: string): Promise<VolumeKey> {
    await this.#ask({ verb: 'readKey', name });
    return keyOf(this.lvm.keys.get(name) ?? Buffer.alloc(0));
  }

  /** What a guest sees on the encrypted volume that is given this key; undefined if it does not open it. */
  plain(lv: string, key: string): Buffer | undefined {
    const volume = this.lvm.get(lv);
    if (volume.header?.slots.includes(key) !== true) return undefined;
    return modelCipher(volume.header.volumeKey, this.#bytesOf(volume).subarray(LUKS_HEADER_BYTES), 0);
  }

  open(_vg: string, lv: string, encryption?: Encryption): ReturnType<VolumeDevices['open']> {
    const volume = this.lvm.get(lv);
    if (encryption !== undefined) return this.#openMapped(volume);
    if (volume.owner !== 'service') throw refused('DEVICE_FAILED', lv);
    const bytes = this.#bytesOf(volume);
    volume.openLooks = Infinity;
    return Promise.resolve({
      sizeBytes: bytes.length,
      write: (chunk, offsetBytes) => {
        bytes.set(chunk, offsetBytes);
        volume.content = 'data';
        return Promise.resolve();
      },
      zero: (offsetBytes, lengthBytes) => {
        bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
        return Promise.resolve();
      },
      read: (target, offsetBytes) => {
        target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
        return Promise.resolve();
      },
      sync: () => {
        this.onSync(bytes);
        return Promise.resolve();
      },
      close: () => {
        volume.openLooks = 0;
        return Promise.resolve();
      },
    });
  }

  #openMapped(volume: ModelVolume): ReturnType<VolumeDevices['open']> {
    const mapping = this.lvm.mappings.get(mappingName(fillIdOf(volume.lv) ?? ''));
    if (mapping?.uuid !== volume.uuid) return Promise.reject(refused('VOLUME_MISSING', volume.lv));
    if (mapping.isOpen) return Promise.reject(refused('DEVICE_FAILED', volume.lv));
    mapping.isOpen = true;
    const bytes = this.#bytesOf(volume);
    const { volumeKey } = mapping;
    const write = (chunk: Uint8Array, offsetBytes: number): Promise<void> => {
      bytes.set(modelCipher(volumeKey, chunk, offsetBytes), LUKS_HEADER_BYTES + offsetBytes);
      if (offsetBytes < LUKS_BLANK_HEAD_BYTES) volume.payload = 'data';
      return Promise.resolve();
    };
    return Promise.resolve({
      sizeBytes: bytes.length - LUKS_HEADER_BYTES,
      write,
      zero: (offsetBytes, lengthBytes) => write(Buffer.alloc(lengthBytes), offsetBytes),
      read: (target, offsetBytes) => {
        const at = LUKS_HEADER_BYTES + offsetBytes;
        target.set(modelCipher(volumeKey, bytes.subarray(at, at + target.length), offsetBytes));
        return Promise.resolve();
      },
      sync: () => {
        this.onSync(bytes);
        return Promise.resolve();
      },
      close: () => {
        mapping.isOpen = false;
        return Promise.resolve();
      },
    });
  }

  #bytesOf(volume: ModelVolume): Buffer {
    const { uuid, sizeBytes } = volume;
    const known = this.#bytes.get(uuid) ?? this.#firstBytes(volume);
    // A thin volume may have grown since.
    const bytes = known.length >= sizeBytes ? known : Buffer.concat([known], sizeBytes);
    this.#bytes.set(uuid, bytes);
    return bytes;
  }

  #firstBytes({ sizeBytes, segmentType, originUuid }: ModelVolume): Buffer {
    if (segmentType !== 'thin') return Buffer.alloc(sizeBytes, 0xa5);
    // Nobody writes to what a snapshot was made of.
    const bytes = Buffer.alloc(sizeBytes);
    if (originUuid !== undefined) this.#bytes.get(originUuid)?.copy(bytes);
    return bytes;
  }

  /** One request at a time, like the real one. */
  #ask<T>(request: object, keys: readonly VolumeKey[] = []): Promise<T> {
    const bytes = keys.map((key) => Buffer.from(key.bytes));
    const said = keys.length === 0 ? request : { ...request, keyLengths: bytes.map(({ length }) => length) };
    const turn = this.#last.then(() => this.#answer<T>(said, bytes));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #answer<T>(request: object, keys: readonly Buffer[]): Promise<T> {
    if (this.isAway) throw new ProvisionError({ code: 'HELPER_UNAVAILABLE', message: 'the helper is away' });
    const groups = { own: ['vg0'], verified: [], shared: [...this.sharedGroups], thinPools: this.thinPools };
    const { line } = await answer(
      JSON.stringify(request),
      this.lvm.tools(),
      () => Promise.resolve(groups),
      keys,
    );
    const response = JSON.parse(line) as {
      readonly ok: boolean;
      readonly result: T;
      readonly problem: Problem;
    };
    if (!response.ok) throw new ProvisionError(response.problem);
    return response.result;
  }
}

/** A key in memory, as a provider would hand it out. */
export function keyOf(bytes: Buffer | string): VolumeKey {
  const own = Buffer.from(bytes);
  return { bytes: own, wipe: () => own.fill(0) };
}

function refused(code: ErrorCode, name: string): ProvisionError {
  return new ProvisionError({ code, message: `refused for ${name}` });
}

/** A bucket whose reads can be held back, so that a fill stands still in the middle. */
class FakeImages implements Images {
  readonly objects = new Map<string, Buffer>();
  isAway = false;
  #held: PromiseWithResolvers<void> | undefined;

  hold(): void {
    this.#held = Promise.withResolvers();
  }

  letGo(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  stat(image: ImageReference): Promise<ImageObject> {
    if (this.isAway) return Promise.reject(refused('STORE_UNREACHABLE', imageName(image)));
    const bytes = this.objects.get(imageName(image));
    if (bytes === undefined) return Promise.reject(refused('IMAGE_NOT_FOUND', imageName(image)));
    return Promise.resolve({ image, sizeBytes: bytes.length, etag: 'etag' });
  }

  async readInto(
    object: ImageObject,
    offsetBytes: number,
    target: Uint8Array,
    { signal, onBytes }: ReadOptions,
  ): Promise<void> {
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => {
        reject(signal.reason as Error);
      });
    });
    aborted.catch(() => undefined);
    // Short reads are of the image's metadata, before there is a volume.
    if (target.length >= MIB) await Promise.race([this.#held?.promise, aborted]);
    signal.throwIfAborted();
    if (this.isAway) throw refused('STORE_UNREACHABLE', imageName(object.image));
    const bytes = this.objects.get(imageName(object.image)) ?? Buffer.alloc(0);
    target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
    onBytes?.(target.length);
  }

  readText(image: ImageReference): Promise<string | undefined> {
    return Promise.resolve(this.objects.get(imageName(image))?.toString('utf8'));
  }
}

/** What libvirt knows; world.restart() makes the two ports out of it. */
class FakeLibvirt {
  readonly domains = new Map<string, LibvirtDomain>();
  readonly started: string[] = [];
  /** Those with a managed-save image. */
  readonly saved = new Set<string>();
  readonly refreshed: string[] = [];
  /** Domains whose guests have come from another host and run. */
  readonly arrived = new Set<string>();
  pool: 'active' | 'inactive' | 'undefined' = 'active';
  poolStarts = 0;
  /** So many of the next refreshes fail and stop the pool; so many of the next starts fail. */
  brokenRefreshes = 0;
  unstartable = 0;
  isAway = false;
  onList: () => void = () => undefined;
  /** Whether it can be started; rejects if not. */
  onStart: (uuid: string) => Promise<void> = () => Promise.resolve();
  readonly #volumes: FakeVolumes;

  constructor(volumes: FakeVolumes) {
    this.#volumes = volumes;
  }

  read(uuid: string): Promise<LibvirtDomain | undefined> {
    this.#answer();
    return Promise.resolve(this.domains.get(uuid));
  }

  find(nameOrUuid: string): Promise<LibvirtDomain | undefined> {
    return Promise.resolve(
      [...this.domains.values()].find(({ name, uuid }) => name === nameOrUuid || uuid === nameOrUuid),
    );
  }

  start(uuid: string): Promise<void> {
    this.#answer();
    this.started.push(uuid);
    return this.onStart(uuid);
  }

  async pools(): Promise<readonly LogicalPool[]> {
    await Promise.resolve();
    this.#answer();
    return this.pool === 'undefined' ? [] : [{ ...guests, active: this.pool === 'active' }];
  }

  /** As `virsh pool-destroy`: refused while an LV is open. */
  stopPool(): void {
    const { volumes } = this.#volumes.lvm;
    if (volumes.some(({ openLooks }) => openLooks > 0)) throw new Error('an LV is in use');
    for (const volume of volumes) volume.active = false;
    this.pool = 'inactive';
  }

  /** A refresh fails, whoever asked for it: the pool is inactive, and so are the LVs unless one of them is open. */
  breakPool(): void {
    this.pool = 'inactive';
    const { volumes } = this.#volumes.lvm;
    if (volumes.some(({ openLooks }) => openLooks > 0)) return;
    for (const volume of volumes) volume.active = false;
  }

  async startPool(name: string): Promise<void> {
    await Promise.resolve();
    this.poolStarts += 1;
    if (this.unstartable > 0) {
      this.unstartable -= 1;
      throw refused('LIBVIRT_FAILED', name);
    }
    for (const volume of this.#volumes.lvm.volumes) volume.active = true;
    this.pool = 'active';
  }

  async refresh(pool: string): Promise<void> {
    await Promise.resolve();
    this.refreshed.push(pool);
    if (this.pool !== 'active') throw refused('POOL_INACTIVE', pool);
    if (this.brokenRefreshes > 0) {
      this.brokenRefreshes -= 1;
      this.breakPool();
      throw refused('LIBVIRT_FAILED', pool);
    }
  }

  async deleteVolume(pool: string, lv: string): Promise<void> {
    await Promise.resolve();
    this.#answer();
    if (this.pool !== 'active') throw refused('POOL_INACTIVE', pool);
    this.#volumes.remove(lv);
  }

  #answer(): void {
    if (this.isAway) throw new ProvisionError({ code: 'LIBVIRT_UNAVAILABLE', message: 'libvirt is away' });
  }
}

const guests: LogicalPool = { name: 'guests', uuid: 'pool', vg: 'vg0', active: true };

/** The XML of a domain with one annotated disk vda on guests/LV, or on /dev/vg0/LV. */
export function domainXml(options: {
  readonly uuid: string;
  readonly name: string;
  readonly lv?: string;
  readonly attributes?: string;
  readonly provision?: string;
  readonly source?: 'volume' | 'block';
  /** Of an encrypted disk. */
  readonly key?: string;
}): string {
  const { uuid, name, lv = name, attributes = '', provision = '', source = 'volume', key } = options;
  const from = source === 'volume' ? `pool='guests' volume='${lv}'` : `dev='/dev/vg0/${lv}'`;
  const keyed = key === undefined ? '' : `key='${key}'`;
  const encryption =
    key === undefined
      ? ''
      : `<encryption format='luks'><secret type='passphrase' usage='/dev/vg0/${lv}'/></encryption>`;
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata>
    <vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1' ${provision}>
      <vp:volume target='vda' image='images/small.raw' format='raw' ${keyed} ${attributes}/>
    </vp:provision></metadata><devices>
    <disk type='${source}' device='disk'><driver name='qemu' type='raw'/><source ${from}>${encryption}</source><target dev='vda' bus='virtio'/></disk>
    </devices></domain>`;
}

interface WorldOptions {
  readonly readBack?: boolean;
  readonly requireDigest?: boolean;
  readonly keepFree?: ReadonlyMap<string, KeepFree>;
  readonly limits?: Partial<FillLimits>;
  readonly writeBytesPerSecond?: number;
  readonly overcommit?: number;
  readonly goldenMax?: GoldenMax;
  readonly minisignKeys?: readonly MinisignKey[];
  readonly hostPolicy?: HostPolicy;
  readonly log?: Log;
  readonly trace?: FillTrace;
}

/** The verbs over that world; `restart()` is a killed daemon: what was in memory is gone, the ledger stays. */
export class World {
  readonly clock = new FakeClock();
  readonly volumes = new FakeVolumes();
  readonly libvirt = new FakeLibvirt(this.volumes);
  readonly images = new FakeImages();
  readonly keys = new FakeKeys();
  readonly luks = new FakeLuks(this.volumes);
  readonly secrets = new MemorySecrets();
  readonly audit: Omit<AuditEvent, 'at'>[] = [];
  readonly revoked = { count: 0 };
  readonly ledger = openLedger(':memory:').ledger;
  readonly image = Buffer.alloc(3 * MIB + 512, 0x42);
  /** As in the configuration. */
  readonly sharedGroups = this.volumes.sharedGroups;
  fills!: Fills;
  reconciler!: Reconciler;
  admit!: AdmitNeeds;
  verbs!: DomainVerbs;
  poolKeeper!: PoolKeeper;
  garbage!: GarbageCollector;
  jobs!: VolumeJobs;
  goldens!: GoldenVolumes;
  guestKeys!: GuestKeys;
  readonly strays = new Set<string>();
  damagedLedgers: readonly string[] = [];

  readonly #options: WorldOptions;
  /** As in the configuration, which is read at a restart. */
  hostPolicy: HostPolicy | undefined;
  /** An incident. */
  frozen: Frozen | undefined;
  /** Digests of images that the configuration wants as golden volumes. */
  readonly pinned = new Set<string>();

  constructor(options: WorldOptions = {}) {
    this.#options = options;
    this.hostPolicy = options.hostPolicy;
    this.images.objects.set('images/small.raw', this.image);
    this.images.objects.set(
      'images/small.raw.sha256',
      Buffer.from(createHash('sha256').update(this.image).digest('hex')),
    );
    this.restart();
  }

  restart(): void {
    const { libvirt } = this;
    const bare: Pools = {
      list: () => libvirt.pools(),
      refresh: (name) => libvirt.refresh(name),
      start: (name) => libvirt.startPool(name),
      deleteVolume: (name, lv) => libvirt.deleteVolume(name, lv),
    };
    const freeze = { frozen: () => this.frozen };
    const { trace } = this.#options;
    const helper = trace === undefined ? this.volumes : tracedVolumes(this.volumes, trace);
    const { volumes: thawed, pools: unwatched } = refusingWhileFrozen(freeze, {
      volumes: helper,
      pools: bare,
    });
    const recentListing = new RecentListing(thawed, this.clock);
    const { volumes } = recentListing;
    const pools = new PoolKeeper({ pools: unwatched, volumes, clock: this.clock, log: silent });
    this.poolKeeper = pools;
    const domains: Domains = {
      list: async () => {
        this.libvirt.onList();
        return Promise.resolve([...this.libvirt.domains.keys()]);
      },
      read: (uuid) => this.libvirt.read(uuid),
      xml: async (uuid) => (await this.libvirt.read(uuid))?.xml,
      find: (name) => this.libvirt.find(name),
      everyXml: async (uuid) => {
        const found = await this.libvirt.read(uuid);
        return found === undefined ? undefined : [found.xml];
      },
      start: (uuid) => this.libvirt.start(uuid),
      hasArrived: (uuid) => Promise.resolve(this.libvirt.arrived.has(uuid)),
      hasManagedSave: (uuid) =>
        this.libvirt.domains.has(uuid)
          ? Promise.resolve(this.libvirt.saved.has(uuid))
          : Promise.reject(refused('LIBVIRT_FAILED', uuid)),
      writeAnnotation: () => Promise.resolve(),
    };
    const { clock, ledger, images, volumes: devices } = this;
    const { requireDigest = true, readBack = false, keepFree, limits, log = silent } = this.#options;
    const { writeBytesPerSecond } = this.#options;
    const { hostPolicy } = this;
    const { thinPools } = this.volumes;
    const { overcommit = 1, goldenMax = { percent: 100 }, minisignKeys } = this.#options;
    const thinLimits = { overcommit, warnPercent: 80, stopPercent: 95 };
    const reservations = new Reservations({ volumes, recentListing, log: silent, keepFree, thinLimits });
    const goldenNeeds = {
      ...{ images, pools, volumes, reservations, devices, clock, hostPolicy, log, thinPools, ledger },
      ...{ recentListing, goldenMax: new Map([['vg0', goldenMax]]) },
      isGoldenPinned: ({ seal }: GoldenVolume) => this.pinned.has(seal.sha256),
      policy: {
        ...{ requireDigest, minisignKeys },
        virtualSizeMaxBytes: VIRTUAL_SIZE_MAX_BYTES,
        expansion: { ratioMax: 1000, timeMaxMs: 60_000 },
      },
      decompressors: new SystemDecompressors(),
      readBack,
      luks: this.volumes,
      writeRate: writeBytesPerSecond === undefined ? undefined : new WriteRate(clock, writeBytesPerSecond),
    };
    this.goldens = new GoldenVolumes(goldenNeeds);
    const { goldens } = this;
    const { keys } = this;
    const fillNeeds: FillNeeds = { ...goldenNeeds, goldens, keys };
    const recipe: FillVolume = (...fill) => fillVolume(fillNeeds, ...fill);
    this.fills = new Fills(
      { freeze, ledger, clock, log: silent },
      trace === undefined ? recipe : tracedFill(recipe, trace, ledger),
      {
        ...{ concurrentMax: 2, queueMax: 1000, deadlineMs: 6 * 3_600_000 },
        ...limits,
      },
    );
    const { luks, secrets } = this;
    const guestKeys = new GuestKeys({
      ...{ keys, luks, secrets, volumes, domains, ledger, clock, log },
      trail: { record: (event) => this.audit.push(event) },
      watch: { handedOver: () => undefined, revoked: () => (this.revoked.count += 1) },
    });
    this.guestKeys = guestKeys;
    const needs = {
      ...{ freeze, pools, volumes, reservations, ledger, clock, fills: this.fills, domains, log, hostPolicy },
      guestKeys,
      ...{
        firstStarts: new Map<string, string>(),
        retiring: new Set<string>(),
        changingKeys: new Set<string>(),
        thinPools,
        goldens,
      },
      ...{ luks: this.volumes, keys },
    };
    this.reconciler = new Reconciler(needs);
    this.verbs = new DomainVerbs({
      ...{ ...needs, reconciler: this.reconciler, devices },
      ...{ sharedGroups: this.sharedGroups, virtualSizeMaxBytes: VIRTUAL_SIZE_MAX_BYTES },
    });
    this.jobs = new VolumeJobs({ ...needs, reconciler: this.reconciler });
    this.garbage = new GarbageCollector({
      ...{ ...needs, reconciler: this.reconciler },
      cache: {
        strays: (what) => {
          const names = [...this.strays];
          if (what === 'remove') this.strays.clear();
          return Promise.resolve(names);
        },
      },
      damagedLedgers: () => Promise.resolve(this.damagedLedgers),
    });
    this.admit = {
      ...needs,
      reconciler: this.reconciler,
      graceMs: 3_000,
      sharedGroups: this.sharedGroups,
      isLibvirtReachable: () => !this.libvirt.isAway,
    };
  }

  define(options: Parameters<typeof domainXml>[0] & { readonly autostart?: boolean }): string {
    const xml = domainXml(options);
    const { uuid, name, autostart = false } = options;
    this.libvirt.domains.set(uuid, {
      ...{ uuid, name, xml, active: false, persistent: true, autostart },
      shutoff: 'unknown',
    });
    this.reconciler.request(uuid);
    return xml;
  }

  undefine(uuid: string): void {
    this.libvirt.domains.delete(uuid);
    this.reconciler.request(uuid);
  }

  volume(lv: string): ReturnType<FakeVolumes['get']> {
    return this.volumes.get(lv);
  }

  /** The image and zeros to the end, which is what a guest must read. */
  isFilled(lv: string): boolean {
    const bytes = this.volume(lv)?.bytes;
    if (bytes === undefined) return false;
    const { length } = this.image;
    return bytes.subarray(0, length).equals(this.image) && bytes.subarray(length).every((byte) => byte === 0);
  }

  names(): string[] {
    return this.volumes.lvm.volumes.map(({ lv }) => `vg0/${lv}`);
  }
}

/** Far beyond any test's need, also where other programs have the processors. */
const TURNS_MAX = 20_000;
const TURNS_MAX_MS = 30_000;

/** Lets everything that can happen happen, until the condition holds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const sinceMs = performance.now();
  for (let turn = 0; turn < TURNS_MAX || performance.now() - sinceMs < TURNS_MAX_MS; turn++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`never came true: ${what}`);
}
