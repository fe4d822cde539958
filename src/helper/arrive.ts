/** A domain has arrived with its bytes: the volume it was set aside for is finished. A guest has it open. */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest } from '../core/helper-protocol.ts';
import { receivingTags, sealTags } from '../core/volume.ts';
import { carriesExactly, stateError } from './fill.ts';
import type { Tools } from './tools.ts';
import { readGroup } from './tools.ts';

type Arrive = Extract<HelperRequest, { verb: 'arrive' }>;

/** Sets the seal, in one commit. Can be repeated. */
export async function arrive(tools: Tools, { vg, seal }: Arrive): Promise<null> {
  const row = (await readGroup(tools, vg)).find(({ lv }) => lv === seal.target);
  if (row === undefined) {
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `There is no logical volume ${vg}/${seal.target}.`,
      hint: `See lvs ${vg}.`,
    });
  }
  const before = receivingTags(seal);
  const after = sealTags(seal);
  if (carriesExactly(row, after)) return null;
  if (!carriesExactly(row, before)) {
    throw stateError(vg, row.lv, 'is not set aside to receive what has arrived');
  }
  // Without copied storage the guest runs on the zeros that were here, and its bytes are where it came from.
  if ((await tools.devices.whyNotEmpty(row)) === undefined) {
    throw stateError(
      vg,
      row.lv,
      'has received nothing: it begins with zeros, and no signature is on it',
      'The domain was migrated without --copy-storage-all: stop it, and start it where it came from, whose volume has what this one lacks.',
    );
  }
  await tools.lvm.swapTags(
    vg,
    row.lv,
    before.filter((tag) => !after.includes(tag)),
    after.filter((tag) => !before.includes(tag)),
  );
  return null;
}
