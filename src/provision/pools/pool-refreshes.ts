/**
 * Refreshes of pools that must happen, however long it takes: until libvirt has seen a volume it refuses to start
 * the domain. What is asked for while one is under way is done by the next one, all together: with the ledger
 * lost that is every volume.
 */
import { toProblem } from '../../core/errors.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { Pools } from '../ports/libvirt.ts';

/** Between two tries. */
const REFRESH_AGAIN_MS = 5_000;
/** Between one and the next: each is an event, and what is asked for meanwhile is done together. */
const PAUSE_MS = 500;

export interface PoolRefreshesNeeds {
  readonly pools: Pick<Pools, 'refresh'>;
  readonly clock: Clock;
  readonly log: Log;
}

interface Refresh {
  readonly done: Promise<void>;
  /** The one after this: what became visible after this one had begun. */
  next?: Promise<void>;
}

export class PoolRefreshes {
  readonly #needs: PoolRefreshesNeeds;
  readonly #underWay = new Map<string, Refresh>();
  #stopped = false;

  constructor(needs: PoolRefreshesNeeds) {
    this.#needs = needs;
  }

  /** Resolves when a refresh that began after this call has succeeded, or needs none; never after `stop`. */
  refreshed(pool: string): Promise<void> {
    const underWay = this.#underWay.get(pool);
    if (underWay === undefined) return this.#begin(pool);
    underWay.next ??= underWay.done
      .then(() => this.#needs.clock.sleep(PAUSE_MS))
      .then(() => this.#begin(pool));
    return underWay.next;
  }

  stop(): void {
    this.#stopped = true;
  }

  #begin(pool: string): Promise<void> {
    const refresh: Refresh = { done: this.#untilSeen(pool) };
    this.#underWay.set(pool, refresh);
    void refresh.done.then(() => {
      if (refresh.next === undefined) this.#underWay.delete(pool);
    });
    return refresh.done;
  }

  async #untilSeen(pool: string): Promise<void> {
    const { clock, log, pools } = this.#needs;
    for (;;) {
      if (this.#stopped) await new Promise<never>(() => undefined);
      try {
        await pools.refresh(pool);
        return;
      } catch (error) {
        const problem = toProblem(error);
        // Whoever starts or defines it makes libvirt look.
        if (problem.code === 'POOL_INACTIVE' || problem.code === 'POOL_UNSUITABLE') return;
        log.warn({ pool, problem }, 'the pool could not be refreshed; it is tried again');
        await clock.sleep(REFRESH_AGAIN_MS);
      }
    }
  }
}
