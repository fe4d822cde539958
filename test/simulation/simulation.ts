/**
 * One run: a host in which everything that can happen happens, chosen by a seed, until the faults stop; then
 * time passes, and everything must be as promised.
 */
import type { AdmitAnswer, GateOperation } from '../../src/provision/ports/verbs.ts';
import { jobIdOf } from '../../src/core/owner.ts';
import { readMark } from '../../src/core/volume/volume.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import { Agenda } from './agenda.ts';
import { Census } from './census.ts';
import { Crashes } from './crashes.ts';
import { Daemon } from './daemon.ts';
import type { Host } from './daemon.ts';
import type { Deed } from './deed.ts';
import { IMAGE_NAMES } from './deed.ts';
import { DEEDS, KEY_DEEDS, THIN_DEEDS } from './deeds.ts';
import type { DomainSpec } from './domains.ts';
import { Faults } from './faults.ts';
import { EXTENT_BYTES, Group } from './group.ts';
import { Helper } from './helper.ts';
import { askHook } from './hook.ts';
import { Judge } from './judge.ts';
import { KeyJudge } from './key-judge.ts';
import { KeyServer } from './keys.ts';
import { Libvirt } from './libvirt.ts';
import { Life } from './life.ts';
import { MemoryJournals } from './memory-journals.ts';
import { MemoryLedger } from './memory-ledger.ts';
import { Random } from './random.ts';
import { Rest } from './rest.ts';
import { runLog } from './run-log.ts';
import type { SavedMemory } from './saved-memory.ts';
import { requireUntouched } from './saved-memory.ts';
import { newImage, Store } from './store.ts';
import { Violation } from './violation.ts';

export interface Outcome {
  readonly seed: number;
  readonly deeds: number;
  readonly violation?: Violation | undefined;
  readonly census: Census;
  readonly trace: readonly string[];
}

export interface RunOptions {
  /** Numbers of the deeds to do, when a failing run is made smaller; all by default. */
  readonly only?: ReadonlySet<number> | undefined;
  /** Says where the program stands at an await, for the census. */
  readonly where?: (() => string) | undefined;
}

/** Streams of chance that do not disturb one another: with fewer deeds, the others stay what they were. */
const STREAM = {
  deeds: 1,
  faults: 2,
  daemon: 3,
  helper: 4,
  libvirt: 5,
  power: 6,
  jitter: 7,
  readBack: 8,
  limits: 9,
  rest: 10,
  thin: 11,
  golden: 12,
  keys: 13,
  each: 1000,
} as const;

const DEEDS_MAX = 60;
/** Runs with encrypted volumes. */
const KEYED = 0.22;

export async function simulate(seed: number, options: RunOptions = {}): Promise<Outcome> {
  const run = new Simulation(seed, options.where);
  const jitter = new Random(seed, STREAM.jitter);
  const { random } = Math;
  const onUnhandled = (error: unknown): void => {
    run.broken(
      error instanceof Violation ? error : new Violation('no-defect', `unhandled: ${String(error)}`),
    );
  };
  process.on('unhandledRejection', onUnhandled);
  // The pauses between tries of a read are drawn from here.
  Math.random = () => jitter.next();
  try {
    const deeds = await run.play(options.only);
    return { seed, deeds, violation: run.violation, trace: run.trace, census: run.census };
  } finally {
    Math.random = random;
    process.off('unhandledRejection', onUnhandled);
  }
}

export class Simulation {
  readonly agenda = new Agenda();
  readonly group = new Group(() => this.agenda.nowMs);
  readonly faults: Faults;
  readonly store: Store;
  readonly libvirt: Libvirt;
  readonly helper: Helper;
  readonly crashes: Crashes;
  readonly census = new Census();
  readonly trace: string[] = [];
  daemon: Daemon;
  violation: Violation | undefined;
  readonly #seed: number;
  readonly #where: (() => string) | undefined;
  readonly ledger: MemoryLedger;
  readonly journals: MemoryJournals;
  readonly judge: Judge;
  /** In a run with encrypted volumes. */
  readonly keys: KeyServer | undefined;
  readonly keyJudge: KeyJudge | undefined;
  readonly host: Host;
  readonly pace: { slowness: number; delayMaxMs: number };
  readonly #fillNames = new Map<string, string>();
  readonly #jobNames = new Map<string, string>();
  #lives = 0;
  #deed = 0;
  /** For what happens when the faults are over. */
  readonly restRandom: Random;
  #isOver = false;
  /** Since when daemon and libvirt have both been there. */
  #calmSinceMs = 0;

