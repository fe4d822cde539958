/** A domain has arrived with its bytes: the volume it was set aside for is finished. A guest has it open. */
import type { HelperRequest } from '../core/helper-protocol.ts';
import { receivingTags, sealTags } from '../core/volume.ts';
import { carriesExactly, exchangeTags, findNamed, stateError } from './fill.ts';
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
  if ((await tools.devices.whyNotEmpty(row)) === undefined) {
    throw stateError(
      vg,
      row.lv,
      'has received nothing: it begins with zeros, and no signature is on it',
      'The domain was migrated without --copy-storage-all: stop it, and start it where it came from, whose volume has what this one lacks.',
    );
  }
  await exchangeTags(tools, row, before, after);
  return null;
}
