/**
 * Removing a finished thin volume. libvirt lists none of them, so that it cannot delete them, and a refresh of a
 * pool on the same group does not look at them.
 */
import type { HelperRequest } from '../core/protocol/helper-protocol.ts';
import { goldenName, goldenTags, retiredName, sealTags } from '../core/volume/volume.ts';
import { carriesExactly, findFill, stateError } from './fill.ts';
import type { Tools } from './tools.ts';
import { readGroup, waitClosed } from './tools.ts';

type Drop = Extract<HelperRequest, { verb: 'drop' }>;

/** Removes the unopened thin LV with exactly that seal, under a name that goes with it. Can be repeated. */
export async function drop(tools: Tools, { vg, seal }: Drop): Promise<null> {
  const held = findFill(await readGroup(tools, vg), vg, seal.fillId);
  if (held === undefined) return null;
  const tags = seal.state === 'golden' ? goldenTags(seal) : sealTags(seal);
  const names = seal.state === 'golden' ? [goldenName(seal.fillId)] : [seal.target, retiredName(seal.fillId)];
  if (!carriesExactly(held, tags) || !names.includes(held.lv)) {
    throw stateError(vg, held.lv, `is not what the seal of fill ${seal.fillId} says, which is to be removed`);
  }
  if (held.segmentType !== 'thin') {
    throw stateError(
      vg,
      held.lv,
      `is of type ${held.segmentType}, and only thin volumes are removed without libvirt`,
      `Delete it through libvirt: virsh vol-delete /dev/${vg}/${held.lv}.`,
    );
  }
  await waitClosed(tools, vg, held.lv);
  await tools.lvm.remove(vg, held.lv, tags);
  return null;
}
