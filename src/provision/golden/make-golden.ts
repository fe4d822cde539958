/** The making of a golden volume: the image, and nothing else, in a thin volume that nobody can write to afterwards. */
import { ProvisionError } from '../../core/errors.ts';
import type { GoldenContent, GoldenPlace } from '../../core/thin/golden.ts';
import { GOLDEN_OWNER } from '../../core/owner.ts';
import { provenBy } from '../../core/images/proof.ts';
import type { ImageReference, VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { NewGoldenSeal } from '../../core/volume/volume.ts';
import { formatTag, goldenName, imageTag, privateName, versionTag } from '../../core/volume/volume.ts';
import { contentDigest, untouchedPieces } from '../stream/content-digest.ts';
import { discardOrLeave, discardVolume } from '../fill/discard-volume.ts';
import type { ProofPolicy } from '../fill/find-proof.ts';
import type { FreshThin, FreshThinNeeds, FreshThinVolume } from './fresh-thin-volume.ts';
import { writeFreshThin } from './fresh-thin-volume.ts';
import type { LeaseNeeds } from '../fill/leased-image.ts';
import { LeasedImage } from '../fill/leased-image.ts';
import type { LowPriority } from '../stream/low-priority.ts';
import type { Log } from '../ports/host.ts';
import type { Announce } from '../shared-work.ts';

export interface MakeGoldenNeeds extends LeaseNeeds, FreshThinNeeds {}

/** Where one is to be, and by which fill. */
export interface FutureGolden extends GoldenPlace {
  readonly fillId: string;
}

/** Which image is to be on this host. SHA-256, further proofs, or both say which bytes; the rest how to come by them. */
export interface GoldenRequest extends Pick<GoldenContent, 'format' | 'compression'> {
  readonly image: ImageReference;
  readonly version?: string | undefined;
  readonly sha256?: string | undefined;
  readonly sha512?: string | undefined;
  /** With what its bytes must have been compared besides: see provenBy() in core/images/proof.ts. */
  readonly provenBy?: readonly string[] | undefined;
  /** What the host's policy wants as proof for whom it is made. */
  readonly wanted?: ProofPolicy['wanted'];
}

/** What the making is given to report by, and to stop on. */
export interface MakeGoldenRun extends Announce {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** It rests while others read and nobody who waits for it is in a hurry. */
  readonly priority?: LowPriority | undefined;
  /** Its bytes are written and proven: whether they are to become a golden volume. */
  readonly isWanted: (sha256: string, proofs: readonly string[]) => Promise<boolean>;
}

/**
 * Fills it, reads back what it holds, seals it and gives it its final name. What is left of one that fails has no seal
 * and is removed, now or as litter: nothing of it is gone on with. Resolves with the SHA-256 of the image.
 */
export async function makeGolden(
  needs: MakeGoldenNeeds,
  place: FutureGolden,
  request: GoldenRequest,
  run: MakeGoldenRun,
): Promise<string> {
  const { fillId } = place;
  const volume: FreshThinVolume = { ...place, target: goldenName(fillId), domainUuid: GOLDEN_OWNER };
  const leased = new LeasedImage(leaseNeeds(needs, request, run), requestOf(request, volume.target), {
    signal: run.signal,
    log: run.log,
    isImageWanted: () => false,
  });
  try {
    const written = await writeFreshThin(needs, leased, volume, run, sizeOfImage);
    const proofs = provenBy(written.image.proof);
    requireAsked(volume, request, written.sha256, proofs);
    if (await run.isWanted(written.sha256, proofs)) {
      const seal = await sealOf(needs, volume, request, written, run);
      run.signal.throwIfAborted();
      const { vg, target, domainUuid } = volume;
      await needs.volumes.publish({ vg, fillId, target, domainUuid }, seal);
      run.log.info({ volume: `${place.vg}/${volume.target}`, sha256: seal.sha256 }, 'golden volume made');
    } else await discardVolume(needs, volume, undefined);
    await leased.keep(written.sha256);
    return written.sha256;
  } catch (error) {
    // One that is sealed already is kept: it is finished at the next look.
    await discardOrLeave(needs, volume, undefined, run.log);
    throw error;
  } finally {
    await leased.close();
  }
}

function leaseNeeds(
  needs: MakeGoldenNeeds,
  { wanted }: GoldenRequest,
  { priority }: MakeGoldenRun,
): LeaseNeeds {
  const judging = { ...needs, policy: { ...needs.policy, wanted } };
  if (priority === undefined) return judging;
  const { cache, images } = needs;
  return { ...judging, images: priority.images(images), cache: cache && priority.cache(cache) };
}

const sizeOfImage = ({ virtualSizeBytes }: { readonly virtualSizeBytes: number }): number => virtualSizeBytes;

/** What others ask of a volume beside its bytes is no matter of a golden one. */
function requestOf(
  { image, format, compression, version, sha256, sha512 }: GoldenRequest,
  target: string,
): VolumeRequest {
  return { target, image, format, compression, version, sha256, sha512, generation: 1 };
}

async function sealOf(
  needs: MakeGoldenNeeds,
  { vg, fillId }: FreshThinVolume,
  request: GoldenRequest,
  { sha256, image: { layout, object } }: FreshThin,
  { signal, priority }: MakeGoldenRun,
): Promise<NewGoldenSeal> {
  const sizeBytes = layout.virtualSizeBytes;
  const device = await needs.devices.open(vg, privateName(fillId));
  try {
    // With what is behind the image: clones show it.
    const contentSha256 = await contentDigest(device, device.sizeBytes, {
      ...{ signal, pause: priority && (() => priority.turn(signal)) },
      isUntouched: untouchedPieces(layout, device.sizeBytes),
    });
    const { version } = object;
    return {
      ...{ state: 'golden', fillId, sha256, sizeBytes, contentSha256 },
      ...{ image: imageTag(request.image), format: formatTag(request) },
      ...(version === undefined ? {} : { version: versionTag(version) }),
    };
  } finally {
    await device.close();
  }
}

/** Whoever waits for it goes by what it was asked for, not by what stands beside the object by now. */
function requireAsked(
  { vg, target }: FreshThinVolume,
  request: GoldenRequest,
  sha256: string,
  proofs: readonly string[],
): void {
  if (sha256 !== (request.sha256 ?? sha256)) {
    throw new ProvisionError({
      code: 'DIGEST_MISMATCH',
      message: `What was written for ${vg}/${target} has the SHA-256 ${sha256}, and another one was asked for.`,
    });
  }
  if (request.provenBy?.every((proof) => proofs.includes(proof)) ?? true) return;
  throw new ProvisionError({
    code: 'IMAGE_CHANGED',
    message: `What proves the image ${imageName(request.image)} was replaced while it was read.`,
    hint: 'It is tried again by itself, with what is there now.',
  });
}
