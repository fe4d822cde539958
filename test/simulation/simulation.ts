/**
 * One run: a host in which everything that can happen happens, chosen by a seed, until the faults stop; then
 * time passes, and everything must be as promised.
 */
import type { Log } from '../../src/provision/ports.ts';
import type { AdmitAnswer, GateOperation } from '../../src/provision/ports.ts';
import { isPassing, ProvisionError } from '../../src/core/errors.ts';
import type { Problem } from '../../src/core/errors.ts';
import { readMark } from '../../src/core/volume.ts';
import type { ModelVolume } from '../helper/memory-lvm.ts';
import { Agenda } from './agenda.ts';
import { Daemon } from './daemon.ts';
import type { Host } from './daemon.ts';
import { DEEDS, IMAGE_NAMES, newImage } from './deeds.ts';
import type { DomainSpec } from './domains.ts';
import { Faults } from './faults.ts';
import { Group } from './group.ts';
import { Helper } from './helper.ts';
import { askHook } from './hook.ts';
import { Judge } from './judge.ts';
import { Libvirt } from './libvirt.ts';
import { Life } from './life.ts';
import { MemoryJournals } from './memory-journals.ts';
import { MemoryLedger } from './memory-ledger.ts';
import { Random } from './random.ts';
import { Store } from './store.ts';
import { Violation } from './violation.ts';

export interface Outcome {
  readonly seed: number;
  readonly deeds: number;
  readonly violation?: Violation | undefined;
  readonly trace: readonly string[];
}

export interface RunOptions {
  /** Numbers of the deeds to do, when a failing run is made smaller; all by default. */
  readonly only?: ReadonlySet<number> | undefined;
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
  rest: 9,
  each: 1000,
} as const;

const DEEDS_MAX = 60;
/** Longest pause after a failure, and what the fill itself may then take. */
const READY_WITHIN_MS = 15 * 60_000;

