/**
 * A small model of LVM and the device nodes, in which any step can be the last one before a crash. It keeps what
 * the real ones keep: metadata commits are atomic, a new node is root's, a rename leaves its owner as it was, and
 * a crash takes nothing back.
 */
import { ProvisionError } from '../../src/core/errors.ts';
import { LUKS_HEADER_BYTES } from '../../src/core/volume/volume.ts';
import type { VolumeRow } from '../../src/helper/lvm.ts';
import type { Tools } from '../../src/helper/tools.ts';
import type { ModelHeader, ModelMapping } from './model-luks.ts';
import { modelLuks } from './model-luks.ts';

export class Crash extends Error {}

export interface ModelVolume {
  lv: string;
  uuid: string;
  tags: string[];
  sizeBytes: number;
  owner: 'root' | 'service' | 'guest';
  /** What is on it; only `blank` may be taken over. */
  content: 'blank' | 'data';
  /** How many more looks find it open. */
  openLooks: number;
  active: boolean;
  segmentType: string;
  writable: boolean;
  skipsActivation: boolean;
  /** Of a thin volume: its pool, what it is a snapshot of, and what it holds of the pool. */
  thinPool?: string | undefined;
  originUuid?: string | undefined;
  mappedBytes?: number | undefined;
  /** Only of a thin pool. */
  pool?: VolumeRow['pool'];
  /** Of an encrypted volume, and whether something has been written behind it since it was made. */
  header?: ModelHeader | undefined;
  payload?: 'blank' | 'data' | undefined;
}

const EXTENT_BYTES = 4 << 20;
const DEVICE = { major: 254, minor: 1 };

export class MemoryLvm {
  volumes: ModelVolume[] = [];
  freeExtents = 100;
  isShared = false;
  /** Whether the kernel says which device an LV has. */
  tellsNumbers = true;
  /** How often LVM was asked what there is. */
  readings = 0;
  /** Changing steps done so far, by name. */
  steps: string[] = [];
  /** Crash when this many steps have been begun: `before` or `after` the last of them has its effect. */
  crashAt: { step: number; when: 'before' | 'after' } | undefined;
  /** Something that happens beside us, right after a step. */
  beside: ((step: string, model: MemoryLvm) => void) | undefined;
  /** Of LUKS; where volumes are smaller than a real one, that is smaller too. */
  headerBytes = LUKS_HEADER_BYTES;
  /** Open encrypted volumes, by the mapping's name. */
  readonly mappings = new Map<string, ModelMapping>();
  /** What systemd-creds would decrypt, by the key's name. */
  readonly keys = new Map<string, Buffer>();
  #made = 0;

  add(lv: string, fields: Partial<ModelVolume> = {}): ModelVolume {
    this.#made += 1;
    const volume: ModelVolume = {
      ...{
        lv,
        uuid: `uuid-${this.#made}`,
        tags: [],
        sizeBytes: EXTENT_BYTES,
        owner: 'root',
        content: 'blank',
      },
      ...{ openLooks: 0, active: true, segmentType: 'linear', writable: true, skipsActivation: false },
      ...fields,
    };
    this.volumes.push(volume);
    return volume;
  }

  /** A thin pool that zeroes what it maps, half of it used. */
  addPool(lv: string, fields: Partial<NonNullable<VolumeRow['pool']>> = {}): ModelVolume {
    const sizeBytes = 64 * EXTENT_BYTES;
    return this.add(lv, {
      ...{ sizeBytes, segmentType: 'thin-pool' },
      pool: {
        ...{ usedBytes: sizeBytes / 2, metadataBytes: EXTENT_BYTES, metadataUsedBytes: EXTENT_BYTES / 4 },
        ...{ chunkBytes: 65_536, zeroes: true, active: true },
        ...fields,
      },
    });
  }

  find(lv: string): ModelVolume | undefined {
    return this.volumes.find((volume) => volume.lv === lv);
  }

  get(lv: string): ModelVolume {
    const volume = this.find(lv);
    if (volume === undefined) throw new Error(`lvm: no ${lv}`);
    return volume;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- like the real one, it fails by rejecting
  async #step(name: string, effect: () => void): Promise<void> {
    this.steps.push(name);
    const crash = this.crashAt?.step === this.steps.length ? this.crashAt.when : undefined;
    if (crash === 'before') throw new Crash(`before ${name}`);
    effect();
    this.beside?.(name, this);
    if (crash === 'after') throw new Crash(`after ${name}`);
  }

