/**
 * Giving a finished LV its final name. The service user loses the node before the seal is set, so that a
 * sealed volume can be written by nobody; the name comes last.
 *
 * A thin LV gets it while it is inactive, and is activated under it: to rename an active one, LVM suspends the whole
 * pool under all guests, which takes ten times as long. A crash right before the activation leaves an LV that the next
 * boot or the next call activates.
 *
 * An encrypted one is tried with its key while nobody has it open and before it is sealed: what is sealed can be opened.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import type { ReceivingMark, Seal } from '../core/volume/volume.ts';
import { fillTags, finalTags, privateName } from '../core/volume/volume.ts';
import { carriesExactly, exchangeTags, findFill, stateError } from './fill.ts';
import { headerOf, keyWrong } from './luks-keys.ts';
import type { VolumeRow } from './lvm.ts';
import { refuseMapped } from './mapping.ts';
import type { Tools } from './tools.ts';
import { readGroup, readVolume, waitClosed, withdraw } from './tools.ts';

/** Of a volume that somebody asked for; that of a golden one is publishGolden(). */
interface Publish {
  readonly volume: Extract<HelperRequest, { verb: 'publish' }>['volume'];
  readonly seal: Seal | ReceivingMark;
}

/** Without the key of an encrypted volume only one that is sealed already gets its name. */
export async function publish(tools: Tools, request: Publish, key?: Buffer): Promise<null> {
  const { vg, fillId, target } = request.volume;
  const rows = await readGroup(tools, vg);
  const held = findFill(rows, vg, fillId);
  if (held === undefined) throw missing(request);
  const isThin = held.segmentType === 'thin';
  const isNamed = isPublished(request, held);
  let last = held;
  if (!isNamed) {
    refuseUnfit(request, rows, held);
    last = await letGo(tools, request, held, key);
    await seal(tools, request, held);
    await tools.lvm.rename(vg, privateName(fillId), target);
  }
  if (isThin && (!isNamed || !held.active)) await tools.lvm.activate(vg, target);
  // udev has left the owner as it was, and a thick one has the device that it had.
  if (isEncrypted(request) && !isThin) await takeBackRenamed(tools, { ...last, lv: target });
  else await takeBackFinal(tools, { ...held, lv: target });
  return null;
}

/** udev has left the owner as it was, and perhaps the mode of a private volume. An inactive LV has no node. */
async function takeBackFinal(tools: Tools, row: VolumeRow): Promise<void> {
  const isThin = row.segmentType === 'thin';
  if (!isThin) await tools.devices.settle();
  const final = isThin ? await activated(tools, row) : await readVolume(tools, row.vg, row.lv);
  if (final.device !== undefined) await tools.devices.takeBack(final);
}

/** The kernel says sooner than LVM which device it has, where it says so at all. */
async function activated(tools: Tools, row: VolumeRow): Promise<VolumeRow> {
  const device = await tools.devices.numbersOf(row);
  return device === undefined ? readVolume(tools, row.vg, row.lv) : { ...row, active: true, device };
}

/** Only if its node is not where it should be LVM is asked what has become of it. */
async function takeBackRenamed(tools: Tools, row: VolumeRow): Promise<void> {
  if (row.device === undefined) return;
  try {
    await tools.devices.takeBack(row);
  } catch (error) {
    if (!(error instanceof ProvisionError)) throw error;
    await takeBackFinal(tools, row);
  }
}

/** Volume and seal agree, or the request would have been refused. */
function isEncrypted({ seal }: Publish): boolean {
  return seal.encryption !== undefined;
}

/** One that was never formatted, or whose header was overwritten, would give a guest what nobody has encrypted. */
async function refuseOtherHeader(tools: Tools, row: VolumeRow): Promise<number> {
  const { slots } = await headerOf(tools, row);
  const [slot] = slots;
  if (slot !== undefined && slots.length === 1) return slot;
  throw stateError(row.vg, row.lv, `has ${slots.length} keys, and not one`);
}

/** KEY_WRONG if what is about to be sealed could not be opened again. */
async function tryKey(tools: Tools, row: VolumeRow, slot: number, key: Buffer | undefined): Promise<void> {
  if (key === undefined) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `${row.vg}/${row.lv} is encrypted and not sealed yet: it is published with its key alone.`,
    });
  }
  if (!(await tools.luks.opens(row, slot, key))) throw keyWrong(row);
}

function isPublished({ volume, seal }: Publish, held: VolumeRow): boolean {
  return held.lv === volume.target && carriesExactly(held, finalTags(seal));
}

function refuseUnfit({ volume, seal }: Publish, rows: readonly VolumeRow[], held: VolumeRow): void {
  if (!carriesExactly(held, fillTags(volume)) && !carriesExactly(held, finalTags(seal))) {
    throw stateError(volume.vg, held.lv, `carries other marks or another seal than fill ${volume.fillId}`);
  }
  if (held.lv !== privateName(volume.fillId)) {
    throw stateError(volume.vg, held.lv, `carries the marks of fill ${volume.fillId} under its final name`);
  }
  if (rows.some((row) => row.lv === volume.target)) {
    throw stateError(
      volume.vg,
      volume.target,
      `exists, so fill ${volume.fillId} cannot be published under that name`,
      `If ${volume.target} is not needed, delete it in libvirt and try again.`,
    );
  }
}

const SHUT_TRIES_MAX = 5;

/**
 * Nobody has it open, and the service user cannot open it again: a thick one is active then, a thin one is not. A clone
 * that was never activated has been in nobody's hands.
 */
async function letGo(
  tools: Tools,
  request: Publish,
  held: VolumeRow,
  key: Buffer | undefined,
): Promise<VolumeRow> {
  const { vg, lv, active, segmentType } = held;
  const isThin = segmentType === 'thin';
  const isKeyed = isEncrypted(request);
  let row = held;
  if (!isThin || isKeyed) {
    if (!active) await tools.lvm.activate(vg, lv);
    if (isKeyed) await refuseMapped(tools, vg, request.volume.fillId);
    row = await withdraw(tools, held);
    if (isKeyed) {
      const slot = await refuseOtherHeader(tools, row);
      if (!carriesExactly(held, finalTags(request.seal))) await tryKey(tools, row, slot, key);
    }
  }
  if (isThin && (active || isKeyed)) await shut(tools, vg, lv);
  return row;
}

/** Deactivates it: its node is gone, and nobody has it open. Somebody may activate it again meanwhile. */
async function shut(tools: Tools, vg: string, lv: string): Promise<void> {
  for (let tries = 1; tries <= SHUT_TRIES_MAX; tries += 1) {
    if (!(await waitClosed(tools, vg, lv)).active) return;
    await tools.lvm.deactivate(vg, lv);
  }
  throw stateError(vg, lv, 'is activated again and again');
}

/** Marks become the seal. A volume that is set aside has its final name as well: QEMU opens it by that. */
async function seal(tools: Tools, { volume, seal }: Publish, held: VolumeRow): Promise<void> {
  const seals = finalTags(seal);
  const unskip = held.skipsActivation ? 'unskip' : undefined;
  if (carriesExactly(held, seals) && unskip === undefined) return;
  await exchangeTags(tools, held, fillTags(volume), seals, unskip);
}

function missing({ volume }: Publish): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `No logical volume in ${volume.vg} carries the marks of fill ${volume.fillId} for ${volume.target}.`,
    hint: `Somebody removed it or its tags (lvs -o +tags ${volume.vg}); the fill must begin again.`,
  });
}
