/** What a person types to delete a volume that nobody needs. */
import type { VolumeLocation } from '../request.ts';

/**
 * Thick ones through libvirt: an LV that is removed beside a refresh of its pool can stop the pool. It lists no thin one,
 * and a refresh passes over them, so that `lvremove` is the way, and a safe one. `virsh` is given the volume and its pool
 * where both are known.
 */
export function deleteCommand({ vg, lv, thinPool, pool }: VolumeLocation): string {
  if (thinPool !== undefined) return `lvremove ${vg}/${lv}`;
  return pool === undefined ? 'virsh vol-delete' : `virsh vol-delete ${lv} ${pool}`;
}
