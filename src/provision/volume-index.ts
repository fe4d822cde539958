/** A reading of the volume groups, by what plans ask of it: a host may have thousands of volumes. */
import { volumeKey } from '../core/plan/planned-fill.ts';
import type { VolumeLocation } from '../core/request.ts';
import type { LogicalVolume } from '../core/volume/volume.ts';
import { fillIdOf, readMark, retiredName } from '../core/volume/volume.ts';

type Place = Pick<VolumeLocation, 'vg' | 'lv'>;

export interface VolumeIndex {
  at(place: Place): LogicalVolume | undefined;
  /** The volume under that name, the private ones that are to have it, and those put aside that had it. */
  concerning(place: Place): readonly LogicalVolume[];
}

export function indexVolumes(volumes: readonly LogicalVolume[]): VolumeIndex {
  const byPlace = new Map<string, LogicalVolume>();
  const byTarget = new Map<string, LogicalVolume[]>();
  for (const volume of volumes) {
    byPlace.set(volumeKey(volume), volume);
    const mark = readMark(volume.tags);
    if (mark.state !== 'filling' && mark.state !== 'ready') continue;
    if (fillIdOf(volume.lv) === undefined && volume.lv !== retiredName(mark.fillId)) continue;
    const key = volumeKey({ vg: volume.vg, lv: mark.target });
    byTarget.set(key, [...(byTarget.get(key) ?? []), volume]);
  }
  const at = (place: Place): LogicalVolume | undefined => byPlace.get(volumeKey(place));
  return {
    at,
    concerning(place) {
      const found = at(place);
      return [...(found === undefined ? [] : [found]), ...(byTarget.get(volumeKey(place)) ?? [])];
    },
  };
}
