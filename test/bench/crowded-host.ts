/**
 * A host with many domains, of which every fifth is annotated and its volume published. Everything of ours is
 * real: ledger in SQLite, adapters of libvirt and helper, parsing, plans. Only the bus answers from memory, and
 * LVM is the model that the helper's own tests use; both count what they are asked.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLedger } from '../../src/adapters/ledger.ts';
import { systemClock } from '../../src/adapters/clock.ts';
import { LvmHelper } from '../../src/adapters/lvm-helper.ts';
import { LibvirtDomains } from '../../src/adapters/libvirt-dbus/domains.ts';
import type { CallLibvirt } from '../../src/adapters/libvirt-dbus/calls.ts';
import { LibvirtPools } from '../../src/adapters/libvirt-dbus/pools.ts';
import { domainPath, uuidOf } from '../../src/adapters/libvirt-dbus/signals.ts';
import { imageTag, sealTags } from '../../src/core/volume/volume.ts';
import { keyLengthsOf } from '../../src/core/protocol/helper-protocol.ts';
import { serveLines } from '../../src/helper/connections.ts';
import type { Connections } from '../../src/helper/connections.ts';
import { answer } from '../../src/helper/requests.ts';
import { DomainVerbs } from '../../src/provision/control-verbs.ts';
import { Fills } from '../../src/provision/fill/fills.ts';
import { PoolKeeper } from '../../src/provision/pools/pool-keeper.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type { Ledger } from '../../src/provision/ports/ledger.ts';
import { Reconciler } from '../../src/provision/reconcile.ts';
import { Reservations } from '../../src/provision/reservations.ts';
import { MemoryLvm } from '../helper/memory-lvm.ts';
import { nothingEncrypted } from '../helper/no-luks.ts';

const ANNOTATED_EACH = 5;
const POOL_PATH = '/org/libvirt/QEMU/storagepool/_1';
const POOL_XML = `<pool type='logical'><name>guests</name><uuid>5e5f4a8e-4a36-4f9b-a6d5-2a57a2f0a4f1</uuid>
  <source><name>vg0</name></source></pool>`;
/** How long it must have been quiet, with everything asked at least once, before all counts as done, in ms. */
const QUIET_MS = 1_000;

const silent: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

/** What was asked since the last reset. */
export class Counts {
  readonly #counts = new Map<string, number>();
  /** performance.now() of the last question. */
  lastMs = 0;

  add(what: string): void {
    this.#counts.set(what, this.of(what) + 1);
    this.lastMs = performance.now();
  }

  of(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  reset(): void {
    this.#counts.clear();
  }
}

export class CrowdedHost {
  readonly counts = new Counts();
  readonly annotated: number;
  readonly reconciler: Reconciler;
  readonly verbs: DomainVerbs;
  readonly ledger: Ledger & { close(): void };
  readonly #size: number;
  readonly #folder: string;
  readonly #helper: Connections;

  private constructor(size: number) {
    this.#size = size;
    this.#folder = mkdtempSync(join(tmpdir(), 'lvp-crowd-'));
    const lvm = new MemoryLvm();
    const xmlOf = new Map<string, string>();
    for (let index = 0; index < size; index++) {
      const uuid = uuidFor(index);
      const isAnnotated = index % ANNOTATED_EACH === 0;
      xmlOf.set(uuid, crowdedXml(index, uuid, isAnnotated));
      lvm.add(`vm${index}`, {
        content: 'data',
        tags: isAnnotated ? sealFor(index, uuid) : [],
      });
    }
    this.annotated = Math.ceil(size / ANNOTATED_EACH);
    const answerLine = (line: string) => {
      this.counts.add(`helper ${(JSON.parse(line) as { verb: string }).verb}`);
      return answer(line, lvm.tools(), () =>
        Promise.resolve({ own: ['vg0'], verified: [], shared: [], thinPools: new Map() }),
      );
    };
    this.#helper = serveLines({ answer: answerLine, keyLengthsOf, mayAsk: () => true });
    const socket = join(this.#folder, 'helper.sock');
    this.#helper.server.listen(socket);
    this.ledger = this.#counted(openLedger(join(this.#folder, 'ledger.db')).ledger);
    const call = this.#bus(xmlOf);
    const clock = systemClock;
    const volumes = new LvmHelper(socket);
    const pools = new PoolKeeper({ pools: new LibvirtPools(call), volumes, clock, log: silent });
    const freeze = { frozen: () => undefined };
    const needs = {
      ...{
        freeze,
        ledger: this.ledger,
        clock,
        log: silent,
        volumes,
        pools,
        domains: new LibvirtDomains(call),
      },
      fills: new Fills(
        { freeze, ledger: this.ledger, clock, log: silent },
        () => Promise.reject(new Error('nothing is filled here')),
        { concurrentMax: 2, queueMax: 1000, deadlineMs: 3_600_000 },
      ),
      reservations: new Reservations({ volumes, log: silent }),
      ...{
        firstStarts: new Map<string, string>(),
        retiring: new Set<string>(),
        ...nothingEncrypted(),
        hostPolicy: undefined,
      },
      thinPools: new Map<string, string>(),
      goldens: { filling: new Set<string>(), settle: () => Promise.resolve() },
    };
    this.reconciler = new Reconciler(needs);
    this.verbs = new DomainVerbs({
      ...{ ...needs, reconciler: this.reconciler, sharedGroups: new Set(), virtualSizeMaxBytes: 0 },
      devices: { open: () => Promise.reject(new Error('nothing is written here')) },
    });
  }

  static async of(size: number): Promise<CrowdedHost> {
    const host = new CrowdedHost(size);
    await new Promise((resolve) => host.#helper.server.once('listening', resolve));
    return host;
  }

  /** Looks at everything; resolves when every domain was read, every volume planned, and nothing is asked any more. */
  async lookAtEverything(): Promise<number> {
    const { counts } = this;
    counts.reset();
    const begunMs = performance.now();
    await this.reconciler.requestAll();
    const isDone = () =>
      counts.of('domain GetXMLDesc') >= this.#size &&
      counts.of('ledger fillsAt') >= this.annotated &&
      performance.now() - counts.lastMs > QUIET_MS;
    while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 10));
    return counts.lastMs - begunMs;
  }

