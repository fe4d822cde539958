/**
 * Sealed volumes of which the ledger is told when libvirt has seen them: whoever published one may have been cut off
 * before that, and so may we. A volume is called ready when nothing is left to do for it.
 */
import type { PoolRefreshesNeeds } from '../pools/pool-refreshes.ts';
import { PoolRefreshes } from '../pools/pool-refreshes.ts';

export class ShownVolumes {
  readonly #refreshes: PoolRefreshes;
  /** By fill ID: seen by libvirt, or on the way there. */
  readonly #shown = new Map<string, 'seen' | Promise<void>>();

  constructor(needs: PoolRefreshesNeeds) {
    this.#refreshes = new PoolRefreshes(needs);
  }

  /**
   * Whether libvirt has seen the volume since it was first asked for; that is said once. If not, it is made to look,
   * and `onSeen` is called when it has.
   */
  isSeen(fillId: string, pool: string, onSeen: () => void): boolean {
    const state = this.#shown.get(fillId);
    if (state === 'seen') return this.#shown.delete(fillId);
    if (state === undefined) {
      const showing = this.#refreshes.refreshed(pool).then(() => {
        this.#shown.set(fillId, 'seen');
        onSeen();
      });
      this.#shown.set(fillId, showing);
    }
    return false;
  }

  /** Resolves when libvirt has seen one more of those it is made to look at; undefined if there are none. */
  next(): Promise<void> | undefined {
    const showing = [...this.#shown.values()].filter((state) => state !== 'seen');
    return showing.length === 0 ? undefined : Promise.race(showing);
  }

  stop(): void {
    this.#refreshes.stop();
  }
}
