/** Whose key may be changed: the sealed, encrypted volume of a domain that is shut off, and that nobody has open. */
import { ProvisionError } from '../../core/errors.ts';
import { sameKey } from '../../core/key/key-change.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { Domain, VolumeRequest } from '../../core/request.ts';
import type { LogicalVolume, Seal } from '../../core/volume/volume.ts';
import { readMark } from '../../core/volume/volume.ts';
import { MAY_STILL_ARRIVE } from '../arrivals/incoming.ts';
import { requireAnnotated } from '../domains/annotated-disk.ts';
import type { Observation, ObserveNeeds } from '../observe.ts';
import type { Domains, LibvirtDomain } from '../ports/libvirt.ts';
import type { Reconciler } from '../reconcile.ts';

export interface KeySubjectNeeds extends ObserveNeeds {
  readonly domains: Pick<Domains, 'hasManagedSave'>;
  readonly reconciler: Pick<Reconciler, 'incoming' | 'starting'>;
  /** Volume groups that other hosts see too. */
  readonly sharedGroups: ReadonlySet<string>;
}

export interface KeySubject {
  readonly domain: Domain;
  readonly request: VolumeRequest;
  readonly volume: LogicalVolume;
  readonly seal: Seal;
}

/** VOLUME_STATE while its guest runs, or its memory waits to go on with the key that it had. */
export async function requireStopped(
  { domains, reconciler }: KeySubjectNeeds,
  found: LibvirtDomain,
  subject: Pick<KeySubject, 'domain' | 'request'>,
): Promise<void> {
  if (found.active) {
    throw rotationRefused(subject, 'the domain is running', `virsh shutdown ${found.name}, and then again.`);
  }
  requireNotStarting(reconciler, subject);
  if (await domains.hasManagedSave(found.uuid)) {
    const hint = `Start it and shut it down, or give the memory up: virsh managedsave-remove ${found.name}`;
    throw rotationRefused(subject, 'its memory is saved together with the name of the key that it has', hint);
  }
  if (reconciler.incoming.has(found.uuid)) {
    throw rotationRefused(subject, MAY_STILL_ARRIVE.why, MAY_STILL_ARRIVE.hint);
  }
}

function requireNotStarting(
  { starting }: KeySubjectNeeds['reconciler'],
  subject: Pick<KeySubject, 'domain' | 'request'>,
): void {
  if (!starting.has(subject.domain.uuid)) return;
  const hint = 'If it does not run in half a minute, try again then.';
  throw rotationRefused(subject, 'its start was let through a moment ago', hint);
}

/** By one reading, with nothing that is waited for. */
export function chooseSubject(
  needs: KeySubjectNeeds,
  observation: Observation,
  domain: Domain,
  target: string,
): KeySubject {
  const request = requireAnnotated(domain, target);
  const planned = observation.plan(domain);
  const disk = planned.disks.find((one) => one.request.target === target);
  const [problem] = planned.problems;
  if (disk === undefined || problem !== undefined) {
    throw new ProvisionError(
      problem ?? { code: 'DISK_UNSUITABLE', message: `Disk ${target} has no volume.` },
    );
  }
  const about = { domain, request };
  if (needs.sharedGroups.has(disk.location.vg)) {
    const what = `other hosts see ${disk.location.vg} too, and have definitions that would still name the key before`;
    throw rotationRefused(about, what, 'Copy what it holds to a volume with another key.');
  }
  const volume = observation.volumes.find((one) => volumeKey(one) === volumeKey(disk.location));
  const seal = volume && readMark(volume.tags);
  // Another generation that is asked for says nothing about what is there.
  if (disk.action === 'refuse' && disk.problem.code !== 'VOLUME_GENERATION') {
    throw new ProvisionError(disk.problem);
  }
  const isOwn = disk.action === 'none' || disk.action === 'refuse';
  if (!isOwn || volume === undefined || seal?.state !== 'ready' || seal.domainUuid !== domain.uuid) {
    const hint = `See lvp explain ${domain.name}; before it is filled, have the annotation name another key.`;
    throw rotationRefused(about, 'it has no volume that was published for this domain', hint);
  }
  if (seal.encryption === undefined || request.key === undefined) {
    throw new ProvisionError({
      code: 'DISK_UNSUITABLE',
      message: `Disk ${target} of domain ${domain.name} is not encrypted, so it has no key.`,
    });
  }
  if (volume.open) {
    const hint = `See who has it with lsof /dev/${volumeKey(volume)} and dmsetup ls --tree.`;
    throw rotationRefused(about, `${volumeKey(volume)} is open`, hint);
  }
  // During the reading it may have been started, and its memory saved, so that nothing is open any more.
  requireNotStarting(needs.reconciler, about);
  return { domain, request, volume, seal };
}

/** KEY_IN_USE if it is that of another disk of this host, or is about to be. */
export function requireUnused(
  { ledger }: Pick<ObserveNeeds, 'ledger'>,
  { domain, request, seal }: KeySubject,
  to: KeyReference,
): void {
  const others = ledger
    .domains()
    .filter((known) => known.domain.uuid !== domain.uuid && known.goneAtMs === undefined)
    .map((known) => known.domain);
  const disks = [domain, ...others].flatMap(({ uuid, name, annotation }) =>
    (annotation?.volumes ?? [])
      .filter(({ target, key }) => sameKey(key, to) && !(uuid === domain.uuid && target === request.target))
      .map(({ target }) => `disk ${target} of domain ${name}`),
  );
  const begun = ledger
    .unfinishedKeyChanges()
    .filter((change) => change.what === 'rotate' && change.fillId !== seal.fillId)
    .filter((change) => change.what === 'rotate' && (sameKey(change.to, to) || sameKey(change.from, to)))
    .map(({ volume }) => `volume ${volume}, whose key is being replaced`);
  const [other] = [...disks, ...begun];
  if (other === undefined) return;
  throw new ProvisionError({
    code: 'KEY_IN_USE',
    message: `The key ${formatKeyReference(to)} is that of ${other} already, and each volume has a key of its own.`,
    hint: 'Make another one: lvp key create',
  });
}

export function rotationRefused(
  { domain, request }: Pick<KeySubject, 'domain' | 'request'>,
  why: string,
  hint: string,
): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `The key of disk ${request.target} of domain ${domain.name} cannot be replaced: ${why}.`,
    hint,
  });
}
