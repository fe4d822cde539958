/**
 * Encrypted private volumes: a header in front, and a mapping to write through. Their own nodes are out of the service
 * user's hands all the time, so that nothing gets on them beside the mapping.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest, HelperResult } from '../core/protocol/helper-protocol.ts';
import { fillTags, mappingName, privateName } from '../core/volume/volume.ts';
import { carriesExactly, findFill, stateError } from './fill.ts';
import { addLuksKey, checkLuks, eraseLuks, headerOf, keepOnlyLuksKey, keyWrong } from './luks-keys.ts';
import type { VolumeRow } from './lvm.ts';
import { closeMapping, findMapping } from './mapping.ts';
import type { Tools } from './tools.ts';
import { readGroup, withdraw } from './tools.ts';

type PrivateVolume = Extract<HelperRequest, { verb: 'formatLuks' }>['volume'];
type Close = Pick<Extract<HelperRequest, { verb: 'closeLuks' }>, 'vg' | 'fillId'>;

export type LuksRequest = Extract<
  HelperRequest,
  {
    verb:
      'formatLuks' | 'openLuks' | 'closeLuks' | 'checkLuks' | 'addLuksKey' | 'keepOnlyLuksKey' | 'eraseLuks';
  }
>;

/** The keys are as many as the request says. */
export function performLuks(tools: Tools, request: LuksRequest, keys: readonly Buffer[]): Promise<unknown> {
  const [key = Buffer.alloc(0), added = Buffer.alloc(0)] = keys;
  switch (request.verb) {
    case 'formatLuks':
      return formatLuks(tools, request.volume, key);
    case 'openLuks':
      return openLuks(tools, request.volume, key);
    case 'closeLuks':
      return closeLuks(tools, request);
    case 'checkLuks':
      return checkLuks(tools, request, key);
    case 'addLuksKey':
      return addLuksKey(tools, request, key, added);
    case 'keepOnlyLuksKey':
      return keepOnlyLuksKey(tools, request, key);
    case 'eraseLuks':
      return eraseLuks(tools, request);
  }
}

/** Can be repeated: each time the volume has another key of its own, and all that was on it is unreadable. */
export async function formatLuks(
  tools: Tools,
  volume: PrivateVolume,
  key: Buffer,
): Promise<HelperResult<'formatLuks'>> {
  const row = await takeHold(tools, volume);
  await tools.luks.format(row, key);
  const { slots } = await headerOf(tools, row);
  if (slots.length === 1 && (await tools.luks.open(row, mappingName(volume.fillId), key)))
    return checkMapping(tools, row, volume.fillId);
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `${row.vg}/${row.lv} has a new LUKS header that its key does not open.`,
    hint: 'Look at the kernel log (dmesg) and at the physical volumes behind the volume group.',
  });
}

export async function openLuks(
  tools: Tools,
  volume: PrivateVolume,
  key: Buffer,
): Promise<HelperResult<'openLuks'>> {
  const row = await takeHold(tools, volume);
  await headerOf(tools, row);
  if (!(await tools.luks.open(row, mappingName(volume.fillId), key))) throw keyWrong(row);
  return checkMapping(tools, row, volume.fillId);
}

async function checkMapping(tools: Tools, row: VolumeRow, fillId: string): Promise<HelperResult<'openLuks'>> {
  const mapping = await findMapping(tools, row.vg, fillId);
  if (mapping?.sizeBytes === row.sizeBytes - tools.luks.headerBytes) return { sizeBytes: mapping.sizeBytes };
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `/dev/mapper/${mappingName(fillId)} has ${mapping?.sizeBytes ?? 0} bytes, and ${row.vg}/${row.lv} has ${row.sizeBytes} with its header.`,
    hint: 'See dmsetup table and what the kernel says: dmesg.',
  });
}

/** Can be repeated, also when the volume has gone. */
export async function closeLuks(tools: Tools, { vg, fillId }: Close): Promise<null> {
  await closeMapping(tools, vg, fillId);
  return null;
}

/** The private LV of this fill, which nobody has open and the service user cannot open. */
async function takeHold(tools: Tools, volume: PrivateVolume): Promise<VolumeRow> {
  const { vg, fillId } = volume;
  const name = privateName(fillId);
  const held = findFill(await readGroup(tools, vg), vg, fillId);
  if (held === undefined) {
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `No logical volume in ${vg} carries the marks of fill ${fillId} for ${volume.target}.`,
      hint: `Somebody removed it or its tags (lvs -o +tags ${vg}); the fill must begin again.`,
    });
  }
  if (held.lv !== name || !carriesExactly(held, fillTags(volume))) {
    throw stateError(
      vg,
      held.lv,
      `is not the private volume of fill ${fillId} that was made to be encrypted`,
    );
  }
  const { headerBytes } = tools.luks;
  if (held.sizeBytes <= headerBytes) {
    throw stateError(vg, name, `has ${held.sizeBytes} bytes, and a LUKS header takes ${headerBytes}`);
  }
  if (!held.active) await tools.lvm.activate(vg, name);
  await closeMapping(tools, vg, fillId);
  return withdraw(tools, held);
}
