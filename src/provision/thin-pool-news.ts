/** Says of a thin pool that it runs full, once each time it comes to that. */
import type { ThinLimits } from '../core/thin-limits.ts';
import { usedPercentOf } from '../core/thin-headroom.ts';
import type { ThinPool } from '../core/volume.ts';
import type { Log } from './ports.ts';

export class ThinPoolNews {
  readonly #limits: ThinLimits;
  readonly #log: Log;
  /** What was last said of a pool. */
  readonly #said = new Map<string, 'warned' | 'stopped'>();

  constructor(limits: ThinLimits, log: Log) {
    this.#limits = limits;
    this.#log = log;
  }

  look(pools: readonly ThinPool[]): void {
    for (const pool of pools) {
      const name = `${pool.vg}/${pool.lv}`;
      const used = usedPercentOf(pool);
      const state = this.#stateOf(used);
      if (state === this.#said.get(name)) continue;
      const fields = { pool: name, usedPercent: Math.round(used) };
      if (state === undefined) this.#log.info(fields, 'a thin pool has room again');
      else if (state === 'warned') this.#log.warn(fields, 'a thin pool runs full');
      else this.#log.error(fields, 'a thin pool is full: no more volumes are made in it');
      if (state === undefined) this.#said.delete(name);
      else this.#said.set(name, state);
    }
  }

  #stateOf(used: number): 'warned' | 'stopped' | undefined {
    if (used >= this.#limits.stopPercent) return 'stopped';
    return used >= this.#limits.warnPercent ? 'warned' : undefined;
  }
}
