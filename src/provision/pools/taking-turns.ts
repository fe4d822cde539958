/**
 * A refresh of ours and a change of ours to what names there are in its group never meet. libvirt lists the LVs and
 * then opens each: one that has another name by then, or no device yet, fails the refresh, and that stops the pool
 * and deactivates its LVs. What other programs do at such a moment the pool keeper makes good.
 *
 * Each waits for those before it, in their order, and each of those has its own deadline. A refresh that libvirt
 * goes on with after its deadline is not waited for any more.
 */
import type { LogicalPool } from '../../core/request.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { Volumes } from '../ports/volumes.ts';

/**
 * The same ports, taking turns by volume group. What is done to the header of an encrypted volume, and to its mapping,
 * changes no name that libvirt lists, and takes none: the gate waits for it.
 * A pool that was in no list yet is on no group.
 */
export function takingTurns(
  volumes: Volumes,
  pools: Pools,
): { readonly volumes: Volumes; readonly pools: Pools } {
  const turns = new Turns();
  let groupOf: ReadonlyMap<string, string> = new Map();
  const onPool = (pool: string, work: () => Promise<void>): Promise<void> => {
    const vg = groupOf.get(pool);
    return vg === undefined ? work() : turns.take(vg, work);
  };
  return {
    volumes: {
      list: () => volumes.list(),
      examine: (vg, lv) => volumes.examine(vg, lv),
      create: (volume, sizeBytes, thinPool) =>
        turns.take(volume.vg, () => volumes.create(volume, sizeBytes, thinPool)),
      clone: (volume, golden, sizeBytes) =>
        turns.take(volume.vg, () => volumes.clone(volume, golden, sizeBytes)),
      adopt: (volume) => turns.take(volume.vg, () => volumes.adopt(volume)),
      publish: (volume, seal, key) => turns.take(volume.vg, () => volumes.publish(volume, seal, key)),
      claim: (vg, seal, domainUuid) => volumes.claim(vg, seal, domainUuid),
      retire: (vg, seal) => turns.take(vg, () => volumes.retire(vg, seal)),
      restore: (vg, seal) => turns.take(vg, () => volumes.restore(vg, seal)),
      // No name changes.
      arrive: (vg, seal) => volumes.arrive(vg, seal),
      recall: (vg, fillId) => turns.take(vg, () => volumes.recall(vg, fillId)),
      discard: (volume) => turns.take(volume.vg, () => volumes.discard(volume)),
      drop: (vg, seal) => turns.take(vg, () => volumes.drop(vg, seal)),
    },
    pools: {
      list: async () => {
        const found = await pools.list();
        groupOf = new Map(found.map(({ name, vg }: LogicalPool) => [name, vg]));
        return found;
      },
      refresh: (pool) => onPool(pool, () => pools.refresh(pool)),
      start: (pool) => onPool(pool, () => pools.start(pool)),
      // Under libvirt's own lock of the pool.
      deleteVolume: (pool, lv) => pools.deleteVolume(pool, lv),
    },
  };
}

/** Works for the same key, one after another. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const mine = before.then(work);
    // Whoever comes next waits for the end of this one, however it ends.
    const ended = mine.catch(() => undefined);
    this.#last.set(key, ended);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === ended) this.#last.delete(key);
    }
  }
}
