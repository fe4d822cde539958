/**
 * libvirtd: domains, one logical pool, guests that write to their disks, the hook in the way of every start,
 * and events that get lost, come twice, late, or without reason.
 */
import { ProvisionError } from '../../src/core/errors.ts';
import type { ShutoffReason } from '../../src/core/plan/last-end.ts';
import type { LogicalPool } from '../../src/core/request.ts';
import type {
  Domains,
  GuestSecrets,
  LibvirtDomain,
  LibvirtEvent,
  Pools,
} from '../../src/provision/ports/libvirt.ts';
import type { AdmitAnswer, GateOperation } from '../../src/provision/ports/verbs.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import type { Agenda } from './agenda.ts';
import type { DomainSpec } from './domains.ts';
import { POOL, VG, annotatedAnew, pathOf, xmlOf } from './domains.ts';
import type { Faults } from './faults.ts';
import type { Group, Opener } from './group.ts';
import { LUKS_BYTES } from './group.ts';
import type { Life } from './life.ts';
import { never } from './life.ts';
import type { Random } from './random.ts';
import type { SavedMemory } from './saved-memory.ts';
import { saveMemory } from './saved-memory.ts';
import { Secrets } from './secrets.ts';
import { Violation } from './violation.ts';

const SYNCED_AFTER_MS = 30_000;
/** A call on a bus nobody answers ends after this time. */
export const CALL_MAX_MS = 25_000;

interface Guest extends Opener {
  /** As it was started, whatever its definition says by now. */
  readonly spec: DomainSpec;
  readonly volumes: readonly ModelVolume[];
  /** Of those that libvirt has opened with a secret, whatever its definition says by now. */
  readonly openedPaths: readonly string[];
}

export interface Domain {
  spec: DomainSpec;
  persistent: boolean;
  autostart: boolean;
  /** A hook is being asked: libvirt does not talk about the domain until it has answered. */
  starting: Promise<unknown> | undefined;
  guest: Guest | undefined;
  /** What its next start goes on with. */
  memory?: SavedMemory | undefined;
  /** What was written last and may not be on the disk yet. */
  unsynced?: { readonly before: DomainSpec; readonly atMs: number } | undefined;
  /** What libvirt says when it is shut off. */
  shutoff: ShutoffReason;
}

/** How a guest's run really ended; `lost`: with the host, by a crash, or with its state kept in a file. */
export type Ended = 'here' | 'migrated' | 'lost';

/** What is true of a domain, whether or not anybody can know it. */
export interface Truth {
  spec: DomainSpec;
  /** When it was last defined, or started without. */
  definedAtMs: number;
  /** Undefined while it runs. */
  ended: Ended | undefined;
  /** Something was defined or started that nobody was told of, or who was told could not write it down. */
  isUntold: boolean;
}

export interface Hook {
  ask(operation: GateOperation, spec: DomainSpec): Promise<AdmitAnswer>;
}

export class Libvirt {
  readonly domains = new Map<string, Domain>();
  readonly #agenda: Agenda;
  readonly #random: Random;
  readonly #faults: Faults;
  readonly #group: Group;
  readonly #trace: (line: string) => void;
  hook: Hook = { ask: never };
  onEvent: (event: LibvirtEvent) => void = () => undefined;
  /** Told when a guest begins to run on these volumes. */
  onStart: (spec: DomainSpec, volumes: readonly ModelVolume[], askedAtMs: number) => void = () => undefined;
  isAway = false;
  isPoolActive = true;
  /** Whoever was the last to stop the pool: somebody who wants it stopped, or a refresh that failed. */
  stoppedBy: 'operator' | 'refresh' = 'operator';
  /** The next refresh of ours fails and stops the pool. */
  failNextRefresh = false;
  onViolation: (violation: Violation) => void = () => undefined;
  /** Told when saved memory goes on, or is given up. */
  onMemoryEnds: (memory: SavedMemory) => void = () => undefined;
  readonly secrets = new Secrets();
  /** Looks on while we write an annotation. */
  judged: (what: string, effect: () => void) => void = (_what, effect) => {
    effect();
  };
  /** Counts lives of libvirtd, each of which knows no secrets when it begins. */
  #lives = 0;
  /** Counts power cuts: what was begun before one does not go on after it. */
  #boots = 0;
  /** When a domain was last seen to vanish. */
  readonly #goneAtMs = new Map<string, number>();
  readonly truths = new Map<string, Truth>();
  readonly #lastToldMs = new Map<string, number>();
  /** Whoever listens to events just now; another object after each gap. */
  listening: object = {};
  /** Whether somebody does. */
  isHeard: () => boolean = () => true;
  /** Volumes that libvirt has seen at its last look. */
  #known = new Set<string>();

