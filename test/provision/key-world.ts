/**
 * A world with one sealed, encrypted volume, for what is done to its keys: a LUKS header that is a list of keys, a
 * libvirt that keeps the annotation, and a plug that is pulled before or after any effect.
 */
import { ProvisionError } from '../../src/core/errors.ts';
import type { AuditEvent } from '../../src/core/protocol/audit-event.ts';
import { parseDomainXml } from '../../src/core/xml/domain-xml.ts';
import type { KeyReference } from '../../src/core/key/key-reference.ts';
import { formatKeyReference } from '../../src/core/key/key-reference.ts';
import type { KeyChange } from '../../src/core/key/key-change.ts';
import type { ReceivingMark, Seal } from '../../src/core/volume/volume.ts';
import { sealTags } from '../../src/core/volume/volume.ts';
import { GuestKeys } from '../../src/provision/keys/guest-keys.ts';
import { KeyChanges } from '../../src/provision/keys/key-changes.ts';
import type { Keys, VolumeKey } from '../../src/provision/ports/keys.ts';
import type { Ledger } from '../../src/provision/ports/ledger.ts';
import type { Domains, LibvirtDomain } from '../../src/provision/ports/libvirt.ts';
import type { LuksVolumes } from '../../src/provision/ports/volumes.ts';
import { MIB, silent, World } from './world.ts';

export const UUID = '11111111-1111-4111-8111-111111111111';
export const FILL = '00112233445566aa';
const SEAL: Seal = {
  ...{ state: 'ready', fillId: FILL, target: 'vm1', domainUuid: UUID, image: 'images/small.raw' },
  ...{ sha256: 'ab'.repeat(32), generation: 1, encryption: 'luks1' },
};
const GRACE_MS = 4_000;
/** More than a start takes. */
const START_MS = 60_000;

/** By what keys are called: each has bytes of its own. */
const bytesOf = (name: string): string => `${name}-`.padEnd(44, 'k');

export class PulledPlug extends Error {}

interface DomainOptions {
  readonly uuid?: string;
  readonly name?: string;
  readonly lv?: string;
  readonly key?: string;
  readonly attributes?: string;
}

/** The XML of vm1, whose only disk is encrypted. */
function encryptedXml(options: DomainOptions): string {
  const { uuid = UUID, name = 'vm1', lv = name, key = 'file:old', attributes = '' } = options;
  return `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><metadata>
    <vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1' start='when-ready'>
      <vp:volume target='vda' image='images/small.raw' format='raw' key='${key}' ${attributes}/>
    </vp:provision></metadata><devices>
    <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg0/${lv}'>
      <encryption format='luks'><secret type='passphrase' usage='/dev/vg0/${lv}'/></encryption></source>
      <target dev='vda' bus='virtio'/></disk>
    </devices></domain>`;
}

interface Life {
  isOver: boolean;
}

function unplug(life: Life): never {
  life.isOver = true;
  throw new PulledPlug();
}

/** What goes on after the plug was pulled is a daemon that is no more. */
function requirePower({ isOver }: Life): void {
  if (isOver) throw new PulledPlug();
}

export class KeyWorld {
  readonly world = new World();
  /** Of the one header; undefined: it is damaged. */
  slots: string[] | undefined = ['file:old'];
  /** Names of the keys that this host may read, and what bytes they are of. */
  readonly readable = new Map(['file:old', 'file:new', 'file:other'].map((name) => [name, bytesOf(name)]));
  readonly events: Omit<AuditEvent, 'at'>[] = [];
  /** Each effect in turn, as it happens. */
  readonly effects: string[] = [];
  /** The plug is pulled at this effect. */
  pull: { readonly effect: string; readonly when: 'before' | 'after' } | undefined;
  /** Keys that were given out and not wiped. */
  readonly unwiped = new Set<VolumeKey>();
  /** What is done while this effect goes on. */
  during: { readonly effect: string; readonly act: () => Promise<void> | void } | undefined;
  /** The header loses no key, whoever says so. */
  keepsAll = false;
  /** Somebody has opened the volume after the daemon has looked, and before its helper does. */
  openAtLast = false;
  /** Of these keys nobody says anything, whatever the signal says, before the world ends. */
  readonly silent = new Set<string>();
  /** How often a key was asked for. */
  reads = 0;
  /** Of the daemon that is plugged in. */
  #life = { isOver: false };
  verbs!: KeyChanges;
  #guestKeys!: GuestKeys;

