import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest, HelperResult } from '../core/helper-protocol.ts';
import { ADOPTING_TAG, fillTags, privateName } from '../core/volume.ts';
import { finishAdoption } from './adopt.ts';
import { carriesExactly, findFill, stateError } from './fill.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';
import { readGroup, readVolume } from './tools.ts';

type Create = Extract<HelperRequest, { verb: 'create' }>;

/** Makes the private LV, or finds that an earlier call has made it; its node belongs to the service user. */
export async function create(tools: Tools, request: Create): Promise<HelperResult<'create'>> {
  const { volume, sizeBytes } = request;
  const held = findFill(await readGroup(tools, volume.vg), volume.vg, volume.fillId);
  if (held === undefined) {
    await makePrivate(tools, request);
  } else {
    await refuseUnfit(tools, request, held);
  }
  const row = await readVolume(tools, volume.vg, privateName(volume.fillId));
  if (row.sizeBytes < sizeBytes) {
    throw stateError(
      volume.vg,
      row.lv,
      `has ${row.sizeBytes} bytes, and fill ${volume.fillId} needs ${sizeBytes}`,
      'Discard this fill and begin another.',
    );
  }
  if (!row.active) await tools.lvm.activate(volume.vg, row.lv);
  await tools.devices.settle();
  await tools.devices.checkService(await readVolume(tools, volume.vg, row.lv));
  return { made: held === undefined ? 'created' : 'existing', sizeBytes: row.sizeBytes };
}

async function makePrivate(tools: Tools, { volume, sizeBytes }: Create): Promise<void> {
  const [group] = await tools.lvm.groups([volume.vg]);
  if (group === undefined) throw new Error(`${volume.vg} has gone within one request`);
  const neededBytes = Math.ceil(sizeBytes / group.extentBytes) * group.extentBytes;
  if (neededBytes > group.freeBytes) {
    throw new ProvisionError({
      code: 'VG_FULL',
      message: `${volume.vg} has ${group.freeBytes} bytes free, and the volume for ${volume.target} needs ${neededBytes}.`,
      hint: `Free space in ${volume.vg} (vgs, lvremove) or extend it (vgextend).`,
    });
  }
  await tools.lvm.create(volume.vg, privateName(volume.fillId), neededBytes, fillTags(volume));
}

async function refuseUnfit(tools: Tools, { volume }: Create, held: VolumeRow): Promise<void> {
  const marks = fillTags(volume);
  // The private LV of this fill was to be an adopted one, and a crash came between: finish that first.
  if (carriesExactly(held, [...marks, ADOPTING_TAG])) {
    await finishAdoption(tools, volume);
    return;
  }
  if (held.lv === privateName(volume.fillId) && carriesExactly(held, marks)) return;
  throw stateError(volume.vg, held.lv, `carries other marks of fill ${volume.fillId} than were asked for`);
}
