/** A domain has arrived with its bytes: the volume it was set aside for is finished. A guest has it open. */
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import { receivingTags, sealTags } from '../core/volume/volume.ts';
import { carriesExactly, exchangeTags, findNamed, stateError } from './fill.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';
import { readGroup } from './tools.ts';

type Arrive = Extract<HelperRequest, { verb: 'arrive' }>;

/** Sets the seal, in one commit. Can be repeated. */
export async function arrive(tools: Tools, { vg, seal }: Arrive): Promise<null> {
  const row = findNamed(await readGroup(tools, vg), vg, seal.target);
  const before = receivingTags(seal);
  const after = sealTags(seal);
  if (carriesExactly(row, after)) return null;
  if (!carriesExactly(row, before)) {
    throw stateError(vg, row.lv, 'is not set aside to receive what has arrived');
  }
  // Without copied storage the guest runs on the zeros that were here, and its bytes are where it came from.
  if (await hasReceivedNothing(tools, row, seal)) {
    throw stateError(
      vg,
      row.lv,
      'has received nothing: what the guest sees begins as it was made here, and no signature is on it',
      'The domain was migrated without --copy-storage-all: stop it, and start it where it came from, whose volume has what this one lacks.',
    );
  }
  await exchangeTags(tools, row, before, after);
  return null;
}

/** An encrypted one has the header from here; what has been written behind it is never zero. */
async function hasReceivedNothing(
  { devices, luks }: Tools,
  row: VolumeRow,
  { encryption }: Arrive['seal'],
): Promise<boolean> {
  if (encryption !== undefined) return luks.isPayloadBlank(row);
  return (await devices.whyNotEmpty(row)) === undefined;
}
