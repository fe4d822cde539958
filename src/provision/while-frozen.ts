/**
 * While the host is frozen nothing of ours makes, names, seals or deletes a volume. Plans say so already; this is
 * for what was decided just before.
 */
import { ProvisionError } from '../core/errors.ts';
import { frozenProblem } from '../core/frozen.ts';
import type { Freeze } from './ports/host.ts';
import type { Pools } from './ports/libvirt.ts';
import type { LuksVolumes, Volumes } from './ports/volumes.ts';

/** FROZEN while it is. */
export function requireThawed(freeze: Freeze): void {
  const frozen = freeze.frozen();
  if (frozen !== undefined) throw new ProvisionError(frozenProblem(frozen));
}

/** The same ports, but for what changes volumes. */
export function refusingWhileFrozen(
  freeze: Freeze,
  { volumes, pools }: { readonly volumes: Volumes; readonly pools: Pools },
): { readonly volumes: Volumes; readonly pools: Pools } {
  const thawed = async <T>(change: () => Promise<T>): Promise<T> => {
    requireThawed(freeze);
    return change();
  };
  return {
    volumes: {
      list: () => volumes.list(),
      examine: (vg, lv) => volumes.examine(vg, lv),
      create: (volume, sizeBytes, thinPool) => thawed(() => volumes.create(volume, sizeBytes, thinPool)),
      clone: (volume, golden, sizeBytes) => thawed(() => volumes.clone(volume, golden, sizeBytes)),
      adopt: (volume) => thawed(() => volumes.adopt(volume)),
      publish: (volume, seal, key) => thawed(() => volumes.publish(volume, seal, key)),
      claim: (vg, seal, domainUuid) => thawed(() => volumes.claim(vg, seal, domainUuid)),
      retire: (vg, seal) => thawed(() => volumes.retire(vg, seal)),
      restore: (vg, seal) => thawed(() => volumes.restore(vg, seal)),
      // Says of a guest that runs here already whose volume it is.
      arrive: (vg, seal) => volumes.arrive(vg, seal),
      recall: (vg, fillId) => thawed(() => volumes.recall(vg, fillId)),
      discard: (volume) => thawed(() => volumes.discard(volume)),
      drop: (vg, seal) => thawed(() => volumes.drop(vg, seal)),
    },
    pools: {
      list: () => pools.list(),
      refresh: (pool) => pools.refresh(pool),
      start: (pool) => pools.start(pool),
      deleteVolume: (pool, lv) => thawed(() => pools.deleteVolume(pool, lv)),
    },
  };
}

/** The same port, but for what changes volumes or lets something be written to them. */
export function luksRefusingWhileFrozen(freeze: Freeze, luks: LuksVolumes): LuksVolumes {
  const thawed = async <T>(change: () => Promise<T>): Promise<T> => {
    requireThawed(freeze);
    return change();
  };
  return {
    formatLuks: (volume, key) => thawed(() => luks.formatLuks(volume, key)),
    openLuks: (volume, key) => thawed(() => luks.openLuks(volume, key)),
    // Ends a fill that the freeze has stopped.
    closeLuks: (volume) => luks.closeLuks(volume),
    checkLuks: (vg, seal, key) => luks.checkLuks(vg, seal, key),
    addLuksKey: (vg, seal, key, added) => thawed(() => luks.addLuksKey(vg, seal, key, added)),
    keepOnlyLuksKey: (vg, seal, key) => thawed(() => luks.keepOnlyLuksKey(vg, seal, key)),
    // What somebody does about an incident, and a freeze is often the first thing done about one.
    eraseLuks: (vg, seal) => luks.eraseLuks(vg, seal),
  };
}