  constructor(seed: number, where?: () => string) {
    this.#seed = seed;
    this.restRandom = new Random(seed, STREAM.rest);
    this.#where = where;
    this.crashes = new Crashes(this, () => new Random(seed, STREAM.power + this.#lives));
    const random = new Random(seed, STREAM.faults);
    this.faults = new Faults(random, this.census);
    const readBackRandom = new Random(seed, STREAM.readBack);
    const readBack = readBackRandom.chance(0.3);
    if (readBack) this.faults.add('diskCorrupts', readBackRandom);
    this.pace = { slowness: random.pick([0.05, 0.2, 0.5]), delayMaxMs: random.pick([20, 200, 3_000]) };
    const nowMs = () => this.agenda.nowMs;
    const trace = (line: string) => {
      this.say(`  ${line}`);
    };
    this.store = new Store(this.faults, nowMs);
    for (const name of IMAGE_NAMES) this.store.put(name, newImage(random), { sidecar: true });
    this.ledger = new MemoryLedger(this.faults, this.census);
    this.journals = new MemoryJournals(this.faults, (checkpoint) => {
      this.#try(() => {
        this.judge.onCheckpoint(checkpoint);
      });
    });
    this.judge = new Judge(this.group, this.store, nowMs);
    const thinRandom = new Random(seed, STREAM.thin);
    if (thinRandom.chance(0.4))
      this.group.addThinPool(thinRandom.pick([6, 9, 24]), thinRandom.pick([1, 1, 1.5]));
    const goldenRandom = new Random(seed, STREAM.golden);
    this.group.goldenMax = goldenRandom.pick([{ percent: 100 }, { percent: 25 }, { bytes: 20_000 }]);
    const { agenda, faults, group } = this;
    this.libvirt = new Libvirt({ agenda, random: new Random(seed, STREAM.libvirt), faults, group, trace });
    const onViolation = (violation: Violation) => {
      this.broken(violation);
    };
    this.libvirt.onViolation = onViolation;
    const keysRandom = new Random(seed, STREAM.keys);
    this.keys = keysRandom.chance(KEYED) ? new KeyServer(faults, nowMs) : undefined;
    if (this.keys !== undefined) {
      if (keysRandom.chance(0.3)) faults.add('keyServerFails', keysRandom);
      this.keyJudge = new KeyJudge({
        ...{ group, libvirt: this.libvirt, keys: this.keys },
        ledger: () => this.ledger.of(this.daemon.life),
        images: () => this.store.everStored,
        isIncoming: (uuid) => this.judge.isIncoming(uuid),
      });
      this.judge.keys = this.keyJudge;
    }
    this.helper = new Helper({
      judgedKeys: async (what, { lv }, effect) => {
        try {
          await (this.keyJudge?.aroundHeader(what, lv, effect) ?? effect());
        } catch (error) {
          if (error instanceof Violation) onViolation(error);
          throw error;
        }
      },
      group,
      faults,
      trace,
      onViolation,
      newLife: () => this.#newLife('helper'),
    });
    this.ledger.onFill = (record) => {
      trace(
        `ledger: ${record.domainName} ${record.request.target} ${record.fillId} ${record.state} ${record.problem?.code ?? ''}`,
      );
      this.#try(() => {
        this.judge.onFill(record);
      });
    };
    this.group.onSeal = (volume, book) => {
      this.judge.onSeal(volume, book);
      this.#requireWanted(volume);
    };
    this.group.onGoldenSeal = (volume, book) => {
      this.judge.onGoldenSeal(volume, book);
    };
    this.group.onClaim = (volume, seal) => {
      this.judge.onClaim(volume, seal);
    };
    this.group.isReplaced = (seal) => this.judge.isReplaced(seal, this.ledger.of(this.daemon.life));
    this.group.onDelete = (volume, seal) => {
      this.#try(() => {
        this.judge.onDelete(volume, seal, this.libvirt);
      });
    };
    this.libvirt.judged = (what, effect) => {
      this.#try(() => {
        if (this.keyJudge === undefined) effect();
        else this.keyJudge.around(what, effect);
      });
    };
    this.libvirt.onMemoryEnds = (memory) => {
      this.census.count('saved memory ended');
      this.judgeMemory(memory);
    };
    this.libvirt.isHeard = () => this.daemon.life.isAlive && !this.libvirt.isAway;
    this.libvirt.onStart = (...started) => {
      this.#try(() => {
        this.#requireNotMadeAgain(started[0]);
        this.judge.onStart(...started);
        if (started[0].disks.some(({ key }) => key !== undefined)) this.census.count('started encrypted');
      });
    };
    this.libvirt.onEvent = (event) => {
      this.daemon.onEvent(event);
    };
    this.libvirt.hook = { ask: (operation, spec) => this.askHook(operation, spec) };
    const { store, libvirt, helper } = this;
    const intervalMs = random.pick([60_000, 300_000]);
    const limitsRandom = new Random(seed, STREAM.limits);
    // Tight ones in some runs, so that fills are late, do not get their turn, or do not fit.
    const limits = {
      concurrentMax: 2,
      queueMax: limitsRandom.pick([1, 2, 1000]),
      deadlineMs: limitsRandom.pick([5_000, 30_000, 6 * 3_600_000]),
    };
    const keepFree = limitsRandom.pick([{ bytes: 0 }, { bytes: 3 * EXTENT_BYTES }, { percent: 25 }]);
    if (limitsRandom.chance(0.3)) this.group.extents = limitsRandom.pick([8, 16]);
    this.host = {
      limits,
      keepFree,
      group,
      helper,
      libvirt,
      store,
      faults,
      intervalMs,
      readBack,
      keys: this.keys,
      ledger: this.ledger,
      journals: this.journals,
      log: runLog(this),
      onViolation,
      census: this.census,
    };
    this.daemon = new Daemon(this.host, this.#newLife('daemon'));
    const pace = `${JSON.stringify({ ...this.pace, ...limits, keepFree })}${readBack ? ', volumes are read back' : ''}${this.isThin ? ', thin volumes' : ''}${this.keys === undefined ? '' : ', encrypted volumes'}`;
    this.say(`seed ${seed}; faults: ${faults.toString()}; pace ${pace}`);
  }

  /** Does the deeds, ends the faults and asks for the promises; resolves with the number of deeds there were. */
  async play(only: ReadonlySet<number> | undefined): Promise<number> {
    const random = new Random(this.#seed, STREAM.deeds);
    const deeds = random.between(8, DEEDS_MAX);
    for (let index = 0; index < deeds && this.violation === undefined; index++) {
      const pauseMs = random.skewed(120_000);
      const deed = random.pick(this.#deeds());
      if (only === undefined || only.has(index)) this.#begin(index, deed);
      await this.runFor(pauseMs);
    }
    try {
      if (this.violation === undefined) await new Rest(this).come();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.broken(error);
    } finally {
      this.#end();
    }
    return deeds;
  }

  #deeds(): readonly Deed[] {
    const deeds = this.isThin ? [...DEEDS, ...THIN_DEEDS] : DEEDS;
    return this.keys === undefined ? deeds : [...deeds, ...KEY_DEEDS];
  }

  get isThin(): boolean {
    return this.group.thinPools.size > 0;
  }

  /** Deeds and what they lead to; the number is that for `--only`. */
  say(line: string): void {
    const time = (this.agenda.elapsedMs / 1000).toFixed(3).padStart(10);
    const deed = line.startsWith(' ') ? '' : `#${this.#deed} `;
    // Ids are made by chance, and a trace is the same each time.
    const named = line
      .replace(/[0-9a-f]{16}(?![0-9a-f])/g, (id) => nameOf(id, this.#fillNames, 'fill'))
      .replace(/(?<=job:)[0-9a-f-]{36}/g, (id) => nameOf(id, this.#jobNames, ''));
    this.trace.push(`${time} ${deed}${named}`);
  }

  broken(violation: Violation): void {
    if (this.violation !== undefined || this.#isOver) return;
    this.violation = violation;
    this.say(`BROKEN ${violation.message}`);
  }

  sleep(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.agenda.after(durationMs, resolve);
    });
  }

  askHook(operation: GateOperation, spec: DomainSpec): Promise<AdmitAnswer> {
    const { agenda, group, daemon } = this;
    if (operation !== 'prepare' && daemon.life.isAlive && spec.annotation === 'good')
      this.judge.arrives(spec.uuid);
    const needs = {
      ...{ agenda, group, daemon },
      onViolation: (violation: Violation) => {
        this.broken(violation);
      },
      onAnswer: ({ allowed, problems }: AdmitAnswer) => {
        this.#try(() => this.keyJudge?.onAnswer(spec, { allowed, problems }));
        // What is refused does not arrive.
        if (operation !== 'prepare' && !allowed) this.judge.departs(spec.uuid);
        this.census.count(`gate ${operation} ${allowed ? 'allowed' : 'refused'}`);
        const why = problems.map(({ code }) => code).join(' ');
        this.say(`  gate ${operation} ${spec.name}: ${allowed ? 'allowed' : `refused, ${why}`}`);
      },
      onSeals: ({ allowed }: AdmitAnswer) => {
        this.census.count(`hook ${allowed ? 'allowed' : 'refused'} by the seals`);
      },
    };
    return askHook(needs, operation, spec);
  }

  setLibvirtAway(isAway: boolean): void {
    if (this.libvirt.isAway === isAway) return;
    this.say(isAway ? 'libvirt away' : 'libvirt back');
    this.libvirt.isAway = isAway;
    this.#calmSinceMs = this.agenda.nowMs;
    if (!isAway) this.libvirt.listening = {};
    if (!isAway) this.libvirt.beginAnew();
    if (!isAway && this.libvirt.isPoolActive) this.libvirt.refreshPool();
    const problem = { code: 'LIBVIRT_UNAVAILABLE', message: 'away' } as const;
    this.daemon.onEvent(isAway ? { kind: 'disconnected', problem } : { kind: 'connected' });
  }

  #begin(index: number, deed: Deed): void {
    const work = async (): Promise<void> => {
      this.#deed = index;
      const saidBefore = this.trace.length;
      const done = deed(this, new Random(this.#seed, STREAM.each + index));
      if (this.trace.length > saidBefore) this.census.count(`deed ${deed.name}`);
      await done;
    };
    work().catch((error: unknown) => {
      this.broken(
        error instanceof Violation ? error : new Violation('no-defect', `deed ${index}: ${String(error)}`),
      );
    });
  }

  async runFor(durationMs: number, isEnough: () => boolean = () => false): Promise<void> {
    await this.agenda.run(this.agenda.nowMs + durationMs, () => this.violation !== undefined || isEnough());
  }

  /** A domain that has been gone for so long that everybody must have noticed is filled for no more. */
  #requireWanted({ lv, tags }: ModelVolume): void {
    const mark = readMark(tags);
    if (mark.state !== 'ready') return;
    const job = this.ledger.of(this.daemon.life).jobOf(jobIdOf(mark.domainUuid) ?? '');
    if (job?.end?.state === 'cancelled')
      throw new Violation('in-agreement', `${lv} was filled for a cancelled job`);
    const isFirstStart = this.ledger.of(this.daemon.life).domainOf(mark.domainUuid)?.origin === 'gate';
    const goneForMs = Math.min(
      this.libvirt.goneForMs(mark.domainUuid),
      this.agenda.nowMs - this.#calmSinceMs,
    );
    if (isFirstStart || goneForMs < this.host.intervalMs + 60_000) return;
    throw new Violation('in-agreement', `${lv} was filled for a domain that was gone for ${goneForMs} ms`);
  }

  /** While a volume is being made again its domain starts neither on the old one nor on what is there of the new. */
  #requireNotMadeAgain(spec: DomainSpec): void {
    if (spec.annotation === 'none') return;
    for (const { target, lv } of spec.disks) {
      const row = this.ledger.of(this.daemon.life).fillOf(spec.uuid, target);
      if (row?.replaces === undefined || !this.daemon.fills.running.has(row.fillId)) continue;
      if (row.location.lv !== lv || this.group.model.find(lv)?.tags.includes(`lvp:fill:${row.fillId}`))
        continue;
      throw new Violation('only-sealed-starts', `${spec.name} was started while ${lv} is being made again`);
    }
  }

  /** Whether memory that is saved would still meet what it was saved with. */
  judgeMemory(memory: SavedMemory): void {
    const isGivenUp = (uuid: string) =>
      this.group.removedByHand.has(uuid) || this.keyJudge?.doomed.has(uuid) === true;
    this.#try(() => {
      requireUntouched(memory, this.group.model.volumes, isGivenUp);
    });
  }

  /** What the disks hold that somebody takes out now. */
  judgeDisks(): void {
    this.#try(() => this.keyJudge?.judgeDisks());
  }

  startDaemon(): void {
    this.say('daemon started');
    this.libvirt.listening = {};
    this.#calmSinceMs = this.agenda.nowMs;
    this.daemon = new Daemon(this.host, this.#newLife('daemon'));
  }

  #newLife(who: 'daemon' | 'helper'): Life {
    this.#lives += 1;
    return new Life(who, {
      agenda: this.agenda,
      random: new Random(this.#seed, STREAM[who] + 100 * this.#lives),
      census: this.census,
      pace: () => this.pace,
      where: this.#where,
    });
  }

  #end(): void {
    this.#isOver = true;
    this.daemon.life.end();
    this.helper.kill();
  }

  #try(look: () => void): void {
    try {
      look();
    } catch (error) {
      this.broken(error instanceof Violation ? error : new Violation('no-defect', String(error)));
    }
  }
}

function nameOf(id: string, names: Map<string, string>, kind: string): string {
  const name = names.get(id) ?? `${kind}${names.size + 1}`;
  names.set(id, name);
  return name;
}
