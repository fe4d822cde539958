/** Says of a thin pool that it runs full, or that nothing more is made in it and why, once each time it comes to that. */
import { poolTrouble, useOfPool } from '../../core/pool-trouble.ts';
import type { ThinLimits } from '../../core/thin-limits.ts';
import type { ThinPool } from '../../core/volume.ts';
import type { Log } from '../ports/host.ts';

type State = 'warned' | 'full' | 'broken';

export class ThinPoolNews {
  readonly #limits: ThinLimits;
  readonly #log: Log;
  /** What was last said of a pool. */
  readonly #said = new Map<string, State>();

  constructor(limits: ThinLimits, log: Log) {
    this.#limits = limits;
    this.#log = log;
  }

  look(pools: readonly ThinPool[]): void {
    for (const pool of pools) {
      const name = `${pool.vg}/${pool.lv}`;
      const state = this.#stateOf(pool);
      if (state === this.#said.get(name)) continue;
      this.#say(pool, name, state);
      if (state === undefined) this.#said.delete(name);
      else this.#said.set(name, state);
    }
  }

  #stateOf(pool: ThinPool): State | undefined {
    const trouble = poolTrouble(pool, this.#limits);
    if (trouble !== undefined) return trouble.code === 'VG_FULL' ? 'full' : 'broken';
    const isWarned = useOfPool(pool, this.#limits).some((use) => use.usedPercent >= use.warnPercent);
    return isWarned ? 'warned' : undefined;
  }

  #say(pool: ThinPool, name: string, state: State | undefined): void {
    const used = Math.max(...useOfPool(pool, this.#limits).map(({ usedPercent }) => usedPercent));
    const fields = { pool: name, usedPercent: Math.round(used) };
    if (state === undefined) this.#log.info(fields, 'a thin pool has room again');
    else if (state === 'warned') this.#log.warn(fields, 'a thin pool runs full');
    else {
      const { says, remedy } = poolTrouble(pool, this.#limits) ?? {};
      const message = state === 'full' ? 'a thin pool is full' : 'a thin pool is not in order';
      this.#log.error({ ...fields, why: says, remedy }, `${message}: no more volumes are made in it`);
    }
  }
}
