/**
 * `lvp key rotate`: another key in place of the one that opens a volume. The new one is let open it beside the old one,
 * tried, and named by the annotation; only then is it made the only one. So the key that the annotation names opens
 * the volume after each step, and whatever cuts it off, the same call goes on by what it finds.
 */
import { formatAnnotation, withVolume } from '../../core/annotation.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import type { ErrorCode } from '../../core/errors.ts';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { KeyRotation } from '../../core/key/key-change.ts';
import { sameKey } from '../../core/key/key-change.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { whoOfOwner } from '../../core/owner.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { VolumeRequest } from '../../core/request.ts';
import type { KeySubject, KeySubjectNeeds } from './key-subject.ts';
import { requireStopped, rotationRefused } from './key-subject.ts';
import { readKey } from './read-key.ts';
import type { AuditTrail } from '../ports/audit.ts';
import type { Log } from '../ports/host.ts';
import type { Keys, VolumeKey } from '../ports/keys.ts';
import type { Domains } from '../ports/libvirt.ts';
import type { LuksVolumes } from '../ports/volumes.ts';
import { recorded } from '../audit/recorded.ts';
import type { TimeLimit } from '../time-limit.ts';
import { timeLimit } from '../time-limit.ts';

export interface RotateNeeds extends KeySubjectNeeds {
  readonly luks: LuksVolumes;
  readonly keys: Keys;
  readonly domains: Domains;
  readonly trail: AuditTrail;
  readonly log: Log;
}

/** All that LUKS1 has room for. */
const KEY_SLOTS = 8;
/** For reading both keys, in ms: a provider answers sooner or says that it cannot. */
const READ_LIMIT_MS = 30_000;

/** The volume, and the key that it is to have. */
export interface Rotation extends KeySubject {
  readonly to: KeyReference;
  /** The one that is replaced, where that is known. */
  readonly from: KeyReference | undefined;
}

/** Changes nothing; throws what would be in the way. */
export function tryRotation(needs: RotateNeeds, rotation: Rotation): Promise<void> {
  return withKeys(needs, rotation, async ({ old, added }) => {
    if (await isToBeAdded(needs, rotation, old, added)) await opensWithEither(needs, rotation, old, added);
    else await requireUnfinished(needs, rotation, added);
  });
}

/** Once it resolves, nothing but the new key opens the volume. */
export function rotate(needs: RotateNeeds, rotation: Rotation): Promise<void> {
  return withKeys(needs, rotation, async ({ old, added }) => {
    if (await isToBeAdded(needs, rotation, old, added)) await letOpen(needs, rotation, old, added);
    else await requireUnfinished(needs, rotation, added);
    if (!isAnnotated(rotation)) await annotate(needs, rotation);
    await removeOthers(needs, rotation, added);
    await requireGone(needs, rotation, old, added);
    write(needs, rotation, 'done');
    const { volume, domain, from, to } = rotation;
    needs.log.info(
      {
        ...{ volume: volumeKey(volume), domain: domain.uuid, key: formatKeyReference(to) },
        ...(from && { before: formatKeyReference(from) }),
      },
      'the key of a volume was replaced',
    );
  });
}

function isAnnotated({ request, to }: Rotation): boolean {
  return sameKey(request.key, to);
}

/** Also where somebody else has had the annotation name it already, of a volume that only the old one opens as yet. */
async function isToBeAdded(
  needs: RotateNeeds,
  rotation: Rotation,
  old: VolumeKey | undefined,
  added: VolumeKey,
): Promise<boolean> {
  if (!isAnnotated(rotation)) return true;
  return old !== undefined && (await countIfOpens(needs, rotation, added)) === undefined;
}

interface BothKeys {
  /** Undefined where this host may not read it any more, or nobody knows which it was. */
  readonly old: VolumeKey | undefined;
  readonly added: VolumeKey;
}

async function withKeys(
  needs: RotateNeeds,
  rotation: Rotation,
  use: (both: BothKeys) => Promise<void>,
): Promise<void> {
  const { old, added } = await readBoth(needs, rotation);
  try {
    if (old?.bytes.equals(added.bytes) === true) {
      throw new ProvisionError({
        code: 'KEY_IN_USE',
        message: `${formatKeyReference(rotation.to)} is the same key as ${nameOf(rotation.from)}, under another name.`,
        hint: 'Make another one: lvp key create',
      });
    }
    await use({ old, added });
  } finally {
    old?.wipe();
    added.wipe();
  }
}