  constructor() {
    this.world.volumes.add('vm1', Buffer.alloc(4 * MIB, 1), sealTags(SEAL));
    this.define({});
    this.plugIn();
  }

  define(change: DomainOptions & { readonly active?: boolean }): void {
    const { uuid = UUID, name = 'vm1', active = false } = change;
    const shown = { uuid, name, active, persistent: true, autostart: false };
    this.world.libvirt.domains.set(uuid, { ...shown, xml: encryptedXml(change) });
  }

  /** The daemon, begun anew: what was in memory is gone. */
  plugIn(): void {
    this.#life.isOver = true;
    const life = { isOver: false };
    this.#life = life;
    this.pull = undefined;
    this.world.restart();
    const { admit, libvirt } = this.world;
    const { reconciler } = this.world;
    const domains: Domains = {
      list: () => Promise.resolve([...libvirt.domains.keys()]),
      read: (uuid) => libvirt.read(uuid),
      xml: async (uuid) => (await libvirt.read(uuid))?.xml,
      find: (name) => libvirt.find(name),
      everyXml: () => Promise.resolve(undefined),
      start: () => Promise.resolve(),
      hasArrived: () => Promise.resolve(false),
      hasManagedSave: (uuid) => Promise.resolve(libvirt.saved.has(uuid)),
      writeAnnotation: (uuid, element) =>
        this.#effect(life, 'annotate', () => {
          const found = libvirt.domains.get(uuid);
          if (found === undefined) return;
          const xml = found.xml.replace(/<vp:provision.*<\/vp:provision>/s, element);
          libvirt.domains.set(uuid, { ...found, xml });
        }),
    };
    const [luks, keys] = [this.#luks(life), this.#keys(life)];
    const trail = { record: (event: Omit<AuditEvent, 'at'>) => void this.events.push(event) };
    this.#guestKeys = new GuestKeys({
      ...{ ...admit, luks, keys, domains, log: silent, trail: { record: () => undefined } },
      secrets: {
        set: () => Promise.resolve(),
        unset: () => Promise.resolve(false),
        list: () => Promise.resolve([]),
      },
      watch: { handedOver: () => undefined, revoked: () => undefined },
    });
    this.verbs = new KeyChanges({
      ...{ ...admit, reconciler, domains, log: silent, ledger: this.#ledger(life) },
      changingKeys: admit.changingKeys as Set<string>,
      ...{ luks, keys, trail },
    });
  }

  get domain(): LibvirtDomain {
    const found = this.world.libvirt.domains.get(UUID);
    if (found === undefined) throw new Error('vm1 is gone');
    return found;
  }

  get annotation() {
    return parseDomainXml(this.domain.xml).annotation;
  }

  get annotated(): string {
    const key = this.annotation?.volumes[0]?.key;
    return key === undefined ? '' : formatKeyReference(key);
  }

  /** Whether the key that the annotation names opens the volume. */
  get isStartable(): boolean {
    return this.slots?.includes(this.annotated) === true;
  }

  keyText(name: string): string {
    return bytesOf(name);
  }

  change(): KeyChange | undefined {
    return this.world.ledger.keyChangeOf(FILL);
  }

  /** What the gate says of vm1 as libvirt has it. */
  async gate() {
    const { admitStart } = await import('../../src/provision/gate/admit-start.ts');
    const answer = admitStart(
      { ...this.world.admit, guestKeys: this.#guestKeys },
      'prepare',
      this.domain.xml,
    );
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    this.world.clock.advance(GRACE_MS);
    const { allowed, problems } = await answer;
    // Nothing comes of the start.
    this.world.clock.advance(START_MS);
    return { allowed, problems };
  }

  async #effect(life: Life, effect: string, work: () => void): Promise<void> {
    requirePower(life);
    await Promise.resolve();
    const isHit = this.pull?.effect === effect ? this.pull.when : undefined;
    if (isHit === 'before') unplug(life);
    if (this.during?.effect === effect) await this.during.act();
    work();
    this.effects.push(effect);
    if (isHit === 'after') unplug(life);
  }

  #ledger(life: Life): Ledger {
    const { ledger } = this.world;
    return new Proxy(ledger, {
      get: (target, name: keyof Ledger) => {
        if (name !== 'putKeyChange') {
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        }
        return (change: KeyChange) => {
          requirePower(life);
          const effect = `write ${change.step}`;
          if (this.pull?.effect === effect && this.pull.when === 'before') unplug(life);
          target.putKeyChange(change);
          this.effects.push(effect);
          if (this.pull?.effect === effect) unplug(life);
        };
      },
    });
  }

  #keys(life: Life): Keys {
    return {
      read: async (reference: KeyReference) => {
        this.reads += 1;
        requirePower(life);
        await Promise.resolve();
        const name = formatKeyReference(reference);
        if (this.silent.has(name)) await new Promise<never>(() => undefined);
        const text = this.readable.get(name);
        if (text === undefined)
          throw new ProvisionError({ code: 'KEY_DENIED', message: `no ${name} for us` });
        const bytes = Buffer.from(text);
        const key: VolumeKey = {
          bytes,
          wipe: () => {
            bytes.fill(0);
            this.unwiped.delete(key);
          },
        };
        this.unwiped.add(key);
        return key;
      },
    };
  }

  #luks(life: Life): LuksVolumes {
    const never = () => Promise.reject(new Error('no fill here'));
    const nameOf = ({ bytes }: VolumeKey) =>
      [...this.readable].find(([, text]) => bytes.equals(Buffer.from(text)))?.[0] ?? 'wiped';
    const opened = async (key: VolumeKey): Promise<string[]> => {
      requirePower(life);
      await Promise.resolve();
      if (this.slots === undefined) throw refused('VOLUME_STATE', 'there is no header of ours on it');
      if (!this.slots.includes(nameOf(key))) throw refused('KEY_WRONG', 'the key does not open it');
      return this.slots;
    };
    const requireClosed = (seal: Seal | ReceivingMark) => {
      if (this.openAtLast || (this.world.volumes.lvm.find(seal.target)?.openLooks ?? 0) > 0)
        throw refused('VOLUME_STATE', 'somebody has it open');
    };
    return {
      ...{ formatLuks: never, openLuks: never, closeLuks: never },
      checkLuks: async (_vg, _seal, key) => ({ keys: (await opened(key)).length }),
      addLuksKey: async (_vg, seal, key, added) => {
        const slots = await opened(key);
        requireClosed(seal);
        if (slots.length >= 8) throw refused('HELPER_FAILED', 'all key slots are full');
        const name = nameOf(added);
        await this.#effect(life, 'add', () => {
          if (!slots.includes(name)) slots.push(name);
        });
      },
      keepOnlyLuksKey: async (_vg, seal, key) => {
        await opened(key);
        requireClosed(seal);
        const name = nameOf(key);
        await this.#effect(life, 'keep only', () => {
          if (!this.keepsAll) this.slots = [name];
        });
      },
      eraseLuks: async (_vg, seal) => {
        requireClosed(seal);
        await this.#effect(life, 'erase', () => {
          this.slots = undefined;
        });
      },
    };
  }
}

function refused(code: ProvisionError['code'], message: string): ProvisionError {
  return new ProvisionError({ code, message });
}
