/** One life of the daemon: the real verbs, wired to the ports of this run as main.ts wires them to the real ones. */
import type { KeepFree } from '../../src/core/volume/headroom.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { AdmitNeeds } from '../../src/provision/gate/admit-start.ts';
import { DomainVerbs } from '../../src/provision/control-verbs.ts';
import { fillVolume } from '../../src/provision/fill/fill-volume.ts';
import type { FillLimits } from '../../src/core/settings/fill-limits.ts';
import { Fills } from '../../src/provision/fill/fills.ts';
import type { GoldenVolume } from '../../src/provision/golden/golden-volumes.ts';
import { GoldenVolumes } from '../../src/provision/golden/golden-volumes.ts';
import { KnownPools } from '../../src/provision/observe.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type { LibvirtEvent } from '../../src/provision/ports/libvirt.ts';
import type { VolumeDevice, VolumeDevices, Volumes } from '../../src/provision/ports/volumes.ts';
import type { Decompressors, Workshops } from '../../src/provision/ports/workshop.ts';
import type { ImagePolicy } from '../../src/provision/fill/resolve-image.ts';
import { PoolEvents } from '../../src/provision/pools/pool-events.ts';
import { PoolKeeper } from '../../src/provision/pools/pool-keeper.ts';
import { Reconciler } from '../../src/provision/reconcile.ts';
import { RecentListing } from '../../src/provision/recent-listing.ts';
import { Reservations } from '../../src/provision/reservations.ts';
import { takingTurns } from '../../src/provision/pools/taking-turns.ts';
import { VolumeJobs } from '../../src/provision/jobs/volume-jobs.ts';
import { InThreadWorkshop } from '../../src/provision/stream/in-thread-workshop.ts';
import type { StreamShape } from '../../src/provision/stream/stream-shape.ts';
import { fillIdOf, mappingName } from '../../src/core/volume/volume.ts';
import type { KeyChanges } from '../../src/provision/keys/key-changes.ts';
import type { GuestKeys } from '../../src/provision/keys/guest-keys.ts';
import { modelCipher } from '../helper/model-luks.ts';
import type { Census } from './census.ts';
import type { Faults } from './faults.ts';
import { openDaemonKeys, openKeyChanges } from './daemon-keys.ts';
import type { Group, Opener } from './group.ts';
import { LUKS_BYTES } from './group.ts';
import { VG } from './domains.ts';
import type { Helper } from './helper.ts';
import type { KeyServer } from './keys.ts';
import type { Libvirt } from './libvirt.ts';
import type { Life } from './life.ts';
import type { MemoryJournals } from './memory-journals.ts';
import type { MemoryLedger } from './memory-ledger.ts';
import type { Store } from './store.ts';
import { Violation } from './violation.ts';

export const GRACE_MS = 3_000;
const NO_DECOMPRESSORS: Decompressors = {
  content() {
    throw new TypeError('no image of a run is compressed');
  },
};
const POOLS_LIMIT_MS = 1_000;
/** Images are up to 30 KiB: several ranges, several checkpoints, and fills that go on where they stood. */
const SHAPE: StreamShape = {
  rangeBytes: 4096,
  rangeBuffers: 3,
  rangesInFlight: 2,
  checkpointBytes: 4096,
  fetchedTwiceMaxBytes: 16_384,
};
/** Memory that no workshop has: allocating it anew for each fill would be most of the work of a run. */
const spareMemory: ArrayBuffer[] = [];

export interface Host {
  readonly group: Group;
  readonly helper: Helper;
  readonly libvirt: Libvirt;
  readonly store: Store;
  readonly ledger: MemoryLedger;
  readonly journals: MemoryJournals;
  readonly faults: Faults;
  readonly log: Log;
  readonly census: Census;
  readonly intervalMs: number;
  readonly limits: FillLimits;
  readonly keepFree: KeepFree;
  /** Whether volumes are read back before they are sealed. */
  readonly readBack: boolean;
  /** In a run with encrypted volumes. */
  readonly keys: KeyServer | undefined;
  readonly onViolation: (violation: Violation) => void;
}

export class Daemon {
  readonly life: Life;
  readonly reconciler: Reconciler;
  readonly fills: Fills;
  readonly verbs: DomainVerbs;
  readonly jobs: VolumeJobs;
  readonly keys: KeyChanges;
  readonly goldens: GoldenVolumes;
  readonly admit: AdmitNeeds;
  readonly #libvirt: Libvirt;
  readonly #poolEvents: PoolEvents;
  readonly #guestKeys: GuestKeys | undefined;
  #isLibvirtReachable = false;

