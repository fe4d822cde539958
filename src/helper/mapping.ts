/**
 * The mapping through which an encrypted private volume is filled: whose it is, and that it is gone. LVM is not asked:
 * what stands on the mapping may be what LVM has trouble with.
 */
import { mappingName, privateName } from '../core/volume/volume.ts';
import type { Mapping } from './cryptsetup.ts';
import { stateError } from './fill.ts';
import type { Tools } from './tools.ts';

/** The open mapping of this fill, which must lie on its private LV. */
export async function findMapping(tools: Tools, vg: string, fillId: string): Promise<Mapping | undefined> {
  const name = mappingName(fillId);
  const mapping = await tools.luks.mapping(name);
  if (mapping === undefined) return undefined;
  const [below, ...more] = mapping.on;
  const lv = privateName(fillId);
  if (mapping.uuid.startsWith('CRYPT-LUKS1-') && more.length === 0 && below === deviceName(vg, lv)) {
    return mapping;
  }
  throw stateError(
    vg,
    lv,
    `is not what /dev/mapper/${name} lies on`,
    `Somebody else has made that mapping: dmsetup ls --tree; dmsetup remove ${name} if nobody needs it.`,
  );
}

/** Can be repeated. VOLUME_STATE while somebody has it open. */
export async function closeMapping(tools: Tools, vg: string, fillId: string): Promise<void> {
  if ((await findMapping(tools, vg, fillId)) === undefined) return;
  const name = mappingName(fillId);
  if (await tools.luks.close(name)) return;
  // udev may have been looking at it.
  await tools.devices.settle();
  if (await tools.luks.close(name)) return;
  throw stateError(
    vg,
    privateName(fillId),
    `is written through /dev/mapper/${name}, which somebody has open`,
    `See who has it with lsof /dev/mapper/${name} and dmsetup ls --tree.`,
  );
}

/** VOLUME_STATE while the fill has a mapping. */
export async function refuseMapped(tools: Tools, vg: string, fillId: string): Promise<void> {
  if ((await findMapping(tools, vg, fillId)) === undefined) return;
  throw stateError(vg, privateName(fillId), `is still open as /dev/mapper/${mappingName(fillId)}`);
}

/** What LVM calls the device of an LV: lvm(8), dmsetup splitname. */
export function deviceName(vg: string, lv: string): string {
  return [vg, lv].map((name) => name.replaceAll('-', '--')).join('-');
}
