import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import { ADOPTING_TAG, fillTags, privateName, readMark } from '../core/volume/volume.ts';
import { undoAdoption } from './adopt.ts';
import { carriesExactly, findFill, stateError } from './fill.ts';
import { closeMapping } from './mapping.ts';
import type { Tools } from './tools.ts';
import { readGroup, waitClosed } from './tools.ts';

type Discard = Pick<Extract<HelperRequest, { verb: 'discard' }>, 'vg' | 'fillId'>;

/** Removes the private LV of a fill; an LV that it was only about to take over is given back instead. */
export async function discard(tools: Tools, { vg, fillId }: Discard): Promise<null> {
  const held = findFill(await readGroup(tools, vg), vg, fillId);
  if (held === undefined) return null;
  const mark = readMark(held.tags);
  if (mark.state !== 'filling') {
    throw stateError(vg, held.lv, 'holds a finished volume', 'Publish it, or delete it through libvirt.');
  }
  if (held.tags.includes(ADOPTING_TAG)) {
    await undoAdoption(tools, held);
    return null;
  }
  if (held.lv !== privateName(fillId) || !carriesExactly(held, fillTags(mark))) {
    throw stateError(vg, held.lv, `is not the private volume of fill ${fillId}`);
  }
  if (mark.encryption !== undefined) await closeMapping(tools, vg, fillId);
  await waitClosed(tools, vg, held.lv);
  await tools.lvm.remove(vg, held.lv, fillTags(mark));
  return null;
}
