/** From a line to an answer. */
import { z } from 'zod';
import { ProvisionError, toProblem } from '../core/errors.ts';
import { HelperRequest } from '../core/helper-protocol.ts';
import { isJob } from '../core/owner.ts';
import { adopt } from './adopt.ts';
import { arrive } from './arrive.ts';
import { claim } from './claim.ts';
import { clone } from './clone.ts';
import { create } from './create.ts';
import { discard } from './discard.ts';
import { drop } from './drop.ts';
import { examine } from './examine.ts';
import type { Groups, ThinPools } from './groups.ts';
import { list } from './list.ts';
import { publish } from './publish.ts';
import { publishGolden } from './publish-golden.ts';
import { recall } from './recall.ts';
import { restore, retire } from './retire.ts';
import type { Tools } from './tools.ts';

/** Answers one request line. Never fails: what went wrong is the answer. */
export async function answer(line: string, tools: Tools, readGroups: () => Promise<Groups>): Promise<string> {
  try {
    const request = parseRequest(line);
    return JSON.stringify({ ok: true, result: await perform(request, tools, await readGroups()) });
  } catch (error) {
    return JSON.stringify({ ok: false, problem: toProblem(error) });
  }
}

function parseRequest(line: string): HelperRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new ProvisionError({ code: 'USAGE', message: 'The request is not a line of JSON.', cause });
  }
  const request = HelperRequest.safeParse(value);
  if (request.success) return request.data;
  const what = z.prettifyError(request.error).replaceAll('\n', ' ').slice(0, 1000);
  throw new ProvisionError({
    code: 'USAGE',
    message: `The request is refused: ${what}`,
    cause: request.error,
  });
}

async function perform(request: HelperRequest, tools: Tools, groups: Groups): Promise<unknown> {
  if (request.verb === 'list') return list(tools, groups);
  const { own, verified, shared, thinPools } = groups;
  const vg = 'volume' in request ? request.volume.vg : request.vg;
  if (verified.includes(vg)) {
    throw new ProvisionError({
      code: 'POOL_UNSUITABLE',
      message: `The volume group ${vg} is another host's to fill: here its volumes are only verified.`,
      hint: 'It stands in shared_volume_groups and not in volume_groups. Have the volume filled where it is in both.',
    });
  }
  if (!own.includes(vg)) {
    throw new ProvisionError({
      code: 'POOL_UNSUITABLE',
      message: `The volume group ${vg} is not one of those configured: ${own.join(', ')}.`,
      hint: 'Add it to volume_groups in /etc/libvirt-volume-provisioner/config.yaml if volumes in it may be provisioned.',
    });
  }
  if (shared.includes(vg) && isOnlyForOneHost(request)) {
    throw new ProvisionError({
      code: 'POOL_UNSUITABLE',
      message: `Other hosts see the volume group ${vg} as well: a volume that was there before is neither taken over nor replaced, and none is set aside in it.`,
      hint: 'Whether a guest on another host has it open cannot be seen here. If its content is not needed, delete it (virsh vol-delete), then lvp retry.',
    });
  }
  switch (request.verb) {
    case 'examine':
      return examine(tools, request.vg, request.lv);
    case 'create':
      return create(tools, request, thinPools);
    case 'clone':
      return clone(tools, request, thinPools);
    case 'adopt':
      return adopt(tools, request.volume);
    case 'publish':
      return publishAs(tools, request, thinPools);
    case 'claim':
      return claim(tools, request);
    case 'retire':
      return retire(tools, request);
    case 'restore':
      return restore(tools, request);
    case 'arrive':
      return arrive(tools, request);
    case 'recall':
      return recall(tools, request);
    case 'discard':
      return discard(tools, request);
    case 'drop':
      return drop(tools, request);
  }
}

function publishAs(
  tools: Tools,
  { volume, seal }: Extract<HelperRequest, { verb: 'publish' }>,
  thinPools: ThinPools,
): Promise<null> {
  if (seal.state === 'golden') return publishGolden(tools, volume, seal, thinPools);
  return publish(tools, { volume, seal });
}

/** What rests on nobody having the volume open, which can be seen on one host alone. */
function isOnlyForOneHost(request: HelperRequest): boolean {
  if (request.verb === 'publish') return request.seal.state === 'receiving';
  if (request.verb === 'claim') return isJob(request.seal.domainUuid);
  return request.verb === 'adopt' || request.verb === 'retire';
}
