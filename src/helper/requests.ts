/** From a line to an answer. */
import { z } from 'zod';
import { ProvisionError, toProblem } from '../core/errors.ts';
import { isKeyShaped } from '../core/key/key-reference.ts';
import { isJob } from '../core/owner.ts';
import { HelperRequest, keyLengthsIn } from '../core/protocol/helper-protocol.ts';
import { adopt } from './adopt.ts';
import { arrive } from './arrive.ts';
import { claim } from './claim.ts';
import { clone } from './clone.ts';
import { create } from './create.ts';
import { discard } from './discard.ts';
import { drop } from './drop.ts';
import { examine } from './examine.ts';
import type { Groups, ThinPools } from './groups.ts';
import { readKey } from './key-files.ts';
import { list } from './list.ts';
import { performLuks } from './luks.ts';
import { publishGolden } from './publish-golden.ts';
import { publish } from './publish.ts';
import { recall } from './recall.ts';
import { restore, retire } from './retire.ts';
import type { Tools } from './tools.ts';

/** What goes back: a line, and behind it, where its result says so, a key. */
export interface Reply {
  readonly line: string;
  readonly key?: Buffer | undefined;
}

/** Answers one request line and the keys that followed it. Never fails: what went wrong is the answer. */
export async function answer(
  line: string,
  tools: Tools,
  readGroups: () => Promise<Groups>,
  keys: readonly Buffer[] = [],
): Promise<Reply> {
  try {
    const request = parseRequest(line);
    if (request.verb === 'readKey') {
      const key = await readKey(tools, request.name);
      return { line: done({ keyLength: key.length }), key };
    }
    refuseOtherKeys(request, keys);
    return { line: done(await perform(request, tools, await readGroups(), keys)) };
  } catch (error) {
    return { line: JSON.stringify({ ok: false, problem: toProblem(error) }) };
  }
}

function done(result: unknown): string {
  return JSON.stringify({ ok: true, result });
}

/** Whoever reads the socket has cut them off by what the line says; they are checked where they are used as well. */
function refuseOtherKeys(request: HelperRequest, keys: readonly Buffer[]): void {
  const lengths = keyLengthsIn(request);
  if (lengths.length === keys.length && keys.every((key, index) => key.length === lengths[index])) {
    if (keys.every(isKeyShaped)) return;
    throw new ProvisionError({
      code: 'KEY_UNUSABLE',
      message: 'A key must be of visible ASCII characters and of nothing else.',
      hint: 'Make another one: lvp key create.',
    });
  }
  throw new ProvisionError({
    code: 'USAGE',
    message: 'The request came with other keys than it says.',
  });
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

type GroupRequest = Exclude<HelperRequest, { verb: 'readKey' }>;

async function perform(
  request: GroupRequest,
  tools: Tools,
  groups: Groups,
  keys: readonly Buffer[],
): Promise<unknown> {
  if (request.verb === 'list') return list(tools, groups);
  refuseGroup(request, groups);
  const { thinPools } = groups;
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
      return publishAs(tools, request, thinPools, keys);
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
    case 'formatLuks':
    case 'openLuks':
    case 'closeLuks':
    case 'checkLuks':
    case 'addLuksKey':
    case 'keepOnlyLuksKey':
    case 'eraseLuks':
      return performLuks(tools, request, keys);
  }
}

/** Only what the configuration names, and in it only what does not rest on what other hosts do. */
function refuseGroup(request: Exclude<GroupRequest, { verb: 'list' }>, groups: Groups): void {
  const { own, verified, shared } = groups;
  const vg = 'volume' in request ? request.volume.vg : request.vg;
  if (verified.includes(vg)) {
    // Whether a key opens what another host has filled is verified here too.
    if (request.verb === 'checkLuks') return;
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
}

function publishAs(
  tools: Tools,
  { volume, seal }: Extract<HelperRequest, { verb: 'publish' }>,
  thinPools: ThinPools,
  [key]: readonly Buffer[],
): Promise<null> {
  if (seal.state === 'golden') return publishGolden(tools, volume, seal, thinPools);
  return publish(tools, { volume, seal }, key);
}

/** What rests on nobody having the volume open, which can be seen on one host alone. */
function isOnlyForOneHost(request: GroupRequest): boolean {
  if (request.verb === 'publish') return request.seal.state === 'receiving';
  if (request.verb === 'claim') return isJob(request.seal.domainUuid);
  return ['adopt', 'retire', 'eraseLuks'].includes(request.verb);
}
