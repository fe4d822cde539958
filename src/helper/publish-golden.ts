/**
 * From a private thin LV that holds an image to a golden volume: closed, inactive, read-only and never activated by
 * itself, then sealed, then named. Every step can be the last before a crash, and is not done twice.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import type { NewGoldenSeal } from '../core/volume/volume.ts';
import { fillTags, goldenName, goldenTags, privateName, readMark } from '../core/volume/volume.ts';
import { carriesExactly, exchangeTags, findFill, stateError } from './fill.ts';
import type { ThinPools } from './groups.ts';
import type { VolumeRow } from './lvm.ts';
import { findThinPool } from './thin-pool.ts';
import type { Tools } from './tools.ts';
import { readGroup, readVolume, waitClosed } from './tools.ts';

type Publish = Extract<HelperRequest, { verb: 'publish' }>;

export async function publishGolden(
  tools: Tools,
  volume: Publish['volume'],
  seal: NewGoldenSeal,
  thinPools: ThinPools,
): Promise<null> {
  const { vg, fillId } = volume;
  const rows = await readGroup(tools, vg);
  const held = findFill(rows, vg, fillId);
  if (held === undefined) throw missing(volume);
  refuseUnfit(rows, volume, seal, thinPools, held);
  if (!isSealed(held, seal)) {
    const mappedBytes = await measure(tools, held);
    await shut(tools, vg, held.lv);
    await exchangeTags(tools, held, fillTags(volume), goldenTags({ ...seal, mappedBytes }));
  }
  await shut(tools, vg, held.lv);
  if (held.lv !== goldenName(fillId)) await tools.lvm.rename(vg, held.lv, goldenName(fillId));
  await tools.devices.settle();
  return null;
}

/** All of the seal but what the helper itself has measured. */
function isSealed(held: VolumeRow, seal: NewGoldenSeal): boolean {
  const mark = readMark(held.tags);
  if (mark.state !== 'golden') return false;
  return carriesExactly(held, goldenTags({ ...seal, mappedBytes: mark.mappedBytes }));
}

function refuseUnfit(
  rows: readonly VolumeRow[],
  volume: Publish['volume'],
  seal: NewGoldenSeal,
  thinPools: ThinPools,
  held: VolumeRow,
): void {
  const { vg, fillId } = volume;
  const pool = findThinPool(rows, thinPools, vg);
  const isMarked = held.lv === privateName(fillId) && carriesExactly(held, fillTags(volume));
  const isNamed = held.lv === privateName(fillId) || held.lv === goldenName(fillId);
  if (!isMarked && !(isNamed && isSealed(held, seal))) {
    throw stateError(vg, held.lv, `carries other marks or another seal than fill ${fillId}`);
  }
  if (held.segmentType !== 'thin' || held.thinPool !== pool.lv) {
    throw stateError(vg, held.lv, `is no thin volume of ${pool.lv}`);
  }
  if (held.sizeBytes < seal.sizeBytes) {
    throw stateError(vg, held.lv, `has ${held.sizeBytes} bytes, and its image ${seal.sizeBytes}`);
  }
  if (held.lv !== goldenName(fillId) && rows.some((row) => row.lv === goldenName(fillId))) {
    throw stateError(vg, goldenName(fillId), `exists, so fill ${fillId} cannot be published under that name`);
  }
}

/** What it holds of its pool, which only an active volume tells. */
async function measure(tools: Tools, held: VolumeRow): Promise<number> {
  if (!held.active) await tools.lvm.activate(held.vg, held.lv);
  const { mappedBytes } = await waitClosed(tools, held.vg, held.lv);
  if (mappedBytes !== undefined) return mappedBytes;
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `LVM does not say how much of its pool ${held.vg}/${held.lv} holds.`,
    hint: `See lvs -o +data_percent ${held.vg}.`,
  });
}

const SHUT_TRIES_MAX = 5;

/** Inactive and read-only; whoever activates and opens it in between is waited for, and has changed nothing since. */
async function shut(tools: Tools, vg: string, lv: string): Promise<void> {
  for (let tries = 1; tries <= SHUT_TRIES_MAX; tries += 1) {
    const row = await waitClosed(tools, vg, lv);
    if (!row.active && !row.writable && row.skipsActivation) return;
    // An open volume is not deactivated: from here on its node is gone, and nobody writes.
    if (row.active) await tools.lvm.deactivate(vg, lv);
    else await tools.lvm.makeReadOnly(vg, lv);
  }
  const { active } = await readVolume(tools, vg, lv);
  throw stateError(vg, lv, active ? 'is activated again and again' : 'does not become read-only');
}

function missing({ vg, fillId }: Publish['volume']): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `No logical volume in ${vg} carries the marks of golden fill ${fillId}.`,
    hint: `Somebody removed it or its tags (lvs -o +tags ${vg}); the fill must begin again.`,
  });
}
