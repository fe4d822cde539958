/** Says of a thin pool that it runs full, or that nothing more is made in it and why, once each time it comes to that. */
import type { PoolTrouble } from '../../core/thin/pool-trouble.ts';
import { poolTrouble, useOfPool } from '../../core/thin/pool-trouble.ts';
import type { ThinLimits } from '../../core/thin/thin-limits.ts';
import type { ThinPool } from '../../core/volume/volume.ts';
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
      const trouble = poolTrouble(pool, this.#limits);
      const state = this.#stateOf(pool, trouble);
      if (state === this.#said.get(name)) continue;
      this.#say(pool, state, trouble);
      if (state === undefined) this.#said.delete(name);
      else this.#said.set(name, state);
    }
  }

  #stateOf(pool: ThinPool, trouble: PoolTrouble | undefined): State | undefined {
    if (trouble !== undefined) return trouble.code === 'VG_FULL' ? 'full' : 'broken';
    const isWarned = useOfPool(pool, this.#limits).some((use) => use.usedPercent >= use.warnPercent);
    return isWarned ? 'warned' : undefined;
  }

  #say(pool: ThinPool, state: State | undefined, trouble: PoolTrouble | undefined): void {
    const used = Math.max(...useOfPool(pool, this.#limits).map(({ usedPercent }) => usedPercent));
    const fields = { pool: `${pool.vg}/${pool.lv}`, usedPercent: Math.round(used) };
    if (state === undefined) this.#log.info(fields, 'a thin pool has room again');
    else if (state === 'warned') this.#log.warn(fields, 'a thin pool runs full');
    else {
      const message = state === 'full' ? 'a thin pool is full' : 'a thin pool is not in order';
      this.#log.error(
        { ...fields, why: trouble?.says, remedy: trouble?.remedy },
        `${message}: no more volumes are made in it`,
      );
    }
  }
}
