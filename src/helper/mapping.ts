/** The mapping through which an encrypted private volume is filled: whose it is, and that it is gone. */
import { mappingName } from '../core/volume.ts';
import type { Mapping } from './cryptsetup.ts';
import { stateError } from './fill.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';

/** The open mapping of this fill, which must lie on this LV of it. */
export async function findMapping(
  tools: Tools,
  row: VolumeRow,
  fillId: string,
): Promise<Mapping | undefined> {
  const name = mappingName(fillId);
  const mapping = await tools.luks.mapping(name);
  if (mapping === undefined) return undefined;
  const device = row.device === undefined ? '' : `${row.device.major}:${row.device.minor}`;
  if (mapping.uuid.startsWith('CRYPT-LUKS1-') && mapping.on.length === 1 && mapping.on[0] === device) {
    return mapping;
  }
  throw stateError(
    row.vg,
    row.lv,
    `is not what /dev/mapper/${name} lies on`,
    `Somebody else has made that mapping: dmsetup ls --tree; dmsetup remove ${name} if nobody needs it.`,
  );
}

/** Can be repeated. VOLUME_STATE while somebody has it open. */
export async function closeMapping(tools: Tools, row: VolumeRow, fillId: string): Promise<void> {
  if ((await findMapping(tools, row, fillId)) === undefined) return;
  const name = mappingName(fillId);
  await tools.devices.settle();
  if (await tools.luks.close(name)) return;
  throw stateError(
    row.vg,
    row.lv,
    `is written through /dev/mapper/${name}, which somebody has open`,
    `See who has it with lsof /dev/mapper/${name} and dmsetup ls --tree.`,
  );
}

/** VOLUME_STATE while the fill has a mapping. */
export async function refuseMapped(tools: Tools, row: VolumeRow, fillId: string): Promise<void> {
  if ((await findMapping(tools, row, fillId)) === undefined) return;
  throw stateError(row.vg, row.lv, `is still open as /dev/mapper/${mappingName(fillId)}`);
}
