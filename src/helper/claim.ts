/**
 * Making a sealed volume another domain's. Tools that create and start a domain in one go invent a new UUID
 * at every try: the daemon claims for the second try what was filled for the first, which never started.
 */
import { ProvisionError } from '../core/errors.ts';
import type { HelperRequest } from '../core/helper-protocol.ts';
import { sealTags } from '../core/volume.ts';
import { carriesExactly, stateError } from './fill.ts';
import type { Tools } from './tools.ts';
import { readGroup, waitClosed } from './tools.ts';

type Claim = Extract<HelperRequest, { verb: 'claim' }>;

/** Swaps the domain in the seal, in one commit. Can be repeated. */
export async function claim(tools: Tools, { vg, seal, domainUuid }: Claim): Promise<null> {
  const row = (await readGroup(tools, vg)).find(({ lv }) => lv === seal.target);
  if (row === undefined) {
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `There is no logical volume ${vg}/${seal.target}.`,
      hint: `See lvs ${vg}.`,
    });
  }
  const before = sealTags(seal);
  const after = sealTags({ ...seal, domainUuid });
  if (carriesExactly(row, after)) return null;
  if (!carriesExactly(row, before))
    throw stateError(vg, row.lv, 'carries another seal than the one to be claimed');
  await waitClosed(tools, vg, row.lv);
  await tools.lvm.swapTags(
    vg,
    row.lv,
    before.filter((tag) => !after.includes(tag)),
    after.filter((tag) => !before.includes(tag)),
  );
  return null;
}
