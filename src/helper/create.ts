import { ProvisionError } from '../core/errors.ts';
import { isGolden } from '../core/owner.ts';
import type { HelperRequest, HelperResult } from '../core/protocol/helper-protocol.ts';
import type { VolumeGroup } from '../core/volume/volume.ts';
import { ADOPTING_TAG, fillTags, privateName } from '../core/volume/volume.ts';
import { finishAdoption } from './adopt.ts';
import { carriesExactly, findFill, stateError } from './fill.ts';
import type { ThinPools } from './groups.ts';
import type { VolumeRow } from './lvm.ts';
import { setOwner } from './owner-of-node.ts';
import { findThinPool } from './thin-pool.ts';
import type { Tools } from './tools.ts';
import { readVolume, readWithGroup } from './tools.ts';

type Create = Extract<HelperRequest, { verb: 'create' }>;

/** Makes the private LV, or finds that an earlier call has made it; its node belongs to the service user. */
export async function create(
  tools: Tools,
  request: Create,
  thinPools: ThinPools,
): Promise<HelperResult<'create'>> {
  const { volume, sizeBytes } = request;
  const { group, rows } = await readWithGroup(tools, volume.vg);
  refuseOtherPool(rows, request, thinPools);
  const held = findFill(rows, volume.vg, volume.fillId);
  if (held === undefined) {
    await makePrivate(tools, request, group);
  } else {
    await refuseUnfit(tools, request, held);
  }
  let row = await readVolume(tools, volume.vg, privateName(volume.fillId));
  if (row.sizeBytes < sizeBytes) {
    throw stateError(
      volume.vg,
      row.lv,
      `has ${row.sizeBytes} bytes, and fill ${volume.fillId} needs ${sizeBytes}`,
      'Discard this fill and begin another.',
    );
  }
  if (!row.active) {
    await tools.lvm.activate(volume.vg, row.lv);
    row = await readVolume(tools, volume.vg, row.lv);
  }
  await setOwner(tools, volume, row);
  return { made: held === undefined ? 'created' : 'existing', sizeBytes: row.sizeBytes };
}

function refuseOtherPool(
  rows: readonly VolumeRow[],
  { volume, thinPool }: Create,
  thinPools: ThinPools,
): void {
  if (thinPool === undefined) {
    if (!isGolden(volume.domainUuid)) return;
    throw stateError(volume.vg, volume.target, 'is golden, and only a thin volume can be');
  }
  const pool = findThinPool(rows, thinPools, volume.vg);
  if (pool.lv === thinPool) return;
  throw new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `The thin pool of ${volume.vg} is ${pool.lv} by the configuration, and not ${thinPool}.`,
    hint: 'The service must read its configuration again: systemctl restart libvirt-volume-provisioner.',
  });
}

async function makePrivate(
  tools: Tools,
  { volume, sizeBytes, thinPool }: Create,
  group: VolumeGroup,
): Promise<void> {
  const neededBytes = Math.ceil(sizeBytes / group.extentBytes) * group.extentBytes;
  const name = privateName(volume.fillId);
  if (thinPool !== undefined) {
    await tools.lvm.createThin(volume.vg, thinPool, name, neededBytes, fillTags(volume));
    return;
  }
  if (neededBytes > group.freeBytes) {
    throw new ProvisionError({
      code: 'VG_FULL',
      message: `${volume.vg} has ${group.freeBytes} bytes free, and the volume for ${volume.target} needs ${neededBytes}.`,
      hint: `Free space in ${volume.vg} (vgs, lvremove) or extend it (vgextend).`,
    });
  }
  await tools.lvm.create(volume.vg, name, neededBytes, fillTags(volume));
}

async function refuseUnfit(tools: Tools, { volume, thinPool }: Create, held: VolumeRow): Promise<void> {
  const marks = fillTags(volume);
  if (held.thinPool !== thinPool) {
    const kind = thinPool === undefined ? 'no thin volume' : `a thin volume of ${thinPool}`;
    throw stateError(volume.vg, held.lv, `is to be ${kind}`, 'Discard this fill and begin another.');
  }
  // The private LV of this fill was to be an adopted one, and a crash came between: finish that first.
  if (carriesExactly(held, [...marks, ADOPTING_TAG])) {
    await finishAdoption(tools, volume);
    return;
  }
  if (held.lv === privateName(volume.fillId) && carriesExactly(held, marks)) return;
  throw stateError(volume.vg, held.lv, `carries other marks of fill ${volume.fillId} than were asked for`);
}
