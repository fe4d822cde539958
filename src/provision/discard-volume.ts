/**
 * Returns the space of a fill that did not end well. Deleting goes through libvirt where it runs: it holds
 * the pool's lock, and removing an active LV beside a concurrent refresh can take the whole pool down.
 */
import { ProvisionError } from '../core/errors.ts';
import { ADOPTING_TAG, privateName, readMark } from '../core/volume.ts';
import type { Pools, PrivateVolume, Volumes } from './ports.ts';

/**
 * Removes the private volume of a fill if it is still marked as being filled; anything else under that name
 * stays. `pool` is the libvirt pool on the volume group, if one is known.
 */
export async function discardVolume(
  needs: { readonly pools: Pools; readonly volumes: Volumes },
  volume: Pick<PrivateVolume, 'vg' | 'fillId'>,
  pool: string | undefined,
): Promise<'discarded' | 'absent' | 'kept'> {
  const lv = privateName(volume.fillId);
  const { volumes } = await needs.volumes.list();
  const found = volumes.find((candidate) => candidate.vg === volume.vg && candidate.lv === lv);
  if (found === undefined) return 'absent';
  const mark = readMark(found.tags);
  if (mark.state !== 'filling' || mark.fillId !== volume.fillId) return 'kept';
  // A volume in the middle of being taken over is not proven blank yet: the helper gives it back, unharmed.
  if (pool === undefined || found.tags.includes(ADOPTING_TAG)) {
    await needs.volumes.discard(volume);
    return 'discarded';
  }
  try {
    await needs.pools.deleteVolume(pool, lv);
  } catch (error) {
    // Without libvirt there is no refresh to be harmed, and the helper may do it.
    if (!(error instanceof ProvisionError) || error.code !== 'LIBVIRT_UNAVAILABLE') throw error;
    await needs.volumes.discard(volume);
  }
  return 'discarded';
}