  async close(): Promise<void> {
    await this.reconciler.stop();
    await this.#helper.stop();
    this.ledger.close();
    rmSync(this.#folder, { recursive: true });
  }

  /** libvirt-dbus, as far as it is asked; each answer takes its turn of the event loop, as one from a socket does. */
  #bus(xmlOf: ReadonlyMap<string, string>): CallLibvirt {
    const paths = [...xmlOf.keys()].map(domainPath);
    const answers: Record<string, (path: string, property: unknown) => unknown> = {
      ListDomains: () => paths,
      ListStoragePools: () => [POOL_PATH],
      GetXMLDesc: (path) => (path === POOL_PATH ? POOL_XML : xmlOf.get(uuidOf(path) ?? '')),
      StoragePoolLookupByName: () => POOL_PATH,
      Refresh: () => undefined,
      // Shut off (VIR_DOMAIN_SHUTOFF), by its guest.
      GetState: () => [5, 1],
      Get: (path, property) =>
        property === 'Name' ? `vm of ${path}` : property === 'Persistent' || path === POOL_PATH,
    };
    return async ({ path, member, body = [] }) => {
      await new Promise((resolve) => setImmediate(resolve));
      const isOfDomain = uuidOf(path) !== undefined;
      this.counts.add('bus');
      this.counts.add(isOfDomain ? `domain ${member}` : member);
      if (isOfDomain) this.counts.add(`${path} ${member}`);
      const find = answers[member];
      if (find === undefined) throw new Error(`nobody answers ${member}`);
      return [find(path, body[1])];
    };
  }

  /** Questions to the ledger are signs of life too; `ledger rows` counts the rows that whole-table reads bring. */
  #counted(ledger: Ledger & { close(): void }): Ledger & { close(): void } {
    const { counts } = this;
    return new Proxy(ledger, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]): unknown => {
          counts.add(`ledger ${String(name)}`);
          return Reflect.apply(value, target, given) as unknown;
        };
      },
    });
  }
}

export function uuidFor(index: number): string {
  return `00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;
}

/** How to tell how often the XML of a domain was read. */
export function xmlReadsOf(index: number): string {
  return `${domainPath(uuidFor(index))} GetXMLDesc`;
}

/** Everything else that was asked about it. */
export function propertyReadsOf(index: number): string {
  return `${domainPath(uuidFor(index))} Get`;
}

function sealFor(index: number, domainUuid: string): string[] {
  return sealTags({
    fillId: index.toString(16).padStart(16, '0'),
    target: `vm${index}`,
    domainUuid,
    image: imageTag({ bucket: 'images', key: 'debian.qcow2' }),
    sha256: 'a'.repeat(64),
    generation: 1,
  });
}

/** As long as what libvirt prints for a small guest. */
function crowdedXml(index: number, uuid: string, isAnnotated: boolean): string {
  const controllers = Array.from(
    { length: 14 },
    (_, port) => `    <controller type='pci' index='${port + 1}' model='pcie-root-port'>
      <model name='pcie-root-port'/><target chassis='${port + 1}' port='0x${(16 + port).toString(16)}'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x${port % 8}'/>
    </controller>`,
  );
  const annotation = `<metadata><vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1'>
      <vp:volume target='vda' image='images/debian.qcow2' format='qcow2'/>
    </vp:provision></metadata>`;
  return `<domain type='kvm'><name>vm${index}</name><uuid>${uuid}</uuid>
  ${isAnnotated ? annotation : ''}
  <memory unit='KiB'>2097152</memory><vcpu placement='static'>2</vcpu>
  <os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type><boot dev='hd'/></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='volume' device='disk'><driver name='qemu' type='raw'/>
      <source pool='guests' volume='vm${index}'/><target dev='vda' bus='virtio'/></disk>
${controllers.join('\n')}
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
  </devices></domain>`;
}
