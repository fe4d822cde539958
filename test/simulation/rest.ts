/** The end of a run: the faults stop, time passes, and everything must be as promised. */
import { isDeepStrictEqual } from 'node:util';
import type { Problem } from '../../src/core/errors.ts';
import { isPassing, ProvisionError } from '../../src/core/errors.ts';
import { isJob } from '../../src/core/owner.ts';
import { IMAGE_NAMES } from './deed.ts';
import type { DomainSpec } from './domains.ts';
import type { Simulation } from './simulation.ts';
import { Violation } from './violation.ts';

/** Longest pause after a failure, and what the fill itself may then take. */
const READY_WITHIN_MS = 15 * 60_000;

export class Rest {
  readonly #run: Simulation;

  constructor(run: Simulation) {
    this.#run = run;
  }

  /** Faults end and everybody comes back; what was promised must then come true without any further event. */
  async come(): Promise<void> {
    this.#run.say('--- the faults are over');
    this.#run.faults.isOver = true;
    this.#run.pace.delayMaxMs = 20;
    this.#run.crashes.putOut();
    this.#run.store.isAway = false;
    this.#run.store.chunkMs = 0;
    this.#run.keys?.settle();
    for (const name of IMAGE_NAMES) this.#run.store.putSidecar(name);
    this.#run.group.extents = 1000;
    this.#run.group.thinFault = undefined;
    this.#run.group.resizeThinPool(1000);
    // Whoever had begun something has finished it.
    await this.#run.runFor(120_000);
    this.#run.setLibvirtAway(false);
    this.#run.libvirt.startPool();
    this.#run.libvirt.failNextRefresh = this.#run.restRandom.chance(0.3);
    if (!this.#run.daemon.life.isAlive) this.#run.startDaemon();
    // Time for everybody to look at everything.
    await this.#run.runFor(this.#run.host.intervalMs + 30_000);
    const isTidy = (): boolean =>
      this.#run.judge.isTidy(this.#run.ledger.of(this.#run.daemon.life)) &&
      this.#run.keyJudge?.isTidy() !== false;
    const isDone = (): boolean =>
      this.#unready().length === 0 && isTidy() && this.#isIdle() && this.#hasNoJobs();
    await this.#run.runFor(READY_WITHIN_MS, isDone);
    if (this.#run.violation === undefined) await this.#retryWhatIsHeld();
    await this.#run.runFor(READY_WITHIN_MS, isDone);
    if (this.#run.violation !== undefined) return;
    this.#requireReady();
    this.#judgeSaved();
    await this.#startAll();
    // What was asked for again, in vain, may have gone on meanwhile.
    await this.#run.runFor(READY_WITHIN_MS, isDone);
    this.#run.judge.atRest(this.#run.libvirt.domains, this.#run.ledger.of(this.#run.daemon.life));
  }

  /** What is saved has been so for long: its volumes are those that it had, and nobody has left a key in libvirt for it. */
  #judgeSaved(): void {
    for (const { memory, spec } of this.#run.libvirt.domains.values()) {
      if (memory === undefined) continue;
      this.#run.judgeMemory(memory);
      this.#run.keyJudge?.requireTakenBack();
      // Whoever has defined it otherwise since gives the memory up.
      if (!isDeepStrictEqual(memory.spec, spec)) this.#run.libvirt.removeMemory(spec.uuid);
    }
  }

  #hasNoJobs(): boolean {
    return this.#run.ledger.of(this.#run.daemon.life).unfinishedJobs().length === 0;
  }

  #isIdle(): boolean {
    return this.#run.daemon.fills.running.size === 0;
  }

