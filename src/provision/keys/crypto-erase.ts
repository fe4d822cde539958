/**
 * `lvp incident crypto-erase`: the header of an encrypted volume is destroyed, and with it what its keys open. That it
 * is to be so is written down first: whatever cuts it off, no guest is started on the volume again.
 */
import type { CryptoEraseRequest, CryptoEraseResult } from '../../core/protocol/key-protocol.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import type { ErrorCode } from '../../core/errors.ts';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import { keyStateProblem } from '../../core/key/key-change.ts';
import { whoOfOwner } from '../../core/owner.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { LogicalVolume, Seal } from '../../core/volume/volume.ts';
import { readMark, retiredName } from '../../core/volume/volume.ts';
import { requireAnnotated } from '../domains/annotated-disk.ts';
import type { ObserveNeeds } from '../observe.ts';
import { observe } from '../observe.ts';
import type { AuditTrail } from '../ports/audit.ts';
import type { Log } from '../ports/host.ts';
import type { Domains } from '../ports/libvirt.ts';
import type { LuksVolumes } from '../ports/volumes.ts';
import type { Reconciler } from '../reconcile.ts';
import { recorded } from '../audit/recorded.ts';

export interface EraseNeeds extends ObserveNeeds {
  readonly luks: LuksVolumes;
  readonly domains: Domains;
  readonly reconciler: Pick<Reconciler, 'request' | 'starting'>;
  readonly changingKeys: Set<string>;
  /** Volume groups that other hosts see too. */
  readonly sharedGroups: ReadonlySet<string>;
  readonly trail: AuditTrail;
  readonly log: Log;
}

interface Doomed {
  readonly volume: LogicalVolume;
  readonly seal: Seal;
}

/** Works while the host is frozen, too: that is when it is wanted. Can be repeated. */
export async function cryptoErase(
  needs: EraseNeeds,
  request: CryptoEraseRequest,
): Promise<CryptoEraseResult> {
  const { name, find } = await whereIs(needs, request);
  if (request.dryRun !== true && request.confirm !== name) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `Making volume ${name} unreadable has to be confirmed with exactly "${name}".`,
      hint: `There is no way back: lvp incident crypto-erase ${name} --confirm ${name}`,
    });
  }
  const doomed = find();
  if (request.dryRun !== true) await erase(needs, doomed);
  const { volume, seal } = doomed;
  const known = needs.ledger.domainOf(seal.domainUuid)?.domain.name;
  return {
    ...{ volume: volumeKey(volume), sizeBytes: volume.sizeBytes, domain: seal.domainUuid },
    holds: { image: seal.image, sha256: seal.sha256, generation: seal.generation },
    ...(known === undefined ? {} : { name: known }),
    applied: request.dryRun !== true,
  };
}

/** Which volume is meant; what `find` says rests on the same reading, and has to be acted on at once. */
async function whereIs(
  needs: EraseNeeds,
  { volume, domain: nameOrUuid, target }: CryptoEraseRequest,
): Promise<{ readonly name: string; readonly find: () => Doomed }> {
  if (volume !== undefined && nameOrUuid === undefined && target === undefined) {
    const { volumes } = await observe(needs, []);
    return { name: volume, find: () => doomedAt(needs, volumes, volume) };
  }
  if (volume !== undefined || nameOrUuid === undefined || target === undefined) {
    throw new ProvisionError({
      code: 'USAGE',
      message: 'Either a volume has to be named (VG/LV), or a domain and one of its disks.',
    });
  }
  const found = await needs.domains.find(nameOrUuid);
  if (found === undefined) {
    throw new ProvisionError({
      code: 'DOMAIN_NOT_FOUND',
      message: `libvirt knows no domain ${nameOrUuid}.`,
      hint: 'If it was undefined name its volume: lvp incident crypto-erase VG/LV',
    });
  }
  const domain = parseDomainXml(found.xml);
  requireAnnotated(domain, target);
  const observation = await observe(needs, [domain]);
  const planned = observation.plan(domain);
  const disk = planned.disks.find((one) => one.request.target === target);
  if (disk === undefined) {
    const problem = planned.problems.at(-1);
    throw new ProvisionError(
      problem ?? { code: 'DISK_UNSUITABLE', message: `Disk ${target} has no volume.` },
    );
  }
  const name = volumeKey(disk.location);
  return { name, find: () => ofDomain(doomedAt(needs, observation.volumes, name), domain.uuid, name) };
}

