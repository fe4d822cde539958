/**
 * Returns the space of a fill that did not end well. Deleting goes through libvirt: it holds the pool's lock,
 * and removing an active LV beside a concurrent refresh can take the whole pool down. While libvirt does not
 * answer us it may still answer others, so the volume waits until it does (reclaim).
 */
import { toProblem } from '../../core/errors.ts';
import { ADOPTING_TAG, privateName, readMark } from '../../core/volume/volume.ts';
import type { Log } from '../ports/host.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { LuksVolumes, PrivateVolume, Volumes } from '../ports/volumes.ts';

export interface DiscardNeeds {
  readonly pools: Pools;
  readonly volumes: Volumes;
  readonly luks: Pick<LuksVolumes, 'closeLuks'>;
}

/**
 * Removes the private volume of a fill if it is still marked as being filled; anything else under that name
 * stays. `pool` is the libvirt pool on the volume group, if one is known.
 */
export async function discardVolume(
  needs: DiscardNeeds,
  volume: Pick<PrivateVolume, 'vg' | 'fillId'>,
  pool: string | undefined,
): Promise<'discarded' | 'absent' | 'kept'> {
  const { volumes } = await needs.volumes.list();
  const lv = privateName(volume.fillId);
  const found = volumes.find((candidate) => {
    const mark = readMark(candidate.tags);
    const isOurs = mark.state === 'filling' && mark.fillId === volume.fillId;
    return candidate.vg === volume.vg && (candidate.lv === lv || isOurs);
  });
  if (found === undefined) return 'absent';
  const mark = readMark(found.tags);
  if (mark.state !== 'filling' || mark.fillId !== volume.fillId) return 'kept';
  // As long as it is mapped nobody can remove it.
  if (mark.encryption !== undefined) await needs.luks.closeLuks(volume);
  // A volume in the middle of being taken over is not proven blank yet: the helper gives it back, unharmed.
  // A thin one libvirt does not know.
  const isUnknown = pool === undefined || found.thinPool !== undefined;
  if (isUnknown || found.lv !== lv || found.tags.includes(ADOPTING_TAG)) {
    await needs.volumes.discard(volume);
    return 'discarded';
  }
  await needs.pools.deleteVolume(pool, lv);
  return 'discarded';
}

/** The same, for what has failed already: what cannot be removed now is left to reclaim. Does not reject. */
export async function discardOrLeave(
  needs: DiscardNeeds,
  volume: Pick<PrivateVolume, 'vg' | 'fillId'>,
  pool: string | undefined,
  log: Log,
): Promise<void> {
  try {
    await discardVolume(needs, volume, pool);
  } catch (error) {
    log.warn(
      { problem: toProblem(error), volume: `${volume.vg}/${privateName(volume.fillId)}` },
      'the private volume could not be removed now; it will be reclaimed',
    );
  }
}
