/** What crashes leave behind: private volumes that nobody accounts for, found by comparing tags and ledger. */
import type { LogicalVolume, Seal } from '../volume/volume.ts';
import { ADOPTING_TAG, fillIdOf, readMark } from '../volume/volume.ts';
import type { PlanInput } from './input.ts';
import { goesOn, volumeKey } from './planned-fill.ts';

export type Accounts = Pick<PlanInput, 'volumes' | 'fills' | 'running'>;

/** Volumes under construction that no ledger row and no running fill accounts for: left behind, and ours to remove. */
export function planReclaim(input: Accounts): LogicalVolume[] {
  const alive = new Set([...input.running]);
  // Another domain may have got the name while the store was away.
  const published = new Set(
    input.volumes.filter(({ tags }) => readMark(tags).state === 'ready').map(volumeKey),
  );
  for (const fill of input.fills) {
    const isLate = fill.state === 'failed' && published.has(volumeKey(fill.location));
    if (goesOn(fill) && !isLate) alive.add(fill.fillId);
  }
  return input.volumes.filter((volume) => {
    const mark = readMark(volume.tags);
    if (mark.state !== 'filling' || alive.has(mark.fillId)) return false;
    // Under the final name: taking it over was interrupted between its marks and its renaming.
    const isHalfAdopted = volume.lv === mark.target && volume.tags.includes(ADOPTING_TAG);
    return fillIdOf(volume.lv) === mark.fillId || isHalfAdopted;
  });
}

/**
 * Sealed volumes that never got their final name and that no row and no running fill accounts for: whoever
 * asked for them has gone. They are finished, like any other volume that outlives its domain.
 */
export function planFinish(input: Accounts): { readonly volume: LogicalVolume; readonly seal: Seal }[] {
  const alive = new Set([...input.running, ...input.fills.map(({ fillId }) => fillId)]);
  const taken = new Set(input.volumes.map(volumeKey));
  return input.volumes.flatMap((volume) => {
    const seal = readMark(volume.tags);
    if (seal.state !== 'ready' || fillIdOf(volume.lv) !== seal.fillId || alive.has(seal.fillId)) return [];
    return taken.has(volumeKey({ vg: volume.vg, lv: seal.target })) ? [] : [{ volume, seal }];
  });
}
