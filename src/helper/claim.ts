/**
 * Making a sealed volume another domain's. Tools that create and start a domain in one go invent a new UUID
 * at every try: the daemon claims for the second try what was filled for the first, which never started. And what
 * a job has filled becomes a domain's.
 */
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import { sealTags } from '../core/volume/volume.ts';
import { carriesExactly, exchangeTags, findNamed, stateError } from './fill.ts';
import type { Tools } from './tools.ts';
import { readGroup, waitClosed } from './tools.ts';

type Claim = Extract<HelperRequest, { verb: 'claim' }>;

/** Swaps the domain in the seal, in one commit; a job's seal becomes that of a domain. Can be repeated. */
export async function claim(tools: Tools, { vg, seal, domainUuid }: Claim): Promise<null> {
  const row = findNamed(await readGroup(tools, vg), vg, seal.target);
  const before = sealTags(seal);
  const after = sealTags({ ...seal, domainUuid, format: undefined });
  if (carriesExactly(row, after)) return null;
  if (!carriesExactly(row, before))
    throw stateError(vg, row.lv, 'carries another seal than the one to be claimed');
  await waitClosed(tools, vg, row.lv);
  await exchangeTags(tools, row, before, after);
  return null;
}