  /** Domains that can be made ready and are not. */
  #unready(): DomainSpec[] {
    return this.#satisfiable().filter(
      ({ uuid, disks }) => !disks.every((disk) => this.#run.judge.isSealedFor(uuid, disk)),
    );
  }

  #satisfiable(): DomainSpec[] {
    return [...this.#run.libvirt.domains.values()]
      .filter(
        ({ persistent, spec }) =>
          persistent && spec.annotation === 'good' && !this.#run.judge.isIncoming(spec.uuid),
      )
      .map(({ spec }) => spec)
      .filter(({ uuid, disks }) => disks.every((disk) => this.#run.judge.isSatisfiable(uuid, disk)));
  }

  /** What failed for a reason that does not pass, or was cancelled, is the operator's to try again. */
  async #retryWhatIsHeld(): Promise<void> {
    const { verbs } = this.#run.daemon;
    for (const { name, uuid } of this.#unready()) {
      const { volumes } = await this.#answer(() => verbs.domain(name));
      const problems = volumes.flatMap(({ problem }) => (problem === undefined ? [] : [problem as Problem]));
      if (problems.length === 0) continue;
      if (problems.every(isPassing)) {
        throw new Violation(
          'ready-in-the-end',
          `${name} still waits for this: ${problems[0]?.message ?? ''}`,
        );
      }
      this.#run.say(`lvp retry ${name}: ${problems.map(({ code }) => code).join(' ')}`);
      if (problems.some(({ code }) => code === 'VOLUME_MISSING')) await this.#giveUpMemory(uuid, name);
      await this.#answer(() => verbs.retry(name));
    }
    // First starts that were refused and never came back are remembered by the ledger alone.
    for (const fill of this.#run.ledger.of(this.#run.daemon.life).fills()) {
      const { domainUuid, domainName, problem, state } = fill;
      if (problem === undefined || isPassing(problem) || this.#run.libvirt.domains.has(domainUuid)) continue;
      if (isJob(domainUuid)) continue;
      // Of a volume that is kept though its annotation may want it deleted.
      if (state === 'ready') continue;
      this.#run.say(`lvp retry ${domainName}: ${problem.code}`);
      await this.#answer(() => verbs.retry(domainUuid));
    }
  }

  /** What was published and is gone is not made again under memory that was saved: its operator is told to give that up. */
  async #giveUpMemory(uuid: string, name: string): Promise<void> {
    if (this.#run.libvirt.domains.get(uuid)?.memory === undefined) return;
    const isRefused = await this.#answer(() =>
      this.#run.daemon.verbs.retry(name).then(
        () => false,
        (error: unknown) => {
          if (error instanceof ProvisionError && error.code === 'VOLUME_STATE') return true;
          throw error;
        },
      ),
    );
    if (!isRefused)
      throw new Violation('saved-untouched', `${name} is saved, and its lost volume is made again`);
    this.#run.say(`managedsave-remove ${name}`);
    this.#run.libvirt.removeMemory(uuid);
  }

  #requireReady(): void {
    const [first] = this.#unready();
    if (first !== undefined) throw new Violation('ready-in-the-end', `${first.name} does not get ready`);
  }

  async #startAll(): Promise<void> {
    for (const spec of this.#satisfiable()) {
      // A refresh may just have stopped the pool.
      await this.#run.runFor(60_000, () => this.#run.libvirt.isPoolActive);
      // The daemon may be about to start it by itself.
      await this.#run.runFor(60_000, () => this.#run.libvirt.domains.get(spec.uuid)?.starting === undefined);
      if (this.#run.libvirt.domains.get(spec.uuid)?.guest !== undefined) continue;
      // A guest without annotation may run on a volume that was filled for another.
      if (spec.disks.some(({ lv }) => this.#run.group.isOpen(this.#run.group.model.get(lv)))) continue;
      const why = await this.#answer(() => this.#run.libvirt.start(spec));
      if (why !== undefined && this.#run.libvirt.domains.get(spec.uuid)?.guest === undefined) {
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
      await this.#run.runFor(60_000, () => answer.isThere);
      if (!answer.isThere) throw new Violation('no-defect', 'a call is never answered');
      if (answer.error === undefined) return answer.value as T;
      if (tries === 3 || !(answer.error instanceof ProvisionError)) throw answer.error as Error;
    }
  }
}
