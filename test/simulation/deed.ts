/** What one deed is, and what there is for deeds to choose from. */
import type { DomainSpec } from './domains.ts';
import type { Random } from './random.ts';
import type { Simulation } from './simulation.ts';

/** A deed that finds nothing to do says nothing; what it does, it says before it waits for anything. */
export type Deed = (run: Simulation, random: Random) => void | Promise<void>;

export const SLOTS = 3;
export const LV_NAMES = ['vm1', 'vm2', 'vm3', 'data'];
export const IMAGE_NAMES = ['images/a.raw', 'images/b.raw'];

export function anyDomain(run: Simulation, random: Random): DomainSpec | undefined {
  const all = [...run.libvirt.domains.values()];
  return all.length === 0 ? undefined : random.pick(all).spec;
}

/** A domain has a few keys of its own for each disk, and now and then one that is another's. */
export function keyNameOf(name: string, target: string, random: Random): string {
  return random.chance(0.05) ? 'file:shared' : `file:${name}-${target}-${random.between(0, 2)}`;
}
