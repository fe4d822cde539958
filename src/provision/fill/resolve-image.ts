/**
 * Before a volume is touched: which bytes exactly, by what proof, and is the image one we accept?
 */
import { ProvisionError } from '../../core/errors.ts';
import type { ExpansionLimits } from '../../core/images/expansion.ts';
import { checkClusterExpansion } from '../../core/images/expansion.ts';
import type { ImageLayout } from '../../core/images/layout.ts';
import type { ImageProof } from '../../core/images/proof.ts';
import { furtherAlgorithms } from '../../core/images/proof.ts';
import type { VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { Clock } from '../ports/host.ts';
import type { ImageObject, Images } from '../ports/images.ts';
import type { Decompressors } from '../ports/workshop.ts';
import { readCompressedLayout } from '../stream/compressed-image.ts';
import type { OuterLayer } from '../stream/content-ranges.ts';
import { readLayout } from '../stream/stream-image.ts';
import type { ProofPolicy } from './find-proof.ts';
import { findProof } from './find-proof.ts';

/** What this host allows of images, from its configuration. */
export interface ImagePolicy extends ProofPolicy {
  /** Undefined: all buckets the credentials can read. */
  readonly buckets?: readonly string[] | undefined;
  readonly virtualSizeMaxBytes: number;
  /** For compressed objects. */
  readonly expansion: ExpansionLimits;
}

export interface ResolvedImage {
  readonly object: ImageObject;
  /** Where its bytes are read. */
  readonly images: Images;
  /** Of the image; where the object is compressed, of the image inside. */
  readonly layout: ImageLayout;
  readonly outer?: OuterLayer | undefined;
  /** What must be true of the object's bytes; empty only where the policy allows it. */
  readonly proof: ImageProof;
  /** The SHA-256 of the bytes that were judged, where that took a whole pass: those written must have it too. */
  readonly judgedSha256?: string | undefined;
  /** What the object's SHA-256 must be, if that is known beforehand. */
  readonly sha256?: string | undefined;
}

export interface ResolveNeeds {
  readonly images: Images;
  readonly clock: Clock;
  readonly decompressors: Decompressors;
  readonly policy: ImagePolicy;
}

/** Another way to the bytes of an object than the store itself. */
export type OpenObject = (object: ImageObject, proof: ImageProof) => Promise<Images>;

/** An object as it is now, and what must be true of its bytes. */
export interface PinnedImage {
  readonly object: ImageObject;
  readonly proof: ImageProof;
}

/** Pins the object and finds the proof of its content; reads none of its bytes. */
export async function pinImage(
  { images, policy }: Pick<ResolveNeeds, 'images' | 'policy'>,
  request: VolumeRequest,
): Promise<PinnedImage> {
  checkBucket(policy, request);
  const object = await images.stat(request.image, request.version);
  const proof = await findProof(images, policy, request);
  warnEarly(object, proof);
  return { object, proof };
}

/** Pins the object, finds the proof of its content and reads its metadata. Writes nothing anywhere. */
export async function resolveImage(
  needs: ResolveNeeds,
  request: VolumeRequest,
  signal: AbortSignal,
  open?: OpenObject,
): Promise<ResolvedImage> {
  const { object, proof } = await pinImage(needs, request);
  const images = (await open?.(object, proof)) ?? needs.images;
  const source = { images, clock: needs.clock, object, signal };
  const outer = outerLayer(needs, request);
  if (outer !== undefined) {
    const { layout, sha256 } = await readCompressedLayout(source, outer, proof);
    checkClusterExpansion(layout, needs.policy.expansion);
    signal.throwIfAborted();
    // What was judged is what is written, also where nobody has said what it must be.
    return {
      ...{ object, images, outer, proof, sha256: proof.sha256 },
      ...{ layout: fromTheStart(layout), judgedSha256: sha256 },
    };
  }
  const layout = await readLayout(source, request.format, needs.policy.virtualSizeMaxBytes);
  checkClusterExpansion(layout, needs.policy.expansion);
  signal.throwIfAborted();
  const isResumable = furtherAlgorithms(proof).length === 0;
  return {
    ...{ object, images, proof, sha256: proof.sha256 },
    layout: isResumable ? layout : fromTheStart(layout),
  };
}

/** Before anything is downloaded: the store itself knows that this is another object. Its word is no proof. */
function warnEarly({ image, storeSha256 }: ImageObject, { sha256 }: ImageProof): void {
  if (sha256 === undefined || storeSha256 === undefined || sha256 === storeSha256) return;
  throw new ProvisionError({
    code: 'DIGEST_MISMATCH',
    message: `The store says that ${imageName(image)} has the SHA-256 ${storeSha256}, expected is ${sha256}.`,
    hint: 'Either the object is not the image that was meant, or the annotation or sidecar names an old digest.',
  });
}

function outerLayer(needs: ResolveNeeds, { compression, format }: VolumeRequest): OuterLayer | undefined {
  if (compression === undefined) return undefined;
  const { virtualSizeMaxBytes, expansion: limits } = needs.policy;
  return { compression, format, decompressors: needs.decompressors, virtualSizeMaxBytes, limits };
}

/** Neither a decompressor nor a second digest can be taken up in the middle. */
function fromTheStart(layout: ImageLayout): ImageLayout {
  const { format, objectSizeBytes, virtualSizeBytes } = layout;
  return {
    ...{ format, objectSizeBytes, virtualSizeBytes },
    holes: (volumeSizeBytes) => layout.holes(volumeSizeBytes),
    decoder: () => layout.decoder(),
  };
}

/** The size the volume must at least have, in bytes: the image's, or the larger one that was asked for. */
export function wantedSizeBytes(
  request: VolumeRequest,
  { virtualSizeBytes }: Pick<ImageLayout, 'virtualSizeBytes'>,
): number {
  const { sizeBytes = virtualSizeBytes } = request;
  if (sizeBytes >= virtualSizeBytes) return sizeBytes;
  throw new ProvisionError({
    code: 'IMAGE_TOO_LARGE',
    message: `The annotation asks for a volume of ${sizeBytes} bytes, but the disk in ${imageName(request.image)} has ${virtualSizeBytes} bytes.`,
    hint: 'A size can only grow an image: raise size in the annotation or leave it out.',
  });
}

/** POLICY_REFUSED for an image in a bucket from which none is taken. */
export function checkBucket(policy: Pick<ImagePolicy, 'buckets'>, request: VolumeRequest): void {
  if (policy.buckets === undefined || policy.buckets.includes(request.image.bucket)) return;
  throw new ProvisionError({
    code: 'POLICY_REFUSED',
    message: `Bucket ${request.image.bucket} is not among those this host may take images from: ${policy.buckets.join(', ')}.`,
    hint: 'Use an image from one of them, or have minio.buckets in the configuration extended.',
  });
}
