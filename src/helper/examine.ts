import type { HelperResult } from '../core/protocol/helper-protocol.ts';
import { readMark } from '../core/volume/volume.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';
import { readVolume } from './tools.ts';

/** Whether an LV without marks of ours is provably blank. Reads, and changes nothing. */
export async function examine(tools: Tools, vg: string, lv: string): Promise<HelperResult<'examine'>> {
  const row = await readVolume(tools, vg, lv);
  const why = whyMarked(row) ?? (await whyNotBlank(tools, row));
  return why === undefined ? { blank: true } : { blank: false, why };
}

function whyMarked(row: VolumeRow): string | undefined {
  const mark = readMark(row.tags);
  if (mark.state === 'unmarked') return undefined;
  if (mark.state === 'unclear') return `it carries tags of this program that make no sense: ${mark.why}`;
  return `it is already marked as ${mark.state} by fill ${mark.fillId}`;
}

/** The same for an LV whose marks are known: only its kind, use and content count. */
export async function whyNotBlank(tools: Tools, row: VolumeRow): Promise<string | undefined> {
  if (row.segmentType !== 'linear' && row.segmentType !== 'striped') {
    return `its type is ${row.segmentType}, and only linear and striped volumes can be taken over`;
  }
  if (!row.active || row.device === undefined) return 'it is not active, so it cannot be read';
  if (!row.writable) return 'it is read-only';
  if (row.open) return 'it is open: something uses it';
  return tools.devices.whyNotEmpty(row);
}
