/**
 * `lvp reprovision`: the only way in which a published volume is made again, and it is not written to even then.
 * It is put aside under a name of ours, a new one is filled and published in its place, and only then is it
 * removed; whatever comes between, it gets its name back (core/plan/retired.ts, settle-retired.ts).
 */
import { randomBytes } from 'node:crypto';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { DiskPlan, Plan } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import { asidesOf } from '../../core/plan/retired.ts';
import type { ReprovisionRequest, ReprovisionResult } from '../../core/protocol/control-protocol.ts';
import type { Domain } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import { deleteCommand } from '../../core/volume/delete-command.ts';
import type { LogicalVolume, Seal } from '../../core/volume/volume.ts';
import { readMark } from '../../core/volume/volume.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import { MAY_STILL_ARRIVE } from '../arrivals/incoming.ts';
import { requireAnnotated } from '../domains/annotated-disk.ts';
import type { Observation } from '../observe.ts';
import { observe } from '../observe.ts';
import type { FillRecord } from '../ports/ledger.ts';
import type { LibvirtDomain } from '../ports/libvirt.ts';
import type { ReconcileNeeds, Reconciler } from '../reconcile.ts';
import { settleRetired } from './settle-retired.ts';

export interface ReprovisionNeeds extends ReconcileNeeds {
  readonly reconciler: Reconciler;
  /** Fills whose predecessors are just being put aside. */
  readonly retiring: Set<string>;
  /** Volume groups that other hosts see too. */
  readonly sharedGroups: ReadonlySet<string>;
}

/** A published volume that may be made again. */
interface Candidate {
  readonly domain: Domain;
  readonly disk: DiskPlan;
  readonly volume: LogicalVolume;
  readonly seal: Seal;
}

/**
 * Says what would be lost; and, unless it is a dry run, begins. Once it resolves the volume is aside and its
 * successor is queued; if it rejects, nothing is under way.
 */
export async function reprovision(
  needs: ReprovisionNeeds,
  found: LibvirtDomain & { readonly lookedAtMs: number },
  request: ReprovisionRequest,
): Promise<ReprovisionResult> {
  const { target, dryRun = false } = request;
  const domain = parseDomainXml(found.xml);
  requireAnnotated(domain, target);
  const confirm = `${domain.name}/${target}`;
  if (!dryRun && request.confirm !== confirm) {
    throw new ProvisionError({
      code: 'USAGE',
      message: `Making the content of ${confirm} again has to be confirmed with exactly "${confirm}".`,
      hint: 'What the volume holds is lost by it: lvp reprovision VM DISK --confirm VM/DISK, with the name of the domain.',
    });
  }
  if (found.active) {
    throw refused(domain, target, 'the domain is running', `virsh shutdown ${domain.name}, and then again.`);
  }
  if (await needs.domains.hasManagedSave(found.uuid)) {
    const hint = `Start it and shut it down, or give the memory up: virsh managedsave-remove ${domain.name}`;
    throw refused(domain, target, 'its memory is saved, and would meet a disk that it does not know', hint);
  }
  const observation = await observe(needs, [domain]);
  // From here to the writing of the intent nothing is waited for.
  if (needs.reconciler.starting.hasSince(found.uuid, found.lookedAtMs)) {
    // Even if it has its volumes open no more: its memory may be saved.
    const hint = `Look at it with virsh domstate ${domain.name}, and try again.`;
    throw refused(domain, target, 'its start was let through meanwhile', hint);
  }
  const candidate = chooseVolume(needs, observation.plan(domain), observation.volumes, target);
  requireSpace(needs, observation, candidate);
  if (!dryRun) await begin(needs, candidate);
  return resultOf(candidate, confirm);
}

/** The disk's volume, if it is sealed for exactly this domain, unused, and nothing is under way about it. */
function chooseVolume(
  needs: ReprovisionNeeds,
  planned: Plan,
  volumes: readonly LogicalVolume[],
  target: string,
): Candidate {
  const { domain, problems } = planned;
  const disk = planned.disks.find(({ request }) => request.target === target);
  const [problem] = problems;
  if (disk === undefined || problem !== undefined) {
    throw new ProvisionError(
      problem ?? { code: 'DISK_UNSUITABLE', message: `Disk ${target} has no volume.` },
    );
  }
  // What it holds stays, but nothing else may come in its place.
  if (disk.policy?.allowed === false) throw new ProvisionError(disk.policy.problem);
  // It is not open here, and nobody here can tell whether it is elsewhere.
  if (needs.sharedGroups.has(disk.location.vg)) {
    const what = `other hosts see ${disk.location.vg} too, and a guest may run on it there`;
    const hint = `When no host has the domain running, delete the volume (${deleteCommand(disk.location)}), then lvp retry ${domain.name} ${target}.`;
    throw refused(domain, target, what, hint);
  }
  const [aside] = asidesOf(volumes, disk.location);
  if (aside !== undefined) {
    const what = `${volumeKey(aside.volume)}, which it held before, is still there`;
    throw refused(domain, target, what, 'Look at it with lvs, and remove it if it is not needed.');
  }
  const volume = volumes.find((one) => volumeKey(one) === volumeKey(disk.location));
  const seal = volume && readMark(volume.tags);
  // Of all that can be said of a sealed volume only another generation may be in the way of its domain's start.
  const isOwn =
    disk.action === 'none' || (disk.action === 'refuse' && disk.problem.code === 'VOLUME_GENERATION');
  if (!isOwn || volume === undefined || seal?.state !== 'ready' || seal.domainUuid !== domain.uuid) {
    const hint = `See lvp explain ${domain.name}; what is not published is filled by itself or by lvp retry.`;
    throw refused(domain, target, 'it has no volume that was published for this domain', hint);
  }
  if (volume.open) {
    const hint = `See who has it with lsof /dev/${volumeKey(volume)} and dmsetup ls --tree.`;
    throw refused(domain, target, `${volumeKey(volume)} is open`, hint);
  }
  if (needs.reconciler.incoming.has(domain.uuid)) {
    throw refused(domain, target, MAY_STILL_ARRIVE.why, MAY_STILL_ARRIVE.hint);
  }
  return { domain, disk, volume, seal };
}

