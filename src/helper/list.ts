import type { HelperResult } from '../core/protocol/helper-protocol.ts';
import { readMark } from '../core/volume/volume.ts';
import type { Groups } from './groups.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';

/**
 * All LVs and the free space of the configured groups; a configured group that does not exist is left out. Of
 * groups that another host fills, only volumes that are published there: what is under way is not ours to see.
 */
export async function list(
  tools: Tools,
  { own, verified, shared, thinPools }: Groups,
): Promise<HelperResult<'list'>> {
  const { groups, volumes: rows } = await tools.lvm.read([...own, ...verified]);
  const shown = rows.filter(({ vg, lv, tags }) => {
    const mark = readMark(tags);
    return !verified.includes(vg) || (mark.state === 'ready' && mark.target === lv);
  });
  return {
    groups: groups
      .filter(({ vg }) => !verified.includes(vg))
      .map((group) => ({ ...group, shared: group.shared || shared.includes(group.vg) })),
    volumes: shown.map((row) => ({
      vg: row.vg,
      lv: row.lv,
      uuid: row.uuid,
      sizeBytes: row.sizeBytes,
      tags: [...row.tags],
      active: row.active,
      open: row.open,
      segmentType: row.segmentType,
      writable: row.writable,
      thinPool: row.thinPool,
      origin: row.origin,
    })),
    thinPools: rows.flatMap((row) => (thinPools.get(row.vg) === row.lv ? thinPoolOf(row) : [])),
  };
}

function thinPoolOf({ vg, lv, sizeBytes, pool }: VolumeRow): HelperResult<'list'>['thinPools'] {
  return pool === undefined ? [] : [{ vg, lv, sizeBytes, ...pool }];
}