  #row(volume: ModelVolume): VolumeRow {
    const isMapped = [...this.mappings.values()].some(({ uuid }) => uuid === volume.uuid);
    const open = volume.openLooks > 0 || isMapped;
    if (volume.openLooks > 0) volume.openLooks -= 1;
    return {
      ...{ vg: 'vg0', lv: volume.lv, uuid: volume.uuid, sizeBytes: volume.sizeBytes, tags: [...volume.tags] },
      ...{ active: volume.active, open, segmentType: volume.segmentType, writable: volume.writable },
      skipsActivation: volume.skipsActivation,
      thinPool: volume.thinPool,
      origin: this.volumes.find(({ uuid }) => uuid === volume.originUuid)?.lv,
      mappedBytes: volume.active ? volume.mappedBytes : undefined,
      pool: volume.pool,
      device: volume.active ? DEVICE : undefined,
    };
  }

  #rows(): Promise<VolumeRow[]> {
    this.readings += 1;
    return Promise.resolve(this.volumes.map((volume) => this.#row(volume)));
  }

  /** Power is lost: nothing is open, nodes are made anew, and LVM activates what it knows. */
  reboot(): void {
    this.mappings.clear();
    for (const volume of this.volumes) {
      Object.assign(volume, { openLooks: 0, active: true, owner: 'root' });
    }
  }

  tools(): Tools {
    const of = (row: VolumeRow): ModelVolume => this.get(row.lv);
    const nodeOf = (row: VolumeRow): ModelVolume => {
      const volume = of(row);
      if (row.device !== undefined && volume.active) return volume;
      throw new ProvisionError({ code: 'HELPER_FAILED', message: `no node of ${row.lv}` });
    };
    return {
      pause: () => Promise.resolve(),
      luks: modelLuks({
        headerBytes: this.headerBytes,
        get: (lv) => this.get(lv),
        volumes: () => this.volumes,
        mappings: this.mappings,
        step: (name, effect) => this.#step(name, effect),
      }),
      keyFiles: {
        read: (name) => {
          const key = this.keys.get(name);
          if (key !== undefined) return Promise.resolve(Buffer.from(key));
          return Promise.reject(new ProvisionError({ code: 'KEY_NOT_FOUND', message: `no key ${name}` }));
        },
      },
      lvm: {
        read: async (vgs) => {
          const volumes = await this.#rows();
          return {
            groups: vgs
              .filter((vg) => vg === 'vg0')
              .map((vg) => ({
                vg,
                sizeBytes:
                  this.freeExtents * EXTENT_BYTES +
                  this.volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
                freeBytes: this.freeExtents * EXTENT_BYTES,
                extentBytes: EXTENT_BYTES,
                shared: this.isShared,
              })),
            volumes,
          };
        },
        volumes: () => this.#rows(),
        create: (_vg, lv, sizeBytes, tags) =>
          this.#step('create', () => {
            this.freeExtents -= sizeBytes / EXTENT_BYTES;
            this.add(lv, { sizeBytes, tags: [...tags] });
          }),
        createThin: (_vg, pool, lv, sizeBytes, tags) =>
          this.#step('create', () => {
            if (this.find(lv) !== undefined) throw new Error(`lvm: ${lv} exists`);
            if (this.get(pool).pool === undefined) throw new Error(`lvm: ${pool} is no thin pool`);
            this.add(lv, { ...thinIn(pool), sizeBytes, tags: [...tags] });
          }),
        snapshot: (_vg, origin, lv, tags) =>
          this.#step('create', () => {
            const { uuid, thinPool, sizeBytes, mappedBytes, content } = this.get(origin);
            if (this.find(lv) !== undefined) throw new Error(`lvm: ${lv} exists`);
            if (thinPool === undefined) throw new Error(`lvm: ${origin} is not thin`);
            const fields = { ...thinIn(thinPool), originUuid: uuid, sizeBytes, mappedBytes, content };
            this.add(lv, { ...fields, active: false, skipsActivation: true, tags: [...tags] });
          }),
        extend: (_vg, lv, sizeBytes) =>
          this.#step('extend', () => {
            if (this.get(lv).sizeBytes >= sizeBytes) throw new Error(`lvm: ${lv} is as large`);
            this.get(lv).sizeBytes = sizeBytes;
          }),
        deactivate: (_vg, lv) =>
          this.#step('deactivate', () => {
            if (this.get(lv).openLooks > 0) throw new Error(`lvm: ${lv} is in use`);
            this.get(lv).active = false;
            // Its node is gone; the next one is made anew.
            this.get(lv).owner = 'root';
          }),
        makeReadOnly: (_vg, lv) =>
          this.#step('makeReadOnly', () => {
            this.get(lv).writable = false;
            this.get(lv).skipsActivation = true;
          }),
        swapTags: (_vg, lv, remove, add, unskip) =>
          this.#step('swapTags', () => {
            const volume = this.get(lv);
            if (unskip !== undefined) volume.skipsActivation = false;
            volume.tags = [...volume.tags.filter((tag) => !remove.includes(tag)), ...add];
          }),
        rename: (_vg, from, to) =>
          this.#step('rename', () => {
            if (this.find(to) !== undefined) throw new Error(`lvm: ${to} exists`);
            this.get(from).lv = to;
          }),
        activate: (_vg, lv) =>
          this.#step('activate', () => {
            this.get(lv).active = true;
          }),
        remove: (_vg, lv, tags) =>
          this.#step('remove', () => {
            const volume = this.get(lv);
            if (!tags.every((tag) => volume.tags.includes(tag))) throw new Error(`lvm: ${lv} has other tags`);
            this.volumes = this.volumes.filter((other) => other !== volume);
          }),
      },
      devices: {
        settle: () => Promise.resolve(),
        giveToService: (row) =>
          this.#step('giveToService', () => {
            nodeOf(row).owner = 'service';
          }),
        takeBack: (row) =>
          this.#step('takeBack', () => {
            const volume = nodeOf(row);
            if (volume.owner === 'service') volume.owner = 'root';
          }),
        numbersOf: ({ lv, uuid }) => {
          const found = this.find(lv);
          const isThere = this.tellsNumbers && found?.active === true && found.uuid === uuid;
          return Promise.resolve(isThere ? DEVICE : undefined);
        },
        isTakenBack: (row) => Promise.resolve(of(row).owner !== 'service'),
        whyNotEmpty: (row) => Promise.resolve(of(row).content === 'blank' ? undefined : 'it holds data'),
      },
    };
  }
}

function thinIn(pool: string): Partial<ModelVolume> {
  return { segmentType: 'thin', thinPool: pool, mappedBytes: 0 };
}