async function readBoth({ keys, clock }: RotateNeeds, rotation: Rotation): Promise<BothKeys> {
  const limit = timeLimit(clock, READ_LIMIT_MS);
  let added: VolumeKey | undefined;
  try {
    added = await readKey(keys, rotation.to, limit);
    return { old: await readOld(keys, rotation, limit), added };
  } catch (error) {
    added?.wipe();
    throw error;
  } finally {
    limit.end();
  }
}

/** What this host may not read any more it need not have, as long as the new key opens the volume. */
const NOT_OURS: readonly ErrorCode[] = ['KEY_DENIED', 'KEY_NOT_FOUND'];

async function readOld(keys: Keys, rotation: Rotation, limit: TimeLimit): Promise<VolumeKey | undefined> {
  if (rotation.from === undefined) return undefined;
  try {
    return await readKey(keys, rotation.from, limit);
  } catch (error) {
    // To end what is all but done it is only wanted for one more check.
    if (isAnnotated(rotation) || NOT_OURS.includes(toProblem(error).code)) return undefined;
    throw error;
  }
}

/** How many keys open the volume, if this is one of them. */
async function countIfOpens(
  { luks }: RotateNeeds,
  { volume, seal }: Rotation,
  key: VolumeKey,
): Promise<number | undefined> {
  try {
    return (await luks.checkLuks(volume.vg, seal, key)).keys;
  } catch (error) {
    if (toProblem(error).code === 'KEY_WRONG') return undefined;
    throw error;
  }
}

/**
 * The count of keys where the old one opens the volume; undefined where the new one alone does. That is so if a power
 * cut has taken back what libvirt had written of the new annotation.
 */
async function opensWithEither(
  needs: RotateNeeds,
  rotation: Rotation,
  old: VolumeKey | undefined,
  added: VolumeKey,
): Promise<number | undefined> {
  const count = old === undefined ? undefined : await countIfOpens(needs, rotation, old);
  if (count !== undefined) return count;
  if ((await countIfOpens(needs, rotation, added)) !== undefined) return undefined;
  const { volume, domain, request, from, to } = rotation;
  const why = old === undefined ? 'cannot be read by this host' : 'does not open it';
  throw new ProvisionError({
    code: old === undefined ? 'KEY_DENIED' : 'KEY_WRONG',
    message: `The key of volume ${volumeKey(volume)} cannot be replaced: ${nameOf(from)}, which the annotation of disk ${request.target} of domain ${domain.name} names, ${why}, and neither does ${formatKeyReference(to)}.`,
    hint: 'Nothing was changed. Have the annotation name the key that the volume has, and let this host read it (lvp key grant).',
  });
}

async function letOpen(
  needs: RotateNeeds,
  rotation: Rotation,
  old: VolumeKey | undefined,
  added: VolumeKey,
): Promise<void> {
  const { vg } = rotation.volume;
  const { seal } = rotation;
  const count = await opensWithEither(needs, rotation, old, added);
  write(needs, rotation, 'adding');
  if (count === undefined || old === undefined) return;
  // Left by rotations that were given up.
  if (count >= KEY_SLOTS) {
    await recorded(needs.trail, aboutStep('key remove', rotation, undefined), () =>
      needs.luks.keepOnlyLuksKey(vg, seal, old),
    );
  }
  await recorded(needs.trail, aboutStep('key add', rotation, rotation.to), () =>
    needs.luks.addLuksKey(vg, seal, old, added),
  );
  await needs.luks.checkLuks(vg, seal, added);
}

/** All else in the annotation stays, as it is at this moment. */
async function annotate(needs: RotateNeeds, rotation: Rotation): Promise<void> {
  const { domain, to, request } = rotation;
  const before = await readNow(needs, rotation, request.key);
  const { target } = request;
  write(needs, rotation, 'annotating');
  await recorded(needs.trail, aboutStep('key annotate', rotation, to), async () => {
    const annotation = withVolume(before.annotation, { ...before.request, key: to });
    await needs.domains.writeAnnotation(domain.uuid, formatAnnotation(annotation));
  });
  needs.log.debug({ domain: domain.uuid, target }, 'the annotation names the new key');
}

