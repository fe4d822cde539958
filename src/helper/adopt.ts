/**
 * Taking over a blank LV that another tool has made. One commit marks it, a second one gives it the private
 * name, and then it is examined once more: whoever opened or wrote it meanwhile knew it by its old name.
 * The tag ADOPTING_TAG is on it all that time, so that a crash at any point leaves an LV that the next call
 * either proves blank or gives back.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest, HelperResult } from '../core/protocol/helper-protocol.ts';
import { ADOPTING_TAG, fillTags, privateName, readMark } from '../core/volume/volume.ts';
import { examine, whyNotBlank } from './examine.ts';
import { carriesExactly, findFill, ourTags, stateError } from './fill.ts';
import type { VolumeRow } from './lvm.ts';
import { setOwner } from './owner-of-node.ts';
import type { Tools } from './tools.ts';
import { readGroup, readVolume } from './tools.ts';

type PrivateVolume = Extract<HelperRequest, { verb: 'adopt' }>['volume'];

export async function adopt(tools: Tools, volume: PrivateVolume): Promise<HelperResult<'adopt'>> {
  const held = findFill(await readGroup(tools, volume.vg), volume.vg, volume.fillId);
  if (held === undefined) {
    const { active } = await readVolume(tools, volume.vg, volume.target);
    if (!active) throw inactive(volume);
    const blankness = await examine(tools, volume.vg, volume.target);
    if (!blankness.blank) throw notBlank(volume, blankness.why);
    await tools.lvm.swapTags(volume.vg, volume.target, [], [...fillTags(volume), ADOPTING_TAG]);
  }
  return finishAdoption(tools, volume);
}

/** From marks under either name to a private LV that is proven blank; or gives the LV back. */
export async function finishAdoption(tools: Tools, volume: PrivateVolume): Promise<HelperResult<'adopt'>> {
  const held = findFill(await tools.lvm.volumes([volume.vg]), volume.vg, volume.fillId);
  const marks = fillTags(volume);
  if (held === undefined) throw removedMeanwhile(volume);
  const proven = held.lv === privateName(volume.fillId) && carriesExactly(held, marks);
  if (!proven) {
    if (!carriesExactly(held, [...marks, ADOPTING_TAG])) {
      throw stateError(volume.vg, held.lv, `carries other marks of fill ${volume.fillId} than an adoption`);
    }
    await proveBlank(tools, volume, held);
  }
  await tools.devices.settle();
  const row = await readVolume(tools, volume.vg, privateName(volume.fillId));
  await setOwner(tools, volume, row);
  return { sizeBytes: row.sizeBytes };
}

async function proveBlank(tools: Tools, volume: PrivateVolume, held: VolumeRow): Promise<void> {
  const name = privateName(volume.fillId);
  if (held.lv !== name) await tools.lvm.rename(volume.vg, held.lv, name);
  // udev looks at the renamed device, and that is no use by anybody.
  await tools.devices.settle();
  const row = await readVolume(tools, volume.vg, name);
  if (row.uuid !== held.uuid) {
    // LVM renames by name: somebody has removed the marked volume and made this one.
    await tools.lvm.rename(volume.vg, name, volume.target);
    throw removedMeanwhile(volume);
  }
  const why = await whyNotBlank(tools, row);
  if (why !== undefined) {
    await undoAdoption(tools, row);
    throw row.active ? notBlank(volume, why) : inactive(volume);
  }
  await tools.lvm.swapTags(volume.vg, name, [ADOPTING_TAG], []);
}

/** Gives an LV that is being adopted its name back and takes our tags off it. */
export async function undoAdoption(tools: Tools, row: VolumeRow): Promise<void> {
  const mark = readMark(row.tags);
  if (mark.state !== 'filling') throw stateError(row.vg, row.lv, 'is not being adopted');
  if (row.lv !== mark.target) {
    const rows = await tools.lvm.volumes([row.vg]);
    if (rows.some((other) => other.lv === mark.target)) {
      throw stateError(
        row.vg,
        row.lv,
        `cannot have its name ${mark.target} back: another volume has it now`,
        `Look at both; lvrename and lvchange --deltag on ${row.vg}/${row.lv} give it to whom it belongs.`,
      );
    }
    await tools.lvm.rename(row.vg, row.lv, mark.target);
  }
  await tools.devices.settle();
  const given = await readVolume(tools, row.vg, mark.target);
  // An inactive LV has no node to be taken back.
  if (given.device !== undefined) await tools.devices.takeBack(given);
  await tools.lvm.swapTags(row.vg, mark.target, ourTags(given), []);
}

/** A failure that passes: the next try finds what is there then. */
function removedMeanwhile({ vg, target }: PrivateVolume): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${vg}/${target} was removed while it was being taken over.`,
  });
}

/** Nor does this stay: a pool that stopped deactivates its LVs, and activates them when it is started. */
function inactive({ vg, target }: PrivateVolume): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${vg}/${target} already exists and is not active, so it cannot be read.`,
    hint: 'Start its pool: virsh pool-list --all shows which has stopped.',
  });
}

function notBlank(volume: PrivateVolume, why: string): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_NOT_BLANK',
    message: `${volume.vg}/${volume.target} already exists and cannot be taken over: ${why}.`,
    hint: 'If its content is not needed, delete the volume; otherwise give the disk another volume.',
  });
}