  constructor(host: Host, life: Life) {
    this.life = life;
    this.#libvirt = host.libvirt;
    const clock = life.clock();
    const ledger = host.ledger.of(life);
    const domains = host.libvirt.domainsPort(life);
    const turns = takingTurns(host.helper.volumes(life), host.libvirt.pools(life));
    const recentListing = new RecentListing(watchingGoldens(turns.volumes, host, life), clock);
    const { volumes } = recentListing;
    const { pools: unwatched } = turns;
    const devices = openDevices(host, life);
    const { census, log } = host;
    const thinLimits = { overcommit: host.group.overcommit, warnPercent: 80, stopPercent: 95 };
    const keepFree = new Map([[VG, host.keepFree]]);
    const reservations = new Reservations({ volumes, recentListing, log, keepFree, thinLimits });
    const pools = new PoolKeeper({ pools: unwatched, volumes, clock, log });
    const policy: ImagePolicy = {
      ...{ requireDigest: true, virtualSizeMaxBytes: 2 ** 40 },
      expansion: { ratioMax: 2000, timeMaxMs: 3_600_000 },
    };
    const hostPolicy = [{ name: 'everything', allow: true }];
    const { thinPools } = host.group;
    const isLibvirtReachable = () => this.#isLibvirtReachable;
    const { guests, ...encrypted } = openDaemonKeys(host, life, {
      ...{ volumes, domains, ledger, clock, isLibvirtReachable },
    });
    this.#guestKeys = guests;
    const { luks, keys } = encrypted;
    const goldenNeeds = {
      ...{ images: host.store.images(life), devices, pools, volumes, reservations, clock, policy },
      ...{ decompressors: NO_DECOMPRESSORS, workshops: openWorkshops(life), shape: SHAPE },
      ...{ journals: host.journals.of(life), readBack: host.readBack, hostPolicy },
      ...{ thinPools, log, luks, ledger, recentListing, goldenMax: new Map([[VG, host.group.goldenMax]]) },
      isGoldenPinned: ({ seal }: GoldenVolume) => host.group.pinned.has(seal.sha256),
    };
    this.goldens = new GoldenVolumes(goldenNeeds);
    const { goldens } = this;
    const fillNeeds = { ...goldenNeeds, goldens, keys, luksHeaderBytes: LUKS_BYTES };
    const freeze = { frozen: () => undefined };
    this.fills = new Fills(
      { freeze, ledger, clock, log },
      async (...fill) => {
        const sha256 = await fillVolume(fillNeeds, ...fill);
        const [{ request }, { from }] = fill;
        census.count(`published from ${from}`);
        if (request.key !== undefined) census.count(`published encrypted from ${from}`);
        return sha256;
      },
      host.limits,
    );
    const needs = {
      ledger,
      clock,
      log,
      volumes,
      reservations,
      pools,
      domains,
      fills: this.fills,
      firstStarts: new Map<string, string>(),
      retiring: new Set<string>(),
      thinPools,
      goldens,
      hostPolicy,
      freeze,
      ...encrypted,
    };
    this.reconciler = new Reconciler(needs);
    this.#poolEvents = new PoolEvents(clock, () => {
      this.reconciler.requestKnown();
    });
    this.verbs = new DomainVerbs({
      ...{ ...needs, reconciler: this.reconciler, devices: fillNeeds.devices },
      ...{ sharedGroups: new Set(), virtualSizeMaxBytes: policy.virtualSizeMaxBytes },
    });
    this.jobs = new VolumeJobs({ ...needs, reconciler: this.reconciler });
    this.keys = openKeyChanges({ ...needs, reconciler: this.reconciler });
    this.admit = {
      ...{ ...needs, reconciler: this.reconciler, graceMs: GRACE_MS, sharedGroups: new Set([VG]) },
      pools: new KnownPools(pools, clock, POOLS_LIMIT_MS),
      isLibvirtReachable,
    };
    if (!host.libvirt.isAway) this.onEvent({ kind: 'connected' });
    const tick = (): void => {
      void clock.sleep(host.intervalMs).then(() => {
        if (this.#isLibvirtReachable) this.#lookAtEverything();
        tick();
      });
    };
    tick();
  }

  onEvent(event: LibvirtEvent): void {
    if (!this.life.isAlive) return;
    switch (event.kind) {
      case 'domain':
        this.reconciler.heard(event.uuid, event.change);
        return;
      case 'pool':
        this.#poolEvents.heard();
        return;
      case 'connected':
        this.#isLibvirtReachable = !this.#libvirt.isAway;
        this.reconciler.ends.forgetAll();
        this.#guestKeys?.connected();
        this.#lookAtEverything();
        return;
      case 'disconnected':
        this.#isLibvirtReachable = false;
    }
  }

  #lookAtEverything(): void {
    this.reconciler.requestAll().catch(() => undefined);
  }
}

