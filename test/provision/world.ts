/**
 * A small world in memory for the verbs: a volume group, a libvirt, a bucket, and a clock that only moves
 * when told. The real adapters are tested on the real host; this one is for orders of events and faults
 * that no real host produces on demand.
 */
import { createHash } from 'node:crypto';
import { SystemDecompressors } from '../../src/adapters/decompressors.ts';
import { openLedger } from '../../src/adapters/ledger.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { ImageReference, LogicalPool } from '../../src/core/request.ts';
import { imageName } from '../../src/core/request.ts';
import type { LogicalVolume, Seal } from '../../src/core/volume.ts';
import { fillTags, privateName, readMark, sealTags } from '../../src/core/volume.ts';
import type { AdmitNeeds } from '../../src/provision/admit-start.ts';
import type { FillNeeds } from '../../src/provision/fill-volume.ts';
import { fillVolume } from '../../src/provision/fill-volume.ts';
import { Fills } from '../../src/provision/fills.ts';
import type {
  Blankness,
  Clock,
  Domains,
  ImageObject,
  Images,
  LibvirtDomain,
  Log,
  Pools,
  PrivateVolume,
  ReadOptions,
  VolumeDevices,
  Volumes,
} from '../../src/provision/ports.ts';
import { Reconciler } from '../../src/provision/reconcile.ts';

export const MIB = 1 << 20;

export const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

interface FakeVolume {
  tags: string[];
  bytes: Buffer;
  open: boolean;
}

/** Sleeps end when advance() passes them; everything else takes no time. */
class FakeClock implements Clock {
  #nowMs = 1_800_000_000_000;
  #sleepers: { readonly atMs: number; readonly wake: () => void }[] = [];

  nowMs = () => this.#nowMs;
  monotonicMs = () => this.#nowMs;

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
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

function key(vg: string, lv: string): string {
  return `${vg}/${lv}`;
}

/** Keeps the contract of `Volumes`; the bytes of a volume are what its device last wrote. */
class FakeVolumes implements Volumes, VolumeDevices {
  readonly byName = new Map<string, FakeVolume>();

  add(lv: string, bytes: Buffer, tags: string[] = []): void {
    this.byName.set(key('vg0', lv), { bytes, tags, open: false });
  }

  list(): ReturnType<Volumes['list']> {
    const volumes = [...this.byName].map(([name, volume]): LogicalVolume => {
      const [vg = '', lv = ''] = name.split('/');
      const { tags, open } = volume;
      return {
        vg,
        lv,
        uuid: name,
        sizeBytes: volume.bytes.length,
        tags,
        active: true,
        open,
        segmentType: 'linear',
      };
    });
    return Promise.resolve({ volumes, groups: [{ vg: 'vg0', freeBytes: 1 << 30, extentBytes: 4 * MIB }] });
  }

  examine(vg: string, lv: string): Promise<Blankness> {
    const volume = this.#get(vg, lv);
    const blank = volume.bytes.every((byte) => byte === 0);
    return Promise.resolve(blank ? { blank } : { blank, why: 'there is something on it' });
  }

  create(volume: PrivateVolume, sizeBytes: number): ReturnType<Volumes['create']> {
    const name = key(volume.vg, privateName(volume.fillId));
    const there = this.byName.get(name);
    if (there !== undefined) return Promise.resolve({ made: 'existing', sizeBytes: there.bytes.length });
    // What LVM hands out holds what an earlier owner wrote.
    this.byName.set(name, { tags: fillTags(volume), bytes: Buffer.alloc(sizeBytes, 0xa5), open: false });
    return Promise.resolve({ made: 'created', sizeBytes });
  }

  async adopt(volume: PrivateVolume): Promise<{ sizeBytes: number }> {
    const found = this.#get(volume.vg, volume.target);
    const { blank } = await this.examine(volume.vg, volume.target);
    if (!blank || readMark(found.tags).state === 'ready') throw refused('VOLUME_NOT_BLANK', volume.target);
    this.byName.delete(key(volume.vg, volume.target));
    this.byName.set(key(volume.vg, privateName(volume.fillId)), { ...found, tags: fillTags(volume) });
    return { sizeBytes: found.bytes.length };
  }

  publish(volume: PrivateVolume, seal: Seal): Promise<void> {
    const from = key(volume.vg, privateName(volume.fillId));
    const found = this.byName.get(from);
    if (found === undefined || found.open) return Promise.reject(refused('VOLUME_STATE', from));
    if (this.byName.has(key(volume.vg, volume.target)))
      return Promise.reject(refused('VOLUME_STATE', volume.target));
    this.byName.delete(from);
    this.byName.set(key(volume.vg, volume.target), { ...found, tags: sealTags(seal) });
    return Promise.resolve();
  }

  discard(volume: Pick<PrivateVolume, 'vg' | 'fillId'>): Promise<void> {
    this.byName.delete(key(volume.vg, privateName(volume.fillId)));
    return Promise.resolve();
  }

  open(vg: string, lv: string): ReturnType<VolumeDevices['open']> {
    const volume = this.#get(vg, lv);
    volume.open = true;
    return Promise.resolve({
      sizeBytes: volume.bytes.length,
      write: (bytes, offsetBytes) => {
        volume.bytes.set(bytes, offsetBytes);
        return Promise.resolve();
      },
      zero: (offsetBytes, lengthBytes) => {
        volume.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
        return Promise.resolve();
      },
      sync: () => Promise.resolve(),
      close: () => {
        volume.open = false;
        return Promise.resolve();
      },
    });
  }

