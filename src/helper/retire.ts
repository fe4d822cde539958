/**
 * Putting a published volume aside while its content is made again, and giving it its name back. Both are one
 * rename; the seal stays on it all the time, so that a crash leaves a finished volume under one name or the other.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import { retiredName } from '../core/volume/volume.ts';
import { findSealed, stateError } from './fill.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';
import { readGroup, readVolume, waitClosed } from './tools.ts';

type Retire = Pick<Extract<HelperRequest, { verb: 'retire' }>, 'vg' | 'seal'>;

/** Renames the unopened LV with exactly that seal to its name aside. Can be repeated. */
export async function retire(tools: Tools, { vg, seal }: Retire): Promise<null> {
  const aside = retiredName(seal.fillId);
  const held = findSealed(await readGroup(tools, vg), vg, seal);
  if (held.lv !== aside) {
    await waitClosed(tools, vg, held.lv);
    await tools.lvm.rename(vg, held.lv, aside);
  }
  const row = await proveRenamed(tools, held, aside, seal.target);
  // Whoever opened it by its old name in the moment before the renaming keeps it, and gets the name back.
  await waitClosed(tools, vg, aside).catch(async (error: unknown) => {
    await tools.lvm.rename(vg, aside, seal.target);
    throw error;
  });
  // Nobody gives the service user a volume of this name. An inactive LV has no node.
  if (row.device !== undefined) await tools.devices.takeBack(row);
  return null;
}

/** Gives the LV with exactly that seal its final name back, if nobody else has it. Can be repeated. */
export async function restore(tools: Tools, { vg, seal }: Retire): Promise<null> {
  const rows = await readGroup(tools, vg);
  const held = findSealed(rows, vg, seal);
  if (held.lv !== seal.target) {
    if (rows.some(({ lv }) => lv === seal.target)) {
      throw stateError(
        vg,
        held.lv,
        `cannot have its name ${seal.target} back: another volume has it`,
        `If ${seal.target} is not needed, delete it in libvirt and try again.`,
      );
    }
    await tools.lvm.rename(vg, held.lv, seal.target);
  }
  const row = await proveRenamed(tools, held, seal.target, held.lv);
  if (row.device !== undefined) await tools.devices.takeBack(row);
  return null;
}

/** LVM renames by name: somebody may have removed the sealed volume and made another one in its place. */
async function proveRenamed(tools: Tools, held: VolumeRow, lv: string, before: string): Promise<VolumeRow> {
  await tools.devices.settle();
  const row = await readVolume(tools, held.vg, lv);
  if (row.uuid === held.uuid) return row;
  await tools.lvm.rename(held.vg, lv, before);
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${held.vg}/${before} was exchanged while it was being renamed.`,
  });
}
