/** Checks of owners and modes, and their repair. */
import type { Check, Verdict } from './check.ts';
import { CannotTell, configOf, fail, ifThere, octal, ok } from './check.ts';
import type { FileFacts, Host, HostFacts, Rights } from './host.ts';
import { USER } from './names.ts';
import { account } from './settings.ts';

export interface WantedRights {
  readonly paths: (host: HostFacts) => Promise<readonly string[]> | readonly string[];
  readonly kind: 'file' | 'folder';
  /** Bits that may be set. */
  readonly modeMax: number;
  readonly owners: readonly ('root' | 'service')[];
  /** The group, where its bits may be set. */
  readonly group?: 'service';
  /** Set on repair; else the owner is for a person to see to. */
  readonly ownerOnRepair?: 'root' | 'service';
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

async function serviceIds(host: HostFacts): Promise<Ids> {
  const user = await account(host, '/etc/passwd', USER);
  const group = await account(host, '/etc/group', USER);
  if (user !== undefined && group !== undefined) return { uid: user.id, gid: group.id };
  throw new CannotTell(`there is no user or group ${USER}`);
}

interface Mistake {
  readonly text: string;
  readonly repairable: boolean;
}

function mistakesOf(path: string, found: FileFacts, wanted: WantedRights, ids: Ids): readonly Mistake[] {
  if (found.kind !== wanted.kind) return [{ text: `${path} is no ${wanted.kind}`, repairable: false }];
  const owners = wanted.owners.map((owner) => (owner === 'root' ? 0 : ids.uid));
  const extra = found.mode & ~wanted.modeMax;
  const isGroupOpen = wanted.group !== undefined && (found.mode & 0o070) !== 0;
  const mode = `${path} has mode ${octal(found.mode)}, allowed is ${octal(wanted.modeMax)}`;
  const owner = `${path} belongs to user ${found.uid}, not to ${wanted.owners.join(' or ')}`;
  const group = `${path} belongs to group ${found.gid}, not to ${USER}`;
  return [
    ...(extra === 0 ? [] : [{ text: mode, repairable: true }]),
    ...(owners.includes(found.uid) ? [] : [{ text: owner, repairable: wanted.ownerOnRepair !== undefined }]),
    ...(isGroupOpen && ![0, ids.gid].includes(found.gid) ? [{ text: group, repairable: true }] : []),
  ];
}

/** Looks at all paths; one that is not there is none of this check's business. */
async function lookAtRights(host: HostFacts, wanted: WantedRights): Promise<Verdict> {
  const paths = await wanted.paths(host);
  const ids = await serviceIds(host);
  const found: { path: string; facts: FileFacts }[] = [];
  for (const path of paths) {
    const facts = ifThere(await host.stat(path), path);
    if (facts !== undefined) found.push({ path, facts });
  }
  if (found.length === 0) throw new CannotTell(`there is no ${paths.join(', ')}`);
  const mistakes = found.flatMap(({ path, facts }) => mistakesOf(path, facts, wanted, ids));
  if (mistakes.length === 0)
    return ok(found.map(({ path, facts }) => `${path} ${octal(facts.mode)}`).join(', '));
  return fail(mistakes.map(({ text }) => text).join('; '), {
    repairable: mistakes.some(({ repairable }) => repairable),
  });
}

async function repairRights(host: Host, wanted: WantedRights): Promise<string> {
  const ids = await serviceIds(host);
  const done: string[] = [];
  for (const path of await wanted.paths(host)) {
    const facts = ifThere(await host.stat(path), path);
    if (facts === undefined) continue;
    if (!mistakesOf(path, facts, wanted, ids).some(({ repairable }) => repairable)) continue;
    const owners = wanted.owners.map((owner) => (owner === 'root' ? 0 : ids.uid));
    const rights: Rights = {
      mode: facts.mode & wanted.modeMax,
      // One that is allowed stays: the service may need to read it.
      ...(wanted.ownerOnRepair === undefined || owners.includes(facts.uid)
        ? {}
        : { uid: wanted.ownerOnRepair === 'root' ? 0 : ids.uid }),
      ...(wanted.group === undefined ? {} : { gid: ids.gid }),
    };
    await host.setRights(path, rights);
    const owner = rights.uid === undefined ? '' : `, owner ${facts.uid} became ${rights.uid}`;
    done.push(`${path}: mode ${octal(facts.mode)} became ${octal(facts.mode & wanted.modeMax)}${owner}`);
  }
  return done.join('; ');
}

/** A check of rights with its repair. */
export function rightsCheck(
  about: Pick<Check, 'id' | 'title' | 'why' | 'source' | 'fix'>,
  wanted: WantedRights,
): Check {
  return {
    ...about,
    look: (host) => lookAtRights(host, wanted),
    repair: (host) => repairRights(host, wanted),
  };
}

/** Below the folder of the ledger, wherever the configuration puts it. */
export async function stateFolder(host: HostFacts): Promise<string> {
  return (await configOf(host)).stateDir;
}