export async function simulate(seed: number, options: RunOptions = {}): Promise<Outcome> {
  const run = new Simulation(seed);
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
    return { seed, deeds, violation: run.violation, trace: run.trace };
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
  readonly trace: string[] = [];
  daemon: Daemon;
  violation: Violation | undefined;
  readonly #seed: number;
  readonly #ledger: MemoryLedger;
  readonly #journals: MemoryJournals;
  readonly #judge: Judge;
  readonly #host: Host;
  readonly #pace: { slowness: number; delayMaxMs: number };
  readonly #names = new Map<string, string>();
  #lives = 0;
  #deed = 0;
  #isOver = false;
  /** Since when daemon and libvirt have both been there. */
  #calmSinceMs = 0;

  constructor(seed: number) {
    this.#seed = seed;
    const random = new Random(seed, STREAM.faults);
    this.faults = new Faults(random);
    const readBackRandom = new Random(seed, STREAM.readBack);
    const readBack = readBackRandom.chance(0.3);
    if (readBack) this.faults.add('diskCorrupts', readBackRandom);
    this.#pace = { slowness: random.pick([0.05, 0.2, 0.5]), delayMaxMs: random.pick([20, 200, 3_000]) };
    const nowMs = () => this.agenda.nowMs;
    const trace = (line: string) => {
      this.say(`  ${line}`);
    };
    this.store = new Store(this.faults, nowMs);
    for (const name of IMAGE_NAMES) this.store.put(name, newImage(random), { sidecar: true });
    this.#ledger = new MemoryLedger(this.faults);
    this.#journals = new MemoryJournals(this.faults);
    this.#judge = new Judge(this.group, this.store, nowMs);
    const { agenda, faults, group } = this;
    this.libvirt = new Libvirt({ agenda, random: new Random(seed, STREAM.libvirt), faults, group, trace });
    const onViolation = (violation: Violation) => {
      this.broken(violation);
    };
    this.libvirt.onViolation = onViolation;
    this.helper = new Helper({
      group,
      faults,
      trace,
      onViolation,
      newLife: () => this.#newLife(STREAM.helper),
    });
    this.#ledger.onFill = (record) => {
      trace(
        `ledger: ${record.domainName} ${record.request.target} ${record.fillId} ${record.state} ${record.problem?.code ?? ''}`,
      );
      this.#try(() => {
        this.#judge.onFill(record);
      });
    };
    this.group.onSeal = (volume, book) => {
      this.#judge.onSeal(volume, book);
      this.#requireWanted(volume);
    };
    this.libvirt.onStart = (...started) => {
      this.#try(() => {
        this.#judge.onStart(...started);
      });
    };
    this.libvirt.onEvent = (event) => {
      this.daemon.onEvent(event);
    };
    this.libvirt.hook = { ask: (operation, spec) => this.askHook(operation, spec) };
    const { store, libvirt, helper } = this;
    const intervalMs = random.pick([60_000, 300_000]);
    this.#host = {
      group,
      helper,
      libvirt,
      store,
      faults,
      intervalMs,
      readBack,
      ledger: this.#ledger,
      journals: this.#journals,
      log: this.#log(),
    };
    this.daemon = new Daemon(this.#host, this.#newLife(STREAM.daemon));
    const pace = `${JSON.stringify(this.#pace)}${readBack ? ', volumes are read back' : ''}`;
    this.say(`seed ${seed}; faults: ${faults.toString()}; pace ${pace}`);
  }

  /** Does the deeds, ends the faults and asks for the promises; resolves with the number of deeds there were. */
  async play(only: ReadonlySet<number> | undefined): Promise<number> {
    const random = new Random(this.#seed, STREAM.deeds);
    const deeds = random.between(8, DEEDS_MAX);
    for (let index = 0; index < deeds && this.violation === undefined; index++) {
      const pauseMs = random.skewed(120_000);
      const deed = random.pick(DEEDS);
      if (only === undefined || only.has(index)) this.#begin(index, deed);
      await this.#runFor(pauseMs);
    }
    try {
      if (this.violation === undefined) await this.#comeToRest();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.broken(error);
    } finally {
      this.#end();
    }
    return deeds;
  }

  /** Deeds and what they lead to; the number is that for `--only`. */
  say(line: string): void {
    const time = (this.agenda.elapsedMs / 1000).toFixed(3).padStart(10);
    const deed = line.startsWith(' ') ? '' : `#${this.#deed} `;
    const named = line.replace(/[0-9a-f]{16}(?![0-9a-f])/g, (id) => this.#nameOf(id));
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
      this.#judge.arrives(spec.uuid);
    const needs = {
      ...{ agenda, group, daemon },
      onViolation: (violation: Violation) => {
        this.broken(violation);
      },
      onAnswer: ({ allowed, problems }: AdmitAnswer) => {
        // What is refused does not arrive.
        if (operation !== 'prepare' && !allowed) this.#judge.departs(spec.uuid);
        const why = problems.map(({ code }) => code).join(' ');
        this.say(`  gate ${operation} ${spec.name}: ${allowed ? 'allowed' : `refused, ${why}`}`);
      },
    };
    return askHook(needs, operation, spec);
  }

  killDaemon(how: string): void {
    if (!this.daemon.life.isAlive) return;
    this.say(`daemon killed ${how}`);
    this.daemon.life.end();
    this.#judge.daemonHasEnded();
    if (how === 'ledger lost') this.#ledger.lose();
    if (how === 'journals lost') this.#journals.lose();
    const { life } = this.daemon;
    this.agenda.after(new Random(this.#seed, STREAM.power + this.#lives).skewed(30_000), () => {
      if (this.daemon.life === life) this.#startDaemon();
    });
  }

  killDaemonAtWrite(inWrites: number, when: 'before' | 'after'): void {
    const kill = (): void => {
      this.killDaemon(`${when} a write to the ledger`);
    };
    this.#ledger.killAtWrite = { inWrites, when, kill };
  }

  cutPower(): void {
    this.say('POWER CUT');
    this.killDaemon('');
    this.helper.kill();
    this.libvirt.losePower();
    this.group.losePower(new Random(this.#seed, STREAM.power + this.#lives));
  }

  setLibvirtAway(isAway: boolean): void {
    if (this.libvirt.isAway === isAway) return;
    this.say(isAway ? 'libvirt away' : 'libvirt back');
    this.libvirt.isAway = isAway;
    this.#calmSinceMs = this.agenda.nowMs;
    if (!isAway && this.libvirt.isPoolActive) this.libvirt.refreshPool();
    const problem = { code: 'LIBVIRT_UNAVAILABLE', message: 'away' } as const;
    this.daemon.onEvent(isAway ? { kind: 'disconnected', problem } : { kind: 'connected' });
  }

  #begin(index: number, deed: (typeof DEEDS)[number]): void {
    const work = async (): Promise<void> => {
      this.#deed = index;
      await deed(this, new Random(this.#seed, STREAM.each + index));
    };
    work().catch((error: unknown) => {
      this.broken(
        error instanceof Violation ? error : new Violation('no-defect', `deed ${index}: ${String(error)}`),
      );
    });
  }

  async #runFor(durationMs: number, isEnough: () => boolean = () => false): Promise<void> {
    await this.agenda.run(this.agenda.nowMs + durationMs, () => this.violation !== undefined || isEnough());
  }

  /** Faults end and everybody comes back; what was promised must then come true without any further event. */
  async #comeToRest(): Promise<void> {
    this.say('--- the faults are over');
    this.faults.isOver = true;
    this.#pace.delayMaxMs = 20;
    this.#ledger.killAtWrite = undefined;
    this.store.isAway = false;
    this.store.chunkMs = 0;
    for (const name of IMAGE_NAMES) this.store.putSidecar(name);
    this.group.extents = 1000;
    // Whoever had begun something has finished it.
    await this.#runFor(120_000);
    this.setLibvirtAway(false);
    this.libvirt.startPool();
    this.libvirt.failNextRefresh = new Random(this.#seed, STREAM.rest).chance(0.3);
    if (!this.daemon.life.isAlive) this.#startDaemon();
    // Time for everybody to look at everything.
    await this.#runFor(this.#host.intervalMs + 30_000);
    const isDone = (): boolean => this.#unready().length === 0 && this.#judge.isTidy() && this.#isIdle();
    await this.#runFor(READY_WITHIN_MS, isDone);
    if (this.violation === undefined) await this.#retryWhatIsHeld();
    await this.#runFor(READY_WITHIN_MS, isDone);
    if (this.violation !== undefined) return;
    this.#requireReady();
    await this.#startAll();
    this.#judge.atRest(this.libvirt.domains, this.#ledger.of(this.daemon.life));
  }

  #isIdle(): boolean {
    return this.daemon.fills.running.size === 0;
  }

  /** A domain that has been gone for so long that everybody must have noticed is filled for no more. */
  #requireWanted({ lv, tags }: ModelVolume): void {
    const mark = readMark(tags);
    if (mark.state !== 'ready') return;
    const isFirstStart = this.#ledger.of(this.daemon.life).domainOf(mark.domainUuid)?.origin === 'gate';
    const goneForMs = Math.min(
      this.libvirt.goneForMs(mark.domainUuid),
      this.agenda.nowMs - this.#calmSinceMs,
    );
    if (isFirstStart || goneForMs < this.#host.intervalMs + 60_000) return;
    throw new Violation('in-agreement', `${lv} was filled for a domain that was gone for ${goneForMs} ms`);
  }

  /** Domains that can be made ready and are not. */
  #unready(): DomainSpec[] {
    return this.#satisfiable().filter(
      ({ uuid, disks }) => !disks.every((disk) => this.#judge.isSealedFor(uuid, disk)),
    );
  }

  #satisfiable(): DomainSpec[] {
    return [...this.libvirt.domains.values()]
      .filter(
        ({ persistent, spec }) =>
          persistent && spec.annotation === 'good' && !this.#judge.isIncoming(spec.uuid),
      )
      .map(({ spec }) => spec)
      .filter(({ uuid, disks }) => disks.every((disk) => this.#judge.isSatisfiable(uuid, disk)));
  }

  /** What failed for a reason that does not pass, or was cancelled, is the operator's to try again. */
  async #retryWhatIsHeld(): Promise<void> {
    const { verbs } = this.daemon;
    for (const { name } of this.#unready()) {
      const { volumes } = await this.#answer(() => verbs.domain(name));
      const problems = volumes.flatMap(({ problem }) => (problem === undefined ? [] : [problem as Problem]));
      if (problems.length === 0) continue;
      if (problems.every(isPassing)) {
        throw new Violation(
          'ready-in-the-end',
          `${name} still waits for this: ${problems[0]?.message ?? ''}`,
        );
      }
      this.say(`lvp retry ${name}: ${problems.map(({ code }) => code).join(' ')}`);
      await this.#answer(() => verbs.retry(name));
    }
    // First starts that were refused and never came back are remembered by the ledger alone.
    for (const { domainUuid, domainName, problem } of this.#ledger.of(this.daemon.life).fills()) {
      if (problem === undefined || isPassing(problem) || this.libvirt.domains.has(domainUuid)) continue;
      this.say(`lvp retry ${domainName}: ${problem.code}`);
      await this.#answer(() => verbs.retry(domainUuid));
    }
  }

  #requireReady(): void {
    const [first] = this.#unready();
    if (first !== undefined) throw new Violation('ready-in-the-end', `${first.name} does not get ready`);
  }

  async #startAll(): Promise<void> {
    for (const spec of this.#satisfiable()) {
      // The daemon may be about to start it by itself.
      await this.#runFor(60_000, () => this.libvirt.domains.get(spec.uuid)?.starting === undefined);
      if (this.libvirt.domains.get(spec.uuid)?.guest !== undefined) continue;
      // A guest without annotation may run on a volume that was filled for another.
      if (spec.disks.some(({ lv }) => this.group.isOpen(this.group.model.get(lv)))) continue;
      const why = await this.#answer(() => this.libvirt.start(spec));
      if (why !== undefined && this.libvirt.domains.get(spec.uuid)?.guest === undefined) {
        throw new Violation('ready-in-the-end', `${spec.name} is ready and does not start: ${why}`);
      }
    }
  }

  /** What a person does who is told that something was in the way: asks again. */
  async #answer<T>(ask: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const answer: { value?: T; error?: unknown; isThere: boolean } = { isThere: false };
      ask().then(
        (value) => Object.assign(answer, { value, isThere: true }),
        (error: unknown) => Object.assign(answer, { error, isThere: true }),
      );
      await this.#runFor(60_000, () => answer.isThere);
      if (!answer.isThere) throw new Violation('no-defect', 'a call is never answered');
      if (answer.error === undefined) return answer.value as T;
      if (tries === 3 || !(answer.error instanceof ProvisionError)) throw answer.error as Error;
    }
  }

  #startDaemon(): void {
    this.say('daemon started');
    this.#calmSinceMs = this.agenda.nowMs;
    this.daemon = new Daemon(this.#host, this.#newLife(STREAM.daemon));
  }

  #newLife(stream: number): Life {
    this.#lives += 1;
    return new Life(this.agenda, new Random(this.#seed, stream + 100 * this.#lives), () => this.#pace);
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

  #nameOf(id: string): string {
    const name = this.#names.get(id) ?? `fill${this.#names.size + 1}`;
    this.#names.set(id, name);
    return name;
  }

  /** Every defect that the program notices by itself counts as one. */
  #log(): Log {
    const look = (fields: object, message: string): void => {
      const { problem, err } = fields as { problem?: Problem; err?: unknown };
      const isExpected = `${problem?.message ?? ''}${String(err)}`.includes('SQLITE_FULL');
      if (problem?.code === 'INTERNAL' && !isExpected) {
        this.broken(new Violation('no-defect', `${message}: ${problem.message}`));
      }
      if (message !== 'looked at domain')
        this.say(`  log: ${message} ${problem?.code ?? ''} ${problem?.message ?? ''}`);
    };
    const log: Log = { debug: () => undefined, info: look, warn: look, error: look, child: () => log };
    return log;
  }
}