function ofDomain(doomed: Doomed, uuid: string, name: string): Doomed {
  if (doomed.seal.domainUuid === uuid) return doomed;
  throw new ProvisionError({
    code: 'VOLUME_OF_OTHER_DOMAIN',
    message: `Volume ${name} was published for ${doomed.seal.domainUuid}.`,
    hint: `If it is meant all the same name it: lvp incident crypto-erase ${name}`,
  });
}

function doomedAt(needs: EraseNeeds, volumes: readonly LogicalVolume[], name: string): Doomed {
  const volume = volumes.find((one) => volumeKey(one) === name);
  if (volume === undefined) {
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `There is no volume ${name} in the volume groups of this program.`,
    });
  }
  const seal = readMark(volume.tags);
  // What was put aside to be made again has its seal, and its keys, under a name of its own.
  const isNamed = seal.state === 'ready' && [seal.target, retiredName(seal.fillId)].includes(volume.lv);
  if (seal.state !== 'ready' || !isNamed) {
    throw refused(
      name,
      'it is not one that this program has published',
      'See lvp list, and lvs -o +lv_tags.',
    );
  }
  if (seal.encryption === undefined) {
    throw refused(name, 'it is not encrypted', 'What it holds has to be overwritten: virsh vol-wipe.');
  }
  // Before anything is written down: the helper would refuse it, and no start be let through for nothing.
  if (needs.sharedGroups.has(volume.vg)) {
    const why = `other hosts see ${volume.vg} too, and whether a guest there has it open cannot be seen here`;
    throw refused(name, why, `Stop its guests on all hosts, then by hand: cryptsetup erase /dev/${name}`);
  }
  if (needs.fills.running.has(seal.fillId)) {
    throw refused(name, 'it is just being published', 'Try again in a moment.');
  }
  if (needs.reconciler.starting.has(seal.domainUuid)) {
    const hint = 'Stop its guest (virsh destroy); if it does not run in half a minute, try again then.';
    throw refused(name, 'a start of its domain was let through a moment ago', hint);
  }
  if (needs.changingKeys.has(seal.fillId)) {
    const problem = keyStateProblem('changing', name);
    if (problem !== undefined) throw new ProvisionError(problem);
  }
  if (volume.open) {
    const hint = `Stop the guest first (virsh destroy); see who else has it with lsof /dev/${name} and dmsetup ls --tree.`;
    throw refused(name, 'it is open', hint);
  }
  return { volume, seal };
}

async function erase(needs: EraseNeeds, { volume, seal }: Doomed): Promise<void> {
  const { ledger, clock, changingKeys, luks, trail, log } = needs;
  const { fillId, domainUuid } = seal;
  const name = volumeKey(volume);
  const write = (step: 'erasing' | 'done'): void => {
    ledger.putKeyChange({ what: 'erase', step, fillId, volume: name, atMs: clock.nowMs() });
  };
  const about = { who: whoOfOwner(domainUuid), what: 'crypto-erase', volume: name, domain: domainUuid };
  const before = ledger.keyChangeOf(fillId);
  changingKeys.add(fillId);
  try {
    write('erasing');
    await recorded(trail, { ...about, correlationId: fillId }, () => luks.eraseLuks(volume.vg, seal));
    write('done');
    log.warn({ volume: name, domain: domainUuid }, 'an encrypted volume was made unreadable for ever');
  } catch (error) {
    if (NOTHING_CHANGED.has(toProblem(error).code)) {
      if (before === undefined) ledger.removeKeyChange(fillId);
      else ledger.putKeyChange(before);
    }
    throw error;
  } finally {
    changingKeys.delete(fillId);
    needs.reconciler.request(domainUuid);
  }
}

/** What the helper says before it changes anything, and of nothing else. */
const NOTHING_CHANGED: ReadonlySet<ErrorCode> = new Set([
  'VOLUME_STATE',
  'VOLUME_MISSING',
  'POOL_UNSUITABLE',
]);

function refused(name: string, why: string, hint: string): ProvisionError {
  const message = `Volume ${name} cannot be made unreadable: ${why}.`;
  return new ProvisionError({ code: 'VOLUME_STATE', message, hint });
}