/** The old volume stays until the new one is published, so that both need their space. */
function requireSpace(
  { reservations }: ReprovisionNeeds,
  observation: Observation,
  { domain, disk, volume }: Candidate,
): void {
  const neededBytes = Math.max(volume.sizeBytes, disk.request.sizeBytes ?? 0);
  const room = reservations.headroomIn(observation, disk.location, neededBytes);
  if (room?.fits === true) return;
  const numbers = room === undefined ? 'LVM says nothing of its space' : room.says;
  const { thinPool } = disk.location;
  throw new ProvisionError({
    code: 'VG_FULL',
    message: `${volume.vg} has too little room for a second volume beside ${volumeKey(volume)}: ${numbers}.`,
    hint: `Extend ${thinPool === undefined ? 'the group (vgextend)' : `the thin pool (lvextend ${volume.vg}/${thinPool})`}; or give the old volume up first: ${deleteCommand(disk.location)}, then lvp retry ${domain.name} ${disk.request.target}.`,
  });
}

/** Intent, renaming, fill. A crash before the renaming leaves the volume as it was, and the intent is dropped. */
async function begin(needs: ReprovisionNeeds, { domain, disk, volume, seal }: Candidate): Promise<void> {
  const { clock, fills, ledger, log, retiring } = needs;
  const { request, location } = disk;
  const before = ledger.fillOf(domain.uuid, request.target);
  const nowMs = clock.nowMs();
  const record: FillRecord = {
    fillId: randomBytes(8).toString('hex'),
    ...{ domainUuid: domain.uuid, domainName: domain.name, request, location },
    ...{ state: 'waiting', attempts: 0, replaces: seal.fillId, createdAtMs: nowMs, updatedAtMs: nowMs },
  };
  const { fillId } = record;
  const fields = { fill: fillId, domain: domain.uuid, target: request.target, replaces: seal.fillId };
  const row = () => {
    const found = ledger.fillOf(domain.uuid, request.target);
    return found?.fillId === fillId ? found : undefined;
  };
  retiring.add(fillId);
  try {
    ledger.putFill(record);
    await needs.volumes.retire(volume.vg, seal);
    if (row()?.state !== 'waiting') {
      const why = row() === undefined ? `${domain.name} no longer asks for it` : 'it was cancelled';
      throw new ProvisionError({
        code: 'CANCELLED',
        message: `The content of disk ${request.target} of domain ${domain.name} is not made again: ${why}.`,
      });
    }
    fills.begin(record, { from: 'new' });
    log.info({ ...fields, sha256: seal.sha256 }, 'a published volume is put aside and made again');
  } catch (error) {
    log.warn({ ...fields, problem: toProblem(error) }, 'a published volume could not be put aside');
    // It may be aside all the same, if only the answer was lost: then it gets its name back.
    if (row() !== undefined) {
      if (before === undefined) ledger.removeFill(domain.uuid, request.target);
      else ledger.putFill(before);
    }
    retiring.delete(fillId);
    await observe(needs, [])
      .then((observation) => settleRetired(needs, observation))
      .catch(() => undefined);
    needs.reconciler.request(domain.uuid);
    throw error;
  } finally {
    retiring.delete(fillId);
  }
}

function resultOf({ domain, disk, volume, seal }: Candidate, confirm: string): ReprovisionResult {
  const { image, sha256, generation } = seal;
  return {
    ...{ uuid: domain.uuid, name: domain.name, target: disk.request.target, confirm },
    ...{ volume: volumeKey(volume), sizeBytes: volume.sizeBytes },
    holds: { image, sha256, generation },
    wanted: { image: imageName(disk.request.image), generation: disk.request.generation },
  };
}

function refused(domain: Domain, target: string, why: string, hint: string): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `The content of disk ${target} of domain ${domain.name} cannot be made again: ${why}.`,
    hint,
  });
}
