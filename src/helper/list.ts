import type { HelperResult } from '../core/helper-protocol.ts';
import type { Tools } from './tools.ts';

/** All LVs and the free space of the configured groups; a configured group that does not exist is left out. */
export async function list(tools: Tools, vgs: readonly string[]): Promise<HelperResult<'list'>> {
  const groups = await tools.lvm.groups(vgs);
  const rows = await tools.lvm.volumes(groups.map((group) => group.vg));
  return {
    groups: [...groups],
    volumes: rows.map((row) => ({
      vg: row.vg,
      lv: row.lv,
      uuid: row.uuid,
      sizeBytes: row.sizeBytes,
      tags: [...row.tags],
      active: row.active,
      open: row.open,
      segmentType: row.segmentType,
    })),
  };
}