  constructor(needs: {
    readonly agenda: Agenda;
    readonly random: Random;
    readonly faults: Faults;
    readonly group: Group;
    readonly trace: (line: string) => void;
  }) {
    this.#agenda = needs.agenda;
    this.#random = needs.random;
    this.#faults = needs.faults;
    this.#group = needs.group;
    this.#trace = needs.trace;
  }

  emit(event: LibvirtEvent): void {
    if (this.isAway || this.#faults.strikes('eventLost')) {
      this.#notTold(event);
      return;
    }
    const times = this.#faults.strikes('eventTwice') ? 2 : 1;
    const listening = this.listening;
    for (let time = 0; time < times; time++) {
      const atMs = this.#whenTold(event, this.#agenda.nowMs + this.#random.skewed(2_000));
      this.#agenda.after(atMs - this.#agenda.nowMs, () => {
        // Whoever began to listen since gets a hint at most.
        if (event.kind !== 'domain' || listening === this.listening) this.onEvent(event);
        else this.onEvent({ kind: 'domain', uuid: event.uuid });
      });
    }
  }

  /** Two domains cannot have one name. */
  isNameTaken({ uuid, name }: DomainSpec): boolean {
    return [...this.domains.values()].some(({ spec }) => spec.name === name && spec.uuid !== uuid);
  }

  /** Hints come in any order; what is said of one domain's changes comes in the order in which they happened. */
  #whenTold(event: LibvirtEvent, atMs: number): number {
    if (event.kind !== 'domain' || event.change === undefined) return atMs;
    const inOrderMs = Math.max(atMs, (this.#lastToldMs.get(event.uuid) ?? 0) + 1);
    this.#lastToldMs.set(event.uuid, inOrderMs);
    return inOrderMs;
  }

  #notTold(event: LibvirtEvent): void {
    const truth = event.kind === 'domain' ? this.truths.get(event.uuid) : undefined;
    if (event.kind === 'domain' && event.change !== undefined && truth !== undefined) truth.isUntold = true;
  }

  /** What is true of it from now on. */
  #note(spec: DomainSpec, ended: Ended | undefined): void {
    const before = this.truths.get(spec.uuid);
    const isUntold = before?.isUntold === true || !this.isHeard();
    this.truths.set(spec.uuid, { spec, definedAtMs: this.#agenda.nowMs, ended, isUntold });
  }

  define(spec: DomainSpec, autostart: boolean): void {
    const before = this.domains.get(spec.uuid);
    const fresh: Domain = {
      spec,
      persistent: true,
      autostart,
      starting: undefined,
      guest: undefined,
      shutoff: 'unknown',
    };
    if (before === undefined) this.domains.set(spec.uuid, fresh);
    else Object.assign(before, { spec, persistent: true, autostart, unsynced: undefined });
    // One that was never here has not moved away either.
    const ended = before === undefined ? 'here' : this.truths.get(spec.uuid)?.ended;
    this.#note(spec, before?.guest === undefined ? (ended ?? 'here') : undefined);
    this.emit({ kind: 'domain', uuid: spec.uuid, change: 'defined' });
  }

  undefine(uuid: string): void {
    const domain = this.domains.get(uuid);
    if (domain === undefined) return;
    domain.persistent = false;
    // virsh undefine --managed-save
    this.removeMemory(uuid);
    if (domain.guest === undefined && domain.starting === undefined) this.#remove(uuid);
    this.emit({ kind: 'domain', uuid });
  }

  /** virsh start, or create of a transient domain; resolves with why not, or undefined. */
  async start(spec: DomainSpec): Promise<string | undefined> {
    if (this.isAway) return 'libvirt is away';
    if (this.isNameTaken(spec)) return 'another domain has that name';
    const existing = this.domains.get(spec.uuid);
    if (existing?.guest !== undefined || existing?.starting !== undefined)
      return 'it runs or is being started';
    const transient: Domain = {
      spec,
      persistent: false,
      autostart: false,
      starting: undefined,
      guest: undefined,
      shutoff: 'unknown',
    };
    const domain = existing ?? transient;
    this.domains.set(spec.uuid, domain);
    const starting =
      domain.memory === undefined
        ? this.#start(domain, existing?.spec ?? spec)
        : this.#restore(domain, domain.memory);
    domain.starting = starting;
    const why = await starting;
    if (domain.starting === starting) domain.starting = undefined;
    if (domain.guest === undefined && !domain.persistent) this.#remove(spec.uuid);
    this.#trace(`start ${spec.name}: ${why ?? 'runs'}`);
    if (why !== undefined && domain.guest === undefined) domain.shutoff = 'failed';
    const change = why === undefined ? ({ change: 'begun' } as const) : {};
    this.emit({ kind: 'domain', uuid: spec.uuid, ...change });
    return why;
  }

  /** For how long there has been no such domain. */
  goneForMs(uuid: string): number {
    return this.domains.has(uuid) ? 0 : this.#agenda.nowMs - (this.#goneAtMs.get(uuid) ?? Infinity);
  }

  #remove(uuid: string): void {
    this.domains.delete(uuid);
    this.#goneAtMs.set(uuid, this.#agenda.nowMs);
  }

  stop(uuid: string, how: 'ended' | 'crashed' | 'saved' | 'migrated'): void {
    const domain = this.domains.get(uuid);
    if (domain?.guest === undefined) return;
    for (const volume of domain.guest.volumes) {
      this.#group.bookOf(volume).openers.delete(domain.guest);
      volume.owner = 'root';
    }
    domain.guest = undefined;
    domain.shutoff = how === 'crashed' ? 'ended' : how;
    // A crash of a persistent domain is the end of a guest; of a transient one there is nobody to ask.
    const isOver = how === 'ended' || (how === 'crashed' && domain.persistent);
    this.#note(domain.spec, isOver ? 'here' : how === 'migrated' ? how : 'lost');
    if (!domain.persistent) this.#remove(uuid);
    const change = how === 'ended' || how === 'migrated' ? ({ change: how } as const) : {};
    this.emit({ kind: 'domain', uuid, ...change });
  }

  /** virsh managedsave, which libvirt refuses for a transient domain. */
  saveMemory(uuid: string): void {
    const domain = this.domains.get(uuid);
    if (domain?.guest === undefined || !domain.persistent) return;
    const { spec, volumes } = domain.guest;
    domain.memory = saveMemory(spec, volumes);
    this.stop(uuid, 'saved');
  }

  /** virsh managedsave-remove */
  removeMemory(uuid: string): void {
    const domain = this.domains.get(uuid);
    if (domain?.memory === undefined) return;
    this.onMemoryEnds(domain.memory);
    domain.memory = undefined;
    // Whoever gives it up has the guest end here after all.
    const truth = this.truths.get(uuid);
    if (truth?.ended === 'lost') truth.ended = 'here';
  }

  /** libvirtd was started anew: it does not know any more why domains are shut off, nor what opens their disks. */
  beginAnew(): void {
    this.#lives += 1;
    this.secrets.forget();
    for (const domain of this.domains.values()) domain.shutoff = 'unknown';
  }

  /** The host has lost power: no guest has survived it. */
  losePower(): void {
    this.#boots += 1;
    this.secrets.forget();
    this.isPoolActive = true;
    for (const [uuid, domain] of this.domains) {
      // With a persistent domain there is nothing left of the guest but its volumes.
      if (domain.guest !== undefined) this.#note(domain.spec, domain.persistent ? 'here' : 'lost');
      domain.guest = undefined;
      domain.starting = undefined;
      domain.shutoff = 'unknown';
      this.#loseUnsynced(domain);
      if (!domain.persistent) this.#remove(uuid);
    }
    this.isAway = false;
    this.refreshPool();
  }

  /** Without a sync a file is on the disk half a minute later. */
  #loseUnsynced(domain: Domain): void {
    const { unsynced } = domain;
    domain.unsynced = undefined;
    if (unsynced === undefined || this.#agenda.nowMs - unsynced.atMs > SYNCED_AFTER_MS) return;
    if (this.#random.chance(0.5)) return;
    this.#trace(`what was written last of ${domain.spec.name} is lost`);
    domain.spec = unsynced.before;
  }

  /** What a guest does all day; how many volumes were written to. */
  writeFromGuests(): number {
    let written = 0;
    for (const { guest } of this.domains.values()) {
      for (const volume of guest?.volumes ?? []) {
        const { disk } = this.#group.bookOf(volume);
        const least = volume.header === undefined ? 0 : LUKS_BYTES / 512;
        disk.write(Buffer.alloc(512, 0x67), 512 * this.#random.between(least, disk.bytes.length / 512 - 1));
        if (this.#random.chance(0.5)) disk.sync();
        written += 1;
      }
    }
    return written;
  }

  /** virsh pool-destroy: fails while anything in it is in use. */
  stopPool(): boolean {
    const { volumes } = this.#group.model;
    if (!this.isPoolActive || volumes.some((volume) => this.#group.isOpen(volume))) return false;
    for (const volume of volumes) volume.active = false;
    this.isPoolActive = false;
    this.stoppedBy = 'operator';
    this.emit({ kind: 'pool' });
    return true;
  }

  /** A refresh fails, whoever asked for it. An LV that is in use keeps vgchange from deactivating any. */
  failRefresh(): void {
    if (!this.isPoolActive) return;
    const { volumes } = this.#group.model;
    if (!volumes.some((volume) => this.#group.isOpen(volume)))
      for (const volume of volumes) volume.active = false;
    this.isPoolActive = false;
    this.stoppedBy = 'refresh';
    this.emit({ kind: 'pool' });
  }

  startPool(): void {
    if (this.isPoolActive) return;
    for (const volume of this.#group.model.volumes) volume.active = !volume.skipsActivation;
    this.isPoolActive = true;
    this.refreshPool();
    this.emit({ kind: 'pool' });
  }

  refreshPool(): void {
    const thick = this.#group.model.volumes.filter(({ thinPool }) => thinPool === undefined);
    this.#known = new Set(thick.map(({ lv }) => lv));
  }

  domainsPort(daemon: Life): Domains {
    const all = () => [...this.domains].flatMap(([uuid, domain]) => this.#described(uuid, domain));
    const read = async (uuid: string): Promise<LibvirtDomain | undefined> => {
      await this.#call(daemon, 'read', () => undefined);
      await this.domains.get(uuid)?.starting;
      await daemon.step('libvirt read, a start being over');
      const truth = this.truths.get(uuid);
      if (truth !== undefined && this.domains.has(uuid)) truth.isUntold = false;
      return all().find((domain) => domain.uuid === uuid);
    };
    return {
      list: () => this.#call(daemon, 'list domains', () => [...this.domains.keys()]),
      read,
      xml: async (uuid) => (await read(uuid))?.xml,
      find: (word) =>
        this.#call(daemon, 'find', () => all().find(({ uuid, name }) => uuid === word || name === word)),
      everyXml: (uuid) =>
        this.#call(daemon, 'every XML', () => {
          const found = all().find((domain) => domain.uuid === uuid);
          return found === undefined ? undefined : [found.xml];
        }),
      start: async (uuid) => {
        const spec = await this.#call(daemon, 'start', () => this.domains.get(uuid)?.spec);
        const why = spec === undefined ? 'there is none' : await this.start(spec);
        await daemon.step('libvirt start answered');
        if (why !== undefined) throw failed(`cannot start ${uuid}: ${why}`);
      },
      hasArrived: () => Promise.resolve(false),
      hasManagedSave: (uuid) =>
        this.#call(daemon, 'has managed save', () => this.domains.get(uuid)?.memory !== undefined),
      writeAnnotation: (uuid, element) =>
        this.#call(daemon, 'write annotation', () => {
          const domain = this.domains.get(uuid);
          if (domain === undefined) throw failed(`no domain ${uuid}`);
          if (domain.memory !== undefined)
            this.onViolation(
              new Violation('saved-untouched', `${domain.spec.name} is saved, and gets another annotation`),
            );
          this.judged(`another key is named by ${domain.spec.name}`, () => {
            const { spec: before } = domain;
            domain.spec = annotatedAnew(before, element);
            domain.unsynced = { before, atMs: this.#agenda.nowMs };
          });
          this.emit({ kind: 'domain', uuid, change: 'defined' });
        }),
    };
  }

  secretsPort(daemon: Life): GuestSecrets {
    return this.secrets.port((name, effect) => this.#call(daemon, name, effect));
  }

  pools(daemon: Life): Pools {
    const requireActive = () => {
      if (!this.isPoolActive) throw poolInactive();
    };
    const pool = (): LogicalPool => ({ name: POOL, uuid: 'pool', vg: VG, active: this.isPoolActive });
    return {
      list: () => this.#call(daemon, 'list pools', () => [pool()]),
      refresh: () =>
        this.#call(
          daemon,
          'refresh pool',
          () => {
            if (this.failNextRefresh || this.#faults.strikes('refreshFails')) {
              this.failNextRefresh = false;
              this.#trace('a refresh of ours fails, and the pool stops');
              this.failRefresh();
              throw failed('no storage vol with matching path');
            }
            this.refreshPool();
          },
          requireActive,
        ),
      start: () =>
        this.#call(daemon, 'start pool', () => {
          if (!this.isPoolActive && this.stoppedBy === 'operator')
            this.onViolation(
              new Violation('stays-stopped', 'a pool was started that its operator has stopped'),
            );
          this.#trace('the pool is started by us');
          this.startPool();
        }),
      deleteVolume: (_pool, lv) =>
        this.#call(daemon, 'delete volume', () => {
          if (!this.isPoolActive) throw poolInactive();
          const volume = this.#group.model.find(lv);
          if (volume === undefined) return;
          if (volume.thinPool !== undefined) throw failed(`no storage vol with matching name '${lv}'`);
          if (this.#group.isOpen(volume)) throw failed(`${lv} is in use`);
          this.#trace(`libvirt removes ${lv}`);
          this.#group.remove(lv, 'us');
        }),
    };
  }

  /** The memory is kept until the guest runs: what is refused is still saved. */
  async #restore(domain: Domain, memory: SavedMemory): Promise<string | undefined> {
    const [boot, life] = [this.#boots, this.#lives];
    const answer = await this.hook.ask('restore', memory.spec);
    if (!answer.allowed) return answer.problems.map(({ code }) => code).join(' ') || 'refused';
    if (boot !== this.#boots || life !== this.#lives || this.isAway) return 'libvirtd has gone meanwhile';
    const why = await this.#start(domain, memory.spec);
    if (why === undefined && domain.memory === memory) {
      this.#trace(`${memory.spec.name} goes on with its saved memory`);
      domain.memory = undefined;
      this.onMemoryEnds(memory);
    }
    return why;
  }

  async #start(domain: Domain, spec: DomainSpec): Promise<string | undefined> {
    const boot = this.#boots;
    const life = this.#lives;
    const askedAtMs = this.#agenda.nowMs;
    const answer = await this.hook.ask('prepare', spec);
    if (!answer.allowed) return answer.problems.map(({ code }) => code).join(' ') || 'refused';
    if (boot !== this.#boots || life !== this.#lives || this.isAway) return 'libvirtd has gone meanwhile';
    const isBlock = spec.disks.every((disk) => disk.isBlock === true);
    if (!this.isPoolActive && !isBlock) return 'the pool is not active';
    const volumes: ModelVolume[] = [];
    for (const { lv, isBlock: isNamedByDevice = false } of spec.disks) {
      const volume = this.#group.model.find(lv);
      if (volume === undefined || (!isNamedByDevice && !this.#known.has(lv)))
        return `no storage volume ${lv}`;
      if (this.#group.isOpen(volume) || !volume.active) return `${lv} cannot be opened`;
      volumes.push(volume);
    }
    this.onStart(spec, volumes, askedAtMs);
    const locked = volumes.find((volume, index) => !this.#opens(volume, spec.disks[index]?.key));
    if (locked !== undefined) return `${locked.lv} is not opened by what libvirt has`;
    const openedPaths = spec.disks.flatMap(({ key, lv }) => (key === undefined ? [] : [pathOf(lv)]));
    domain.guest = { what: 'guest', spec, volumes, openedPaths };
    this.#note(domain.spec, undefined);
    for (const volume of volumes) {
      this.#group.bookOf(volume).openers.add(domain.guest);
      volume.owner = 'guest';
    }
    return undefined;
  }

  /** QEMU opens what has a header with what libvirt gives it. */
  #opens({ lv, header }: ModelVolume, key: string | undefined): boolean {
    return key === undefined || header?.slots.includes(this.secrets.valueOf(pathOf(lv))) === true;
  }

  #described(uuid: string, { spec, persistent, autostart, guest, shutoff }: Domain): LibvirtDomain[] {
    const xml = xmlOf(spec);
    const active = guest !== undefined;
    const state = persistent && !active ? { shutoff } : {};
    return [{ uuid, name: spec.name, xml, active, persistent, autostart, ...state }];
  }

  /** `before` is what libvirt looks at before anything can go wrong. */
  async #call<T>(
    daemon: Life,
    name: string,
    effect: () => T,
    before: () => void = () => undefined,
  ): Promise<T> {
    await daemon.step(`libvirt ${name}`);
    if (this.isAway) {
      if (this.#random.chance(0.3)) await daemon.wait(CALL_MAX_MS, 'a bus that nobody answers on');
      throw new ProvisionError({ code: 'LIBVIRT_UNAVAILABLE', message: 'libvirt does not answer' });
    }
    before();
    if (this.#faults.strikes('libvirtFails')) throw failed('an internal error occurred');
    const result = effect();
    await daemon.step(`libvirt ${name} answered`);
    return result;
  }
}

function failed(what: string): ProvisionError {
  return new ProvisionError({ code: 'LIBVIRT_FAILED', message: `libvirt: ${what}` });
}

function poolInactive(): ProvisionError {
  return new ProvisionError({ code: 'POOL_INACTIVE', message: 'libvirt: the pool is not active' });
}