  #get(vg: string, lv: string): FakeVolume {
    const found = this.byName.get(key(vg, lv));
    if (found === undefined) throw refused('VOLUME_STATE', lv);
    return found;
  }
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
  readonly refreshed: string[] = [];
  isAway = false;
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
    return Promise.resolve();
  }

  refresh(pool: string): Promise<void> {
    this.refreshed.push(pool);
    return Promise.resolve();
  }

  deleteVolume(_pool: string, lv: string): Promise<void> {
    this.#answer();
    this.#volumes.byName.delete(key('vg0', lv));
    return Promise.resolve();
  }

  #answer(): void {
    if (this.isAway) throw new ProvisionError({ code: 'LIBVIRT_UNAVAILABLE', message: 'libvirt is away' });
  }
}

const pool: LogicalPool = { name: 'guests', uuid: 'pool', vg: 'vg0', active: true };

/** The XML of a domain with one annotated disk vda on guests/LV. */
export function domainXml(options: {
  readonly uuid: string;
  readonly name: string;
  readonly lv?: string;
  readonly attributes?: string;
  readonly provision?: string;
}): string {
  const { uuid, name, lv = name, attributes = '', provision = '' } = options;
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata>
    <vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1' ${provision}>
      <vp:volume target='vda' image='images/small.raw' format='raw' ${attributes}/>
    </vp:provision></metadata><devices>
    <disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='guests' volume='${lv}'/><target dev='vda' bus='virtio'/></disk>
    </devices></domain>`;
}

/** The verbs over that world; `restart()` is a killed daemon: what was in memory is gone, the ledger stays. */
export class World {
  readonly clock = new FakeClock();
  readonly volumes = new FakeVolumes();
  readonly libvirt = new FakeLibvirt(this.volumes);
  readonly images = new FakeImages();
  readonly ledger = openLedger(':memory:').ledger;
  readonly image = Buffer.alloc(3 * MIB + 512, 0x42);
  fills!: Fills;
  reconciler!: Reconciler;
  admit!: AdmitNeeds;

  constructor() {
    this.images.objects.set('images/small.raw', this.image);
    this.images.objects.set(
      'images/small.raw.sha256',
      Buffer.from(createHash('sha256').update(this.image).digest('hex')),
    );
    this.restart();
  }

  restart(): void {
    const pools: Pools = {
      list: () =>
        this.libvirt.isAway
          ? Promise.reject(new ProvisionError({ code: 'LIBVIRT_UNAVAILABLE', message: 'libvirt is away' }))
          : Promise.resolve([pool]),
      refresh: (name) => this.libvirt.refresh(name),
      start: () => Promise.resolve(),
      deleteVolume: (name, lv) => this.libvirt.deleteVolume(name, lv),
    };
    const domains: Domains = {
      list: () => Promise.resolve([...this.libvirt.domains.keys()]),
      read: (uuid) => this.libvirt.read(uuid),
      find: (name) => this.libvirt.find(name),
      start: (uuid) => this.libvirt.start(uuid),
      writeAnnotation: () => Promise.resolve(),
    };
    const { clock, ledger, images, volumes } = this;
    const fillNeeds: FillNeeds = {
      ...{ images, pools, volumes, devices: volumes, clock },
      policy: {
        requireDigest: true,
        virtualSizeMaxBytes: 2 ** 40,
        expansion: { ratioMax: 1000, timeMaxMs: 60_000 },
      },
      decompressors: new SystemDecompressors(),
    };
    this.fills = new Fills({ ledger, clock, log: silent }, (...fill) => fillVolume(fillNeeds, ...fill), 2);
    const needs = { pools, volumes, ledger, clock, fills: this.fills, domains, log: silent };
    this.reconciler = new Reconciler(needs);
    this.admit = {
      ...needs,
      reconciler: this.reconciler,
      graceMs: 3_000,
      isLibvirtReachable: () => !this.libvirt.isAway,
    };
  }

  define(options: Parameters<typeof domainXml>[0] & { readonly autostart?: boolean }): string {
    const xml = domainXml(options);
    const { uuid, name, autostart = false } = options;
    this.libvirt.domains.set(uuid, { uuid, name, xml, active: false, persistent: true, autostart });
    this.reconciler.request(uuid);
    return xml;
  }

  undefine(uuid: string): void {
    this.libvirt.domains.delete(uuid);
    this.reconciler.request(uuid);
  }

  volume(lv: string): FakeVolume | undefined {
    return this.volumes.byName.get(key('vg0', lv));
  }

  /** The image and zeros to the end, which is what a guest must read. */
  isFilled(lv: string): boolean {
    const bytes = this.volume(lv)?.bytes;
    if (bytes === undefined) return false;
    const { length } = this.image;
    return bytes.subarray(0, length).equals(this.image) && bytes.subarray(length).every((byte) => byte === 0);
  }

  names(): string[] {
    return [...this.volumes.byName.keys()];
  }
}

/** Lets everything that can happen happen, until the condition holds; the limit is far beyond any test's need. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 20_000; turn++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`never came true: ${what}`);
}
