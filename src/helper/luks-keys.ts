/**
 * The keys of finished encrypted volumes. At each moment at least one key that somebody knows opens the volume: one is
 * added and tried before another is taken away.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest, HelperResult } from '../core/protocol/helper-protocol.ts';
import { findSealed, stateError } from './fill.ts';
import type { LuksHeader } from './luks-header.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';
import { readGroup, waitClosed } from './tools.ts';

type Check = Pick<Extract<HelperRequest, { verb: 'checkLuks' }>, 'vg' | 'seal'>;
type Change = Pick<Extract<HelperRequest, { verb: 'eraseLuks' }>, 'vg' | 'seal'>;

/** Only reads: a guest may run on it. */
export async function checkLuks(
  tools: Tools,
  { vg, seal }: Check,
  key: Buffer,
): Promise<HelperResult<'checkLuks'>> {
  const row = findSealed(await readGroup(tools, vg), vg, seal);
  if (!row.active) {
    // Passes by itself: a pool that stopped deactivates its LVs, and activates them when it is started.
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `${row.vg}/${row.lv} is not active, so its header cannot be read.`,
      hint: 'Start its pool: virsh pool-list --all shows which has stopped.',
    });
  }
  const { slots } = await headerOf(tools, row);
  if ((await slotOf(tools, row, slots, key)) === undefined) throw keyWrong(row);
  return { keys: slots.length };
}

/** Can be repeated. */
export async function addLuksKey(tools: Tools, request: Change, key: Buffer, added: Buffer): Promise<null> {
  const row = await findUnopened(tools, request);
  const { slots } = await headerOf(tools, row);
  if ((await slotOf(tools, row, slots, key)) === undefined) throw keyWrong(row);
  if ((await slotOf(tools, row, slots, added)) !== undefined) return null;
  await tools.luks.addKey(row, key, added);
  const now = await headerOf(tools, row);
  if ((await slotOf(tools, row, now.slots, added)) !== undefined) return null;
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `The key that was added to ${row.vg}/${row.lv} does not open it; the one before still does.`,
    hint: 'Look at the kernel log (dmesg) and at the physical volumes behind the volume group.',
  });
}

/** Can be repeated. */
export async function keepOnlyLuksKey(tools: Tools, request: Change, key: Buffer): Promise<null> {
  const row = await findUnopened(tools, request);
  const { slots } = await headerOf(tools, row);
  const kept = await slotOf(tools, row, slots, key);
  if (kept === undefined) throw keyWrong(row);
  for (const slot of slots) if (slot !== kept) await tools.luks.killSlot(row, slot, key);
  return null;
}

/**
 * Can be repeated. What remains is ciphertext whose key stood in the header alone; whoever has a copy of that header and
 * one of its keys still reads it, and a disk that remaps its sectors may keep such a copy. VOLUME_STATE and VOLUME_MISSING
 * say that nothing was changed, any other error that it may have been.
 */
export async function eraseLuks(tools: Tools, request: Change): Promise<null> {
  const row = await findUnopened(tools, request);
  await headerOf(tools, row);
  await tools.luks.erase(row);
  const header = await tools.luks.header(row);
  if (typeof header === 'string') throw eraseFailed(row, `its header is not one any more: ${header}`);
  if (header.slots.length > 0) throw eraseFailed(row, `it still has ${header.slots.length} keys`);
  const now = (await readGroup(tools, row.vg)).find(({ lv }) => lv === row.lv);
  if (now === undefined) throw eraseFailed(row, 'it is not there any more');
  if (!now.open) return null;
  throw eraseFailed(
    row,
    'somebody has opened it meanwhile, perhaps with a key read before',
    'Stop its guest (virsh destroy), or whoever has it open, which forgets the key; then run the same command again.',
  );
}

function eraseFailed({ vg, lv }: VolumeRow, why: string, hint?: string): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${vg}/${lv} was erased, and ${why}.`,
    hint: hint ?? 'Look at the kernel log (dmesg) and at the physical volumes behind the volume group.',
  });
}

async function findUnopened(tools: Tools, { vg, seal }: Change): Promise<VolumeRow> {
  const held = findSealed(await readGroup(tools, vg), vg, seal);
  if (!held.active) await tools.lvm.activate(held.vg, held.lv);
  return waitClosed(tools, held.vg, held.lv);
}

async function slotOf(
  tools: Tools,
  row: VolumeRow,
  slots: readonly number[],
  key: Buffer,
): Promise<number | undefined> {
  for (const slot of slots) if (await tools.luks.opens(row, slot, key)) return slot;
  return undefined;
}

export function keyWrong({ vg, lv }: Pick<VolumeRow, 'vg' | 'lv'>): ProvisionError {
  return new ProvisionError({
    code: 'KEY_WRONG',
    message: `The key does not open the encrypted volume ${vg}/${lv}.`,
    hint: 'It is another one than the volume was made or last rotated with: see which key its annotation names.',
  });
}

/** VOLUME_STATE if what is in front of the LV is no header of ours. */
export async function headerOf(tools: Tools, row: VolumeRow): Promise<LuksHeader> {
  const header = await tools.luks.header(row);
  if (typeof header !== 'string') return header;
  throw stateError(row.vg, row.lv, `is not encrypted as it should be: ${header}`);
}