/** The domain as it is now: still shut off, and its annotation still naming this key. */
async function readNow(needs: RotateNeeds, rotation: Rotation, key: KeyReference | undefined) {
  const { domain, request } = rotation;
  const found = await needs.domains.read(domain.uuid);
  if (found === undefined) throw rotationRefused(rotation, 'the domain is gone', 'See virsh list --all.');
  await requireStopped(needs, found, rotation);
  const { annotation } = parseDomainXml(found.xml);
  const now = annotation?.volumes.find((one: VolumeRequest) => one.target === request.target);
  if (annotation === undefined || now === undefined || !sameKey(now.key, key)) {
    const why = `its annotation was changed meanwhile, and does not name ${nameOf(key)}`;
    throw rotationRefused(
      rotation,
      why,
      'The key that it names has not been removed. Look at it, and run the command again.',
    );
  }
  return { annotation, request: now };
}

async function removeOthers(needs: RotateNeeds, rotation: Rotation, added: VolumeKey): Promise<void> {
  const { volume, seal, to, from } = rotation;
  // Whatever libvirt was told, only what it says itself counts: from here on there is no way back.
  await readNow(needs, rotation, to);
  write(needs, rotation, 'removing');
  await recorded(needs.trail, aboutStep('key remove', rotation, from), () =>
    needs.luks.keepOnlyLuksKey(volume.vg, seal, added),
  );
}

/** Both are looked at anew: an old key that opens what it should not is worse than an error. */
async function requireGone(
  needs: RotateNeeds,
  rotation: Rotation,
  old: VolumeKey | undefined,
  added: VolumeKey,
): Promise<void> {
  const count = await countIfOpens(needs, rotation, added);
  const isOldGone = old === undefined || (await countIfOpens(needs, rotation, old)) === undefined;
  if (count === 1 && isOldGone) return;
  throw new ProvisionError({
    code: 'HELPER_FAILED',
    message: `The key of volume ${volumeKey(rotation.volume)} was replaced, but ${isOldGone ? `${count ?? 0} keys open it` : `${nameOf(rotation.from)} still opens it`}.`,
    hint: 'Run the command again; if it stays so, look at it with cryptsetup luksDump.',
  });
}

/** The annotation names the new key already: that is the end of a rotation, or there is nothing to do. */
async function requireUnfinished(needs: RotateNeeds, rotation: Rotation, added: VolumeKey): Promise<void> {
  const { volume, seal, domain, request, to } = rotation;
  const { keys } = await needs.luks.checkLuks(volume.vg, seal, added);
  const change = needs.ledger.keyChangeOf(seal.fillId);
  if (keys > 1 || (change?.what === 'rotate' && change.step !== 'done' && sameKey(change.to, to))) return;
  throw new ProvisionError({
    code: 'USAGE',
    message: `Disk ${request.target} of domain ${domain.name} has the key ${formatKeyReference(to)} already, and no other opens its volume.`,
    hint: 'To replace it name another one, which lvp key create makes.',
  });
}

function write({ ledger, clock }: RotateNeeds, rotation: Rotation, step: KeyRotation['step']): void {
  const { volume, seal, domain, request, to } = rotation;
  // Not known any more, by a ledger that was lost: then it is all the same which it was.
  const from = rotation.from ?? to;
  ledger.putKeyChange({
    ...{ what: 'rotate', step, fillId: seal.fillId, volume: volumeKey(volume), atMs: clock.nowMs() },
    ...{ domainUuid: domain.uuid, target: request.target, from, to },
  });
}

function aboutStep(what: string, { volume, seal, domain }: Rotation, key: KeyReference | undefined) {
  return {
    ...{ who: whoOfOwner(domain.uuid), what, volume: volumeKey(volume), domain: domain.uuid },
    correlationId: seal.fillId,
    ...(key && { key: formatKeyReference(key) }),
  };
}

function nameOf(key: KeyReference | undefined): string {
  return key === undefined ? 'the key before' : formatKeyReference(key);
}