/** Whether a golden volume is let go while this daemon has a volume made of it. */
function watchingGoldens(volumes: Volumes, { group, onViolation }: Host, life: Life): Volumes {
  const { beingCloned } = group;
  const count = (fillId: string, by: number): void => {
    const left = (beingCloned.get(fillId) ?? 0) + by;
    if (left > 0) beingCloned.set(fillId, left);
    else beingCloned.delete(fillId);
  };
  life.atEnd(() => {
    beingCloned.clear();
  });
  return {
    ...volumes,
    clone: async (volume, golden, sizeBytes) => {
      // A daemon that was just killed runs on to its next await: what it asks for there nobody hears.
      if (!life.isAlive) return volumes.clone(volume, golden, sizeBytes);
      count(golden.fillId, 1);
      try {
        return await volumes.clone(volume, golden, sizeBytes);
      } finally {
        count(golden.fillId, -1);
      }
    },
    drop: (vg, seal) => {
      try {
        if (seal.state === 'golden') group.judgeDrop(seal);
      } catch (error) {
        if (!(error instanceof Violation)) throw error;
        onViolation(error);
      }
      return volumes.drop(vg, seal);
    },
  };
}

/** Whoever opens one has memory that no other fill is using, until it is closed or its life is over. */
function openWorkshops(life: Life): Workshops {
  return {
    open(memoryBytes, hashFrom) {
      const memory = spareMemory.pop() ?? new ArrayBuffer(memoryBytes);
      let isMine = true;
      const giveBack = () => {
        if (isMine) spareMemory.push(memory);
        isMine = false;
      };
      life.atEnd(giveBack);
      const workshop = new InThreadWorkshop(memory, hashFrom);
      return {
        ...{ memory, hasher: workshop.hasher },
        decompress: (...work) => workshop.decompress(...work),
        close: () => workshop.close().finally(giveBack),
      };
    },
  };
}

function openDevices({ group, faults, onViolation }: Host, life: Life): VolumeDevices {
  return {
    async open(_vg, lv, encryption): Promise<VolumeDevice> {
      await life.step('device open');
      const volume = group.model.find(lv);
      if (volume === undefined) throw deviceFailed(`${lv} cannot be opened`);
      const mapping = encryption && group.model.mappings.get(mappingName(fillIdOf(lv) ?? ''));
      const isOpen =
        encryption === undefined
          ? volume.owner !== 'service' || !volume.active || group.isOpen(volume)
          : mapping?.uuid !== volume.uuid || mapping.isOpen;
      if (isOpen) throw deviceFailed(`${lv} cannot be opened`);
      const opener: Opener = { what: 'fill' };
      const { openers, disk } = group.bookOf(volume);
      openers.add(opener);
      if (mapping !== undefined) mapping.isOpen = true;
      const close = (): void => {
        openers.delete(opener);
        if (mapping !== undefined) mapping.isOpen = false;
        // udev has a look at what the last writer leaves.
        volume.openLooks = 1;
      };
      life.atEnd(close);
      const write = async (bytes: Uint8Array, offsetBytes: number): Promise<void> => {
        await life.step('device write');
        const isFull = volume.thinPool !== undefined && group.thinFault === 'data';
        if (isFull || faults.strikes('writeFails')) throw deviceFailed(`EIO writing to ${lv}`);
        try {
          group.write(volume, faults.strikes('diskCorrupts') ? spoilt(bytes) : bytes, offsetBytes, mapping);
        } catch (error) {
          if (error instanceof Violation) onViolation(error);
          throw error;
        }
        await life.step('device written');
      };
      return {
        sizeBytes: volume.sizeBytes - (mapping === undefined ? 0 : LUKS_BYTES),
        write,
        zero: (offsetBytes, lengthBytes) => write(Buffer.alloc(lengthBytes), offsetBytes),
        async read(target, offsetBytes) {
          await life.step('device read');
          const at = mapping === undefined ? offsetBytes : LUKS_BYTES + offsetBytes;
          const stored = disk.bytes.subarray(at, at + target.length);
          target.set(mapping === undefined ? stored : modelCipher(mapping.volumeKey, stored, offsetBytes));
        },
        async sync() {
          await life.step('device sync');
          if (faults.strikes('syncFails')) throw deviceFailed(`EIO syncing ${lv}`);
          disk.sync();
          await life.step('device synced');
        },
        async close() {
          await life.step('device close');
          close();
        },
      };
    },
  };
}

/** The bytes with another one in the middle. */
function spoilt(bytes: Uint8Array): Uint8Array {
  const middle = bytes.length >>> 1;
  return bytes.map((byte, at) => (at === middle ? byte ^ 0x21 : byte));
}

function deviceFailed(message: string): ProvisionError {
  return new ProvisionError({ code: 'DEVICE_FAILED', message });
}
