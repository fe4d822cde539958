/**
 * The recipe of a fill, from an object in a bucket to a published volume. Each step can be interrupted by a
 * power cut; tags and ledger then say where it stood (docs/design.md, "The life of a volume").
 */
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { VolumeLocation, VolumeRequest } from '../../core/request.ts';
import { LUKS_HEADER_BYTES, privateName } from '../../core/volume/volume.ts';
import type { AllowedNeeds } from './allowed-fill.ts';
import { requireAllowed } from './allowed-fill.ts';
import { discardOrLeave, discardVolume } from './discard-volume.ts';
import type { ThinFillNeeds } from '../golden/fill-thin.ts';
import { fillThin, isThinFill } from '../golden/fill-thin.ts';
import type { FillRun, FillTask } from './fills.ts';
import type { LeaseNeeds } from './leased-image.ts';
import { LeasedImage } from './leased-image.ts';
import type { Log } from '../ports/host.ts';
import type { Keys } from '../ports/keys.ts';
import type { FillRecord } from '../ports/ledger.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { LuksVolumes, PrivateVolume } from '../ports/volumes.ts';
import { sealOfFill } from './seal-of-fill.ts';
import { publishVolume } from './publish-volume.ts';
import type { Reservations, Wanted } from '../reservations.ts';
import { publishTried, throughLuks } from './through-luks.ts';
import { wantedSizeBytes } from './resolve-image.ts';
import type { WriteNeeds } from './write-image.ts';
import { goesOnLater, writeImage } from './write-image.ts';

/** Those of its steps: finding and judging the image, writing it, publishing. */
export interface FillNeeds extends LeaseNeeds, WriteNeeds, AllowedNeeds, ThinFillNeeds {
  readonly luks: LuksVolumes;
  readonly keys: Keys;
  /** Only tests have another one than hosts. */
  readonly luksHeaderBytes?: number | undefined;
  readonly pools: Pools;
  readonly reservations: Reservations;
}

/** Fills and publishes one volume; resolves with the SHA-256 of the image it now holds. */
export async function fillVolume(
  needs: FillNeeds,
  record: FillRecord,
  task: FillTask,
  run: FillRun,
): Promise<string> {
  const { location, request, fillId, domainUuid } = record;
  const volume = privateVolumeOf(record, task);
  const publishing = { ...needs, log: run.log };
  if (task.from === 'finish') {
    await publishVolume(publishing, volume, task.seal, location);
    return task.seal.sha256;
  }
  if (task.from === 'claim') {
    await needs.volumes.claim(location.vg, task.seal, domainUuid);
    return task.seal.sha256;
  }
  if (isThinFill(record, task)) return fillThin(needs, record, task, run);
  // Whoever has begun it, and before the store is asked for anything.
  const wanted = requireAllowed(needs, record);
  const leased = new LeasedImage({ ...needs, policy: { ...needs.policy, wanted } }, request, run);
  try {
    const layout = await leased.use((image) => image.layout);
    run.from(leased.from);
    const sizeBytes = wantedSizeBytes(request, layout);
    requireAllowed(needs, record, sizeBytes);
    await makePrivateVolume(needs, task, volume, neededBytes(needs, request, sizeBytes), location);
    run.log.debug({ sizeBytes, from: task.from }, 'private volume made');
    run.signal.throwIfAborted();
    const sha256 = await leased.use((image) => {
      const write = () => writeImage(needs, volume, image, run);
      return request.key === undefined ? write() : throughLuks(needs, volume, request.key, run, write);
    });
    // What came from the cache may have had to be fetched again.
    run.from(leased.from);
    run.log.debug({ sha256 }, 'written and synced');
    // Nobody wants it any more, or wants it from another image.
    run.signal.throwIfAborted();
    run.phase('publishing');
    const seal = sealOfFill(record, sha256);
    await publishVolume(publishing, volume, seal, location, () =>
      publishTried(needs, volume, seal, request.key, run.signal),
    );
    await forgetJournal(needs, fillId, run.log);
    run.log.debug({ cached: await leased.keep(sha256) }, 'published; the image may be kept');
    return sha256;
  } catch (error) {
    if (!goesOnLater(error, run.signal)) await returnSpace(needs, volume, location, run.log);
    throw error;
  } finally {
    await leased.close();
  }
}

