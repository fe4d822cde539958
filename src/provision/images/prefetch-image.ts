/**
 * Brings one image here ahead of time. What proves it, and what is refused, is decided by what decides for fills;
 * nothing is read of an image that is here already but what says that it still is the one.
 */
import { ProvisionError } from '../../core/errors.ts';
import type { HostPolicy } from '../../core/policy/host-policy.ts';
import { judgeImage } from '../../core/policy/host-policy.ts';
import type { ChosenImage } from '../../core/policy/prefetch-rule.ts';
import type { VolumeRequest } from '../../core/request.ts';
import type { AheadRun, GoldenAhead } from '../golden/golden-ahead.ts';
import { digestUnknown, goldenRequestOf, requireGolden } from '../golden/golden-ahead.ts';
import type { GoldenRequest } from '../golden/golden-volumes.ts';
import { noRoom, volumeRequestOf } from './image-verbs.ts';
import type { LeaseNeeds } from '../fill/leased-image.ts';
import { LeasedImage } from '../fill/leased-image.ts';
import type { LowPriority } from '../stream/low-priority.ts';
import type { Log } from '../ports/host.ts';
import type { ImageCache, PrefetchedImage } from '../ports/image-cache.ts';
import type { ImageObject } from '../ports/images.ts';
import type { PrefetchedImages } from './prefetched-images.ts';
import type { ReadNeeds } from '../stream/read-image.ts';
import { readImage } from '../stream/read-image.ts';
import type { ImagePolicy } from '../fill/resolve-image.ts';
import { pinImage } from '../fill/resolve-image.ts';

export interface PrefetchNeeds extends LeaseNeeds, ReadNeeds {
  readonly cache: ImageCache;
  readonly hostPolicy: HostPolicy | undefined;
  readonly prefetched: PrefetchedImages;
  readonly priority: LowPriority;
  readonly log: Log;
  /** Undefined: there is no thin pool. */
  readonly golden?: GoldenAhead | undefined;
}

export interface Brought {
  readonly sha256: string;
  /** False: it was here, or had been and was evicted since, which only a pinned one is fetched again for. */
  readonly isNew: boolean;
}

/** Throws what a fill from it would fail with before its volume is published. */
export async function prefetchImage(
  needs: PrefetchNeeds,
  chosen: ChosenImage,
  run: AheadRun,
): Promise<Brought> {
  const { rule, name } = chosen;
  const { images, prefetched } = needs;
  await needs.priority.turn(run.signal);
  const request = volumeRequestOf({ image: name, format: rule.format, compression: rule.compression });
  const policy = policyFor(needs, request);
  const { object, proof } = await pinImage({ images, policy }, request);
  const known = prefetched.of(name);
  const isSame =
    known !== undefined && isOf(known, object) && known.sha256 === (proof.sha256 ?? known.sha256);
  let { sha256 } = isSame ? known : proof;
  let isNew = false;
  if (rule.toCache && !(await isHere(needs, chosen, { ...object, sha256 }, isSame))) {
    sha256 = await fetchImage({ ...needs, policy }, request, run, (fetched) =>
      record(needs, name, object, fetched),
    );
    isNew = true;
  }
  const asked = goldenRequestOf(request, proof, policy.wanted);
  const golden = await makeGolden(needs, chosen, asked, run);
  sha256 ??= golden.sha256;
  if (sha256 === undefined) throw digestUnknown(name);
  if (!isSame && !isNew) await record(needs, name, object, sha256);
  return { sha256, isNew: isNew || golden.isMade };
}

/** An image without any proof is refused whatever the configuration says: no fill could know it again. */
function policyFor(needs: PrefetchNeeds, request: VolumeRequest): ImagePolicy {
  const verdict = judgeImage(needs.hostPolicy, request);
  if (verdict?.allowed === false) throw new ProvisionError(verdict.problem);
  const kind = verdict?.rule.require;
  const wanted = verdict === undefined || kind === undefined ? undefined : { kind, rule: verdict.rule.name };
  return { ...needs.policy, requireDigest: true, wanted };
}

function isOf({ etag, version, sizeBytes }: PrefetchedImage, object: ImageObject): boolean {
  return etag === object.etag && version === object.version && sizeBytes === object.sizeBytes;
}

async function isHere(
  { cache }: PrefetchNeeds,
  { rule }: ChosenImage,
  { sha256, sizeBytes }: ImageObject & { readonly sha256: string | undefined },
  isSame: boolean,
): Promise<boolean> {
  if (sha256 === undefined) return false;
  if (isSame && !rule.pin) return true;
  return (await cache.list()).some((image) => image.sha256 === sha256 && image.sizeBytes === sizeBytes);
}

/** Pinned before the lease ends: at its end the cache makes room. */
async function fetchImage(
  needs: PrefetchNeeds,
  request: VolumeRequest,
  { signal, onProgress }: AheadRun,
  onKept: (sha256: string) => Promise<void>,
): Promise<string> {
  const cache = needs.priority.cache(needs.cache);
  const leased = new LeasedImage({ ...needs, cache }, request, {
    ...{ signal, log: needs.log, isImageWanted: () => false },
  });
  try {
    return await leased.use(async (image) => {
      const sha256 = await readImage(needs, image, signal, onProgress);
      if (!(await leased.keep(sha256))) throw noRoom(image);
      await onKept(sha256);
      return sha256;
    });
  } finally {
    await leased.close();
  }
}

async function makeGolden(
  { golden, priority }: PrefetchNeeds,
  { rule, name }: ChosenImage,
  request: GoldenRequest | undefined,
  run: AheadRun,
): Promise<{ readonly isMade: boolean; readonly sha256: string | undefined }> {
  let isMade = false;
  let sha256: string | undefined;
  for (const vg of rule.toGroups) {
    if (request === undefined) throw digestUnknown(name);
    const place = requireGolden(golden, vg);
    sha256 = await place.has(vg, request);
    if (sha256 !== undefined) continue;
    await priority.turn(run.signal);
    sha256 = await place.ensure(vg, request, { ...run, priority });
    isMade = true;
  }
  return { isMade, sha256 };
}

function record(
  { prefetched, clock }: PrefetchNeeds,
  image: string,
  { etag, version, sizeBytes }: ImageObject,
  sha256: string,
): Promise<void> {
  return prefetched.put({ image, sha256, etag, version, sizeBytes, atMs: clock.nowMs() });
}
