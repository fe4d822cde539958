/**
 * Volumes and fills by what plans ask for. A host has hundreds of each, and a plan is made for every disk of
 * every domain: the index of a list is made once. The lists are never changed, only replaced by others.
 */
import type { PlannedFill } from './planned-fill.ts';
import { volumeKey } from './planned-fill.ts';
import type { LogicalVolume } from './volume.ts';

type Fills = readonly PlannedFill[];

const volumesByKey = new WeakMap<readonly LogicalVolume[], Map<string, LogicalVolume>>();
const fillsByVolume = new WeakMap<Fills, Map<string, PlannedFill[]>>();
const fillsByDisk = new WeakMap<Fills, Map<string, PlannedFill>>();

export function volumeAt(
  volumes: readonly LogicalVolume[],
  location: PlannedFill['location'],
): LogicalVolume | undefined {
  const index = made(volumesByKey, volumes, () => new Map(volumes.map((one) => [volumeKey(one), one])));
  return index.get(volumeKey(location));
}

/** All fills for a volume, whoever asked for them. */
export function fillsAt(fills: Fills, location: PlannedFill['location']): Fills {
  const index = made(fillsByVolume, fills, () => Map.groupBy(fills, (one) => volumeKey(one.location)));
  return index.get(volumeKey(location)) ?? [];
}

/** The fill of one disk. */
export function fillFor(fills: Fills, domainUuid: string, target: string): PlannedFill | undefined {
  const keyOf = (uuid: string, disk: string) => `${uuid} ${disk}`;
  const index = made(
    fillsByDisk,
    fills,
    () => new Map(fills.map((one) => [keyOf(one.domainUuid, one.request.target), one])),
  );
  return index.get(keyOf(domainUuid, target));
}

/** The index of a list, made at the first question. */
export function made<Rows extends object, Index>(
  indexes: WeakMap<Rows, Index>,
  rows: Rows,
  make: () => Index,
): Index {
  const index = indexes.get(rows) ?? make();
  indexes.set(rows, index);
  return index;
}
