/**
 * Which volumes are thin, and which are to be. What is there decides; where nothing is, the configuration does. libvirt
 * lists no thin volume in a logical pool, so a disk on one names its device.
 */
import type { VolumeLocation } from '../request.ts';
import type { LogicalVolume } from '../volume/volume.ts';
import { GOLDEN_PREFIX } from '../volume/volume.ts';

type Place = Pick<VolumeLocation, 'vg' | 'lv'>;

export interface ThinPlaces {
  /** The thin pool of the volume that is there. */
  poolOfExisting(place: Place): string | undefined;
  /** The same, or that of one that is yet to be made there for a disk that names the device. */
  poolFor(place: Place): string | undefined;
}

export const NOTHING_THIN: ThinPlaces = { poolOfExisting: () => undefined, poolFor: () => undefined };

/**
 * `concerning` gives the volume under a name first, then the private ones that are to have it and those put aside that
 * had it: one that is made again, or that a crash has left half-way, stays of its kind. `thinPools` has the thin pool
 * of each volume group that is configured with one.
 */
export function thinPlaces(
  thinPools: ReadonlyMap<string, string>,
  concerning: (place: Place) => readonly LogicalVolume[],
): ThinPlaces {
  return {
    poolOfExisting: (place) => concerning(place).find(({ lv }) => lv === place.lv)?.thinPool,
    poolFor: (place) => {
      const [found] = concerning(place);
      return found === undefined ? thinPools.get(place.vg) : found.thinPool;
    },
  };
}

/** The pool by which libvirt knows the volume; it has no part in a thin one. */
export function libvirtPool({ pool, thinPool }: VolumeLocation): string | undefined {
  return thinPool === undefined ? pool : undefined;
}

/** `VG/LV` of the golden volume that this one is a clone of, while that is still there. */
export function originOfClone(volume: LogicalVolume | undefined): string | undefined {
  const { vg, origin } = volume ?? {};
  return vg === undefined || origin?.startsWith(GOLDEN_PREFIX) !== true ? undefined : `${vg}/${origin}`;
}
