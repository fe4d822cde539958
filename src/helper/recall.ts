/**
 * Nobody arrives: the volume that was set aside goes back under its private name, and is then removed like
 * that of any other fill that did not end well. The name goes first, so that no final name ever stands for a
 * volume that is marked as being filled.
 */
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import { fillTags, privateName, readMark, receivingTags } from '../core/volume/volume.ts';
import { carriesExactly, exchangeTags, findFill, stateError } from './fill.ts';
import type { Tools } from './tools.ts';
import { readGroup, waitClosed } from './tools.ts';

type Recall = Extract<HelperRequest, { verb: 'recall' }>;

/** Can be repeated, also when the volume has gone. */
export async function recall(tools: Tools, { vg, fillId }: Recall): Promise<null> {
  const held = findFill(await readGroup(tools, vg), vg, fillId);
  if (held === undefined) return null;
  const mark = readMark(held.tags);
  const name = privateName(fillId);
  if (mark.state === 'filling' && held.lv === name) return null;
  if (mark.state !== 'receiving' || (held.lv !== mark.target && held.lv !== name)) {
    throw stateError(vg, held.lv, 'is not set aside for a domain that arrives');
  }
  const before = receivingTags(mark);
  if (!carriesExactly(held, before))
    throw stateError(vg, held.lv, 'carries other tags of ours beside its marks');
  await waitClosed(tools, vg, held.lv);
  if (held.lv !== name) await tools.lvm.rename(vg, held.lv, name);
  await exchangeTags(tools, { vg, lv: name }, before, fillTags(mark));
  return null;
}