/** What is sealed already is what its seal says, whatever the annotation says by now. */
function privateVolumeOf(
  { location, request, fillId, domainUuid }: FillRecord,
  task: FillTask,
): PrivateVolume {
  const isEncrypted = 'seal' in task ? task.seal.encryption !== undefined : request.key !== undefined;
  return {
    ...{ vg: location.vg, fillId, target: location.lv, domainUuid },
    ...(isEncrypted && { encryption: 'luks1' }),
  };
}

/** Of an encrypted volume the guest does not see the header. */
function neededBytes(
  { luksHeaderBytes = LUKS_HEADER_BYTES }: FillNeeds,
  { key }: VolumeRequest,
  sizeBytes: number,
): number {
  return key === undefined ? sizeBytes : sizeBytes + luksHeaderBytes;
}

async function makePrivateVolume(
  needs: FillNeeds,
  task: FillTask,
  volume: PrivateVolume,
  sizeBytes: number,
  { pool, thinPool }: VolumeLocation,
): Promise<void> {
  if (task.from === 'adopt') {
    await adopt(needs, volume, sizeBytes);
    return;
  }
  if (task.from === 'resume') await discardIfTooSmall(needs, volume, sizeBytes, pool);
  await create(needs, { ...volume, thinPool }, sizeBytes);
}

async function create(needs: FillNeeds, wanted: Wanted, sizeBytes: number): Promise<void> {
  const { thinPool, ...volume } = wanted;
  await needs.reservations.whileReserved(wanted, sizeBytes, () =>
    needs.volumes.create(volume, sizeBytes, thinPool),
  );
}

/** The object may have been replaced by a larger one since the fill was interrupted: it begins again. */
async function discardIfTooSmall(
  needs: FillNeeds,
  volume: PrivateVolume,
  sizeBytes: number,
  pool: string | undefined,
): Promise<void> {
  const name = privateName(volume.fillId);
  const { volumes } = await needs.volumes.list();
  const held = volumes.find(({ vg, lv }) => vg === volume.vg && lv === name);
  if (held !== undefined && held.sizeBytes < sizeBytes) await discardVolume(needs, volume, pool);
}

/** Checks the size before taking a volume over: one that is too small stays as it was. */
async function adopt(needs: FillNeeds, volume: PrivateVolume, sizeBytes: number): Promise<void> {
  const { volumes } = await needs.volumes.list();
  const found = volumes.find(({ vg, lv }) => vg === volume.vg && lv === volume.target);
  if (found === undefined) {
    // Whoever had made it has removed it again, or an earlier try has given it the private name already.
    await create(needs, volume, sizeBytes);
    return;
  }
  if (found.sizeBytes < sizeBytes) {
    throw new ProvisionError({
      code: 'IMAGE_TOO_LARGE',
      message: `Volume ${volume.vg}/${volume.target} has ${found.sizeBytes} bytes, the fill needs ${sizeBytes}.`,
      hint: 'It was left untouched. Delete it (virsh vol-delete) to have one of the right size made, or use a smaller image.',
    });
  }
  await needs.volumes.adopt(volume);
}

/** A volume that is already sealed is kept by discardVolume: then only its publishing is to be finished. */
async function returnSpace(
  needs: FillNeeds,
  volume: PrivateVolume,
  { pool }: VolumeLocation,
  log: Log,
): Promise<void> {
  await discardOrLeave(needs, volume, pool, log);
  await forgetJournal(needs, volume.fillId, log);
}

/** Its volume is finished or gone, and a journal names the UUID of its volume: what stays behind does no harm. */
async function forgetJournal(needs: FillNeeds, fillId: string, log: Log): Promise<void> {
  try {
    await needs.journals?.remove(fillId);
  } catch (error) {
    log.warn({ problem: toProblem(error) }, 'a journal was left behind; the next start removes it');
  }
}
