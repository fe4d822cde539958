/**
 * The recipe of a thin volume. Where something says beforehand which bytes its image has, it is a clone of a golden
 * volume, which is made if there is none; otherwise the image is written to it. Either way it is published like any other.
 */
import { toProblem } from '../../core/errors.ts';
import type { ImageProof } from '../../core/images/proof.ts';
import type { AllowedNeeds } from '../fill/allowed-fill.ts';
import { requireAllowed } from '../fill/allowed-fill.ts';
import { discardOrLeave, discardVolume } from '../fill/discard-volume.ts';
import type { ProofPolicy } from '../fill/find-proof.ts';
import { findProof } from '../fill/find-proof.ts';
import type { FillRun, FillTask } from '../fill/fills.ts';
import { FillsStopped } from '../fill/fills.ts';
import type { FreshThinNeeds } from './fresh-thin-volume.ts';
import { writeFreshThin } from './fresh-thin-volume.ts';
import { goldenRequestOf } from './golden-ahead.ts';
import type { GoldenVolume, GoldenVolumes } from './golden-volumes.ts';
import type { LeaseNeeds } from '../fill/leased-image.ts';
import { LeasedImage } from '../fill/leased-image.ts';
import type { FillRecord } from '../ports/ledger.ts';
import type { PrivateVolume } from '../ports/volumes.ts';
import { publishVolume } from '../fill/publish-volume.ts';
import { checkBucket, pinImage, wantedSizeBytes } from '../fill/resolve-image.ts';
import { sealOfFill } from '../fill/seal-of-fill.ts';

export interface ThinFillNeeds extends LeaseNeeds, FreshThinNeeds, AllowedNeeds {
  readonly goldens: Pick<GoldenVolumes, 'whileHeld' | 'clone'>;
}

/** Somebody may remove a golden volume right before it is cloned; more often than this in a row would be odd. */
const CLONE_TRIES_MAX = 3;

type ThinRecord = FillRecord & { readonly location: { readonly thinPool: string } };

/**
 * True where a thin volume is to be made; what is there is taken over, published or claimed like any other. An encrypted
 * one is written like a thick one: it shares no block with any other, and what was never written to it reads as noise.
 */
export function isThinFill(record: FillRecord, { from }: FillTask): record is ThinRecord {
  const { location, request } = record;
  return (
    location.thinPool !== undefined && request.key === undefined && (from === 'new' || from === 'resume')
  );
}

/** Makes and publishes it; resolves with the SHA-256 of the image it now holds. */
export async function fillThin(
  needs: ThinFillNeeds,
  record: ThinRecord,
  task: FillTask,
  run: FillRun,
): Promise<string> {
  const { location, fillId, domainUuid } = record;
  const volume: PrivateVolume = { vg: location.vg, fillId, target: location.lv, domainUuid };
  const wanted = requireAllowed(needs, record);
  // Nothing that was begun is gone on with: a clone takes a moment, and of other thin volumes it is not known what
  // was written to them.
  if (task.from === 'resume') await discardVolume(needs, volume, location.pool);
  try {
    const sha256 = await fill(needs, record, volume, wanted, run);
    run.signal.throwIfAborted();
    run.phase('publishing');
    await publishVolume({ ...needs, log: run.log }, volume, sealOfFill(record, sha256), location);
    return sha256;
  } catch (error) {
    // One that is sealed already is kept: then only its publishing is to be finished.
    if (!(run.signal.reason instanceof FillsStopped)) await discardOrLeave(needs, volume, undefined, run.log);
    throw error;
  }
}

async function fill(
  needs: ThinFillNeeds,
  record: ThinRecord,
  volume: PrivateVolume,
  wanted: ProofPolicy['wanted'],
  run: FillRun,
): Promise<string> {
  const { location, request } = record;
  const asked = goldenRequestOf(request, await proofBeforehand(needs, record, wanted), wanted);
  if (asked === undefined) return writeImageTo(needs, record, volume, wanted, run);
  for (let tries = 1; ; tries++) {
    try {
      return await needs.goldens.whileHeld(location.vg, asked, run, (golden) =>
        clone(needs, record, volume, golden, run),
      );
    } catch (error) {
      if (tries === CLONE_TRIES_MAX || !mayBeGone(error)) throw error;
      run.log.warn({ problem: toProblem(error) }, 'the golden volume went before it was cloned');
      await discardVolume(needs, volume, location.pool);
    }
  }
}

async function clone(
  needs: ThinFillNeeds,
  record: ThinRecord,
  volume: PrivateVolume,
  golden: GoldenVolume,
  { log }: FillRun,
): Promise<string> {
  const { fillId, sha256, sizeBytes: virtualSizeBytes } = golden.seal;
  const sizeBytes = wantedSizeBytes(record.request, { virtualSizeBytes });
  requireAllowed(needs, record, sizeBytes);
  await needs.goldens.clone(golden, volume, sizeBytes);
  log.info({ golden: fillId, sizeBytes }, 'cloned from a golden volume');
  return sha256;
}

/** What is known before a byte is read. A digest in the annotation needs no word of the store. */
async function proofBeforehand(
  needs: ThinFillNeeds,
  { request }: ThinRecord,
  wanted: ProofPolicy['wanted'],
): Promise<ImageProof> {
  const policy = { ...needs.policy, wanted };
  if (request.sha256 === undefined && request.sha512 === undefined)
    return (await pinImage({ ...needs, policy }, request)).proof;
  checkBucket(policy, request);
  return findProof(needs.images, policy, request);
}

function mayBeGone(error: unknown): boolean {
  const { code } = toProblem(error);
  return code === 'VOLUME_MISSING' || code === 'VOLUME_STATE';
}

/** As a thick volume is filled, but that what is not written to reads as zeros already. */
async function writeImageTo(
  needs: ThinFillNeeds,
  record: ThinRecord,
  volume: PrivateVolume,
  wanted: ProofPolicy['wanted'],
  run: FillRun,
): Promise<string> {
  const { location, request } = record;
  const policy = { ...needs.policy, wanted };
  const leased = new LeasedImage({ ...needs, policy }, request, run);
  try {
    const thin = { ...volume, thinPool: location.thinPool };
    const { sha256 } = await writeFreshThin(needs, leased, thin, run, (layout) => {
      run.from(leased.from);
      const sizeBytes = wantedSizeBytes(request, layout);
      requireAllowed(needs, record, sizeBytes);
      return sizeBytes;
    });
    run.log.debug({ cached: await leased.keep(sha256) }, 'written; the image may be kept');
    return sha256;
  } finally {
    await leased.close();
  }
}
