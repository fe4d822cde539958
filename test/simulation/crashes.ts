/** Ends of processes: at any time, at any of their awaits, before or after any write to the ledger. */
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';

export type Loss = '' | 'ledger lost' | 'journals lost';

export class Crashes {
  readonly #run: Simulation;
  /** A stream of its own for each crash. */
  readonly #chance: () => Random;

  constructor(run: Simulation, chance: () => Random) {
    this.#run = run;
    this.#chance = chance;
  }

  killDaemon(loss: Loss = '', by = 'kill'): void {
    const { agenda, daemon, journals, judge, ledger } = this.#run;
    if (!daemon.life.isAlive) return;
    this.#run.say(`daemon killed ${loss}`);
    daemon.life.end(by);
    judge.daemonHasEnded();
    if (loss === 'ledger lost') ledger.lose();
    if (loss === 'journals lost') journals.lose();
    agenda.after(this.#chance().skewed(30_000), () => {
      if (this.#run.daemon === daemon) this.#run.startDaemon();
    });
  }

  killDaemonAtWrite(inWrites: number, when: 'before' | 'after'): void {
    if (!this.#run.daemon.life.isAlive) return;
    const kill = (): void => {
      this.#run.say(`${when} a write to the ledger`);
      this.killDaemon();
    };
    this.#run.say(`the daemon is to be killed ${when} a write to the ledger, in ${inWrites}`);
    this.#run.ledger.killAtWrite = { inWrites, when, kill };
  }

  killDaemonAtStep(steps: number, at: string): void {
    if (!this.#run.daemon.life.isAlive) return;
    this.#run.say(`the daemon is to be killed in ${steps} steps ${at}`);
    this.#run.daemon.life.light(steps, at, () => {
      this.killDaemon();
    });
  }

  killHelper(by = 'kill'): void {
    this.#run.say('helper killed');
    this.#run.helper.kill(by);
  }

  killHelperAtStep(steps: number, at: string): void {
    this.#run.say(`the helper is to be killed in ${steps} steps ${at}`);
    this.#run.helper.life.light(steps, at, () => {
      this.killHelper();
    });
  }

  cutPower(): void {
    const { group, helper, libvirt } = this.#run;
    this.#run.say('POWER CUT');
    this.killDaemon('', 'power cut');
    helper.kill('power cut');
    libvirt.losePower();
    group.losePower(this.#chance());
    this.#run.judgeDisks();
  }

  cutPowerAtStep(whose: 'daemon' | 'helper', steps: number, at: string): void {
    if (!this.#run[whose].life.isAlive) return;
    this.#run.say(`the power is to be cut in ${steps} steps ${at} of the ${whose}`);
    this.#run[whose].life.light(steps, at, () => {
      this.cutPower();
    });
  }

  /** The faults are over: what was prepared does not happen any more. */
  putOut(): void {
    this.#run.ledger.killAtWrite = undefined;
    this.#run.daemon.life.putOut();
    this.#run.helper.life.putOut();
  }
}
