/** The making of a golden volume: the image, and nothing else, in a thin volume that nobody can write to afterwards. */
import { ProvisionError } from '../core/errors.ts';
import type { GoldenPlace } from '../core/golden.ts';
import { GOLDEN_OWNER } from '../core/owner.ts';
import type { VolumeRequest } from '../core/request.ts';
import type { NewGoldenSeal } from '../core/volume.ts';
import { formatTag, goldenName, imageTag, privateName, versionTag } from '../core/volume.ts';
import { contentDigest, untouchedPieces } from './content-digest.ts';
import { discardOrLeave } from './discard-volume.ts';
import type { FreshThin, FreshThinNeeds, FreshThinVolume } from './fresh-thin-volume.ts';
import { writeFreshThin } from './fresh-thin-volume.ts';
import type { GoldenRequest, GoldenRun } from './golden-volumes.ts';
import type { LeaseNeeds } from './leased-image.ts';
import { LeasedImage } from './leased-image.ts';

export interface MakeGoldenNeeds extends LeaseNeeds, FreshThinNeeds {}

/** Where one is to be, and by which fill. */
export interface FutureGolden extends GoldenPlace {
  readonly fillId: string;
}

/**
 * Fills it, reads back what it holds, seals it and gives it its final name. What is left of one that fails has no seal
 * and is removed, now or as litter: nothing of it is gone on with.
 */
export async function makeGolden(
  needs: MakeGoldenNeeds,
  place: FutureGolden,
  request: GoldenRequest,
  run: GoldenRun,
): Promise<void> {
  const { fillId } = place;
  const volume: FreshThinVolume = { ...place, target: goldenName(fillId), domainUuid: GOLDEN_OWNER };
  const leased = new LeasedImage(needs, requestOf(request, volume.target), {
    signal: run.signal,
    log: run.log,
    isImageWanted: () => false,
  });
  try {
    const written = await writeFreshThin(needs, leased, volume, run, (layout) => layout.virtualSizeBytes);
    if (written.sha256 !== request.sha256) throw otherImage(volume, written.sha256);
    const seal = await sealOf(needs, volume, request, written, run);
    run.signal.throwIfAborted();
    const { vg, target, domainUuid } = volume;
    await needs.volumes.publish({ vg, fillId, target, domainUuid }, seal);
    run.log.info({ volume: `${place.vg}/${volume.target}`, sha256: seal.sha256 }, 'golden volume made');
    await leased.keep(seal.sha256);
  } catch (error) {
    // One that is sealed already is kept: it is finished at the next look.
    await discardOrLeave(needs, volume, undefined, run.log);
    throw error;
  } finally {
    await leased.close();
  }
}

/** What others ask of a volume beside its bytes is no matter of a golden one. */
function requestOf(
  { image, format, compression, version, sha256 }: GoldenRequest,
  target: string,
): VolumeRequest {
  return { target, image, format, compression, version, sha256, generation: 1 };
}

async function sealOf(
  needs: MakeGoldenNeeds,
  { vg, fillId }: FreshThinVolume,
  request: GoldenRequest,
  { sha256, image: { layout, object } }: FreshThin,
  { signal }: GoldenRun,
): Promise<NewGoldenSeal> {
  const sizeBytes = layout.virtualSizeBytes;
  const device = await needs.devices.open(vg, privateName(fillId));
  try {
    // With what is behind the image: clones show it.
    const contentSha256 = await contentDigest(device, device.sizeBytes, {
      signal,
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

function otherImage({ vg, target }: FreshThinVolume, sha256: string): ProvisionError {
  return new ProvisionError({
    code: 'DIGEST_MISMATCH',
    message: `What was written for ${vg}/${target} has the SHA-256 ${sha256}, and another one was asked for.`,
  });
}
