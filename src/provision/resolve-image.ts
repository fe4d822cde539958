/**
 * Before a volume is touched: which bytes exactly, by what proof, and is the image one we accept?
 */
import { readSidecar, sidecarKey } from '../core/digest.ts';
import { ProvisionError } from '../core/errors.ts';
import type { ImageLayout } from '../core/images/layout.ts';
import type { VolumeRequest } from '../core/request.ts';
import { imageName } from '../core/request.ts';
import type { Clock, ImageObject, Images } from './ports.ts';
import { readLayout } from './stream-image.ts';

/** What this host allows of images, from its configuration. */
export interface ImagePolicy {
  /** Without a digest from annotation or sidecar an image is refused. */
  readonly requireDigest: boolean;
  /** Undefined: all buckets the credentials can read. */
  readonly buckets?: readonly string[] | undefined;
  readonly virtualSizeMaxBytes: number;
}

export interface ResolvedImage {
  readonly object: ImageObject;
  readonly layout: ImageLayout;
  /** What the object's SHA-256 must be; undefined only where the policy allows it. */
  readonly sha256?: string | undefined;
}

/** Pins the object, finds the proof of its content and reads its metadata. Writes nothing anywhere. */
export async function resolveImage(
  needs: { readonly images: Images; readonly clock: Clock; readonly policy: ImagePolicy },
  request: VolumeRequest,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  checkBucket(needs.policy, request);
  const object = await needs.images.stat(request.image, request.version);
  const sha256 = request.sha256 ?? (await sidecarDigest(needs.images, request));
  if (sha256 === undefined && needs.policy.requireDigest) {
    throw new ProvisionError({
      code: 'DIGEST_MISSING',
      message: `Nothing says what the SHA-256 of ${imageName(request.image)} must be: the annotation has no sha256, and there is no object ${imageName(request.image)}.sha256.`,
      hint: 'Add sha256="…" to the annotation, or upload the output of sha256sum as that object.',
    });
  }
  const source = { images: needs.images, clock: needs.clock, object, signal };
  const layout = await readLayout(source, request.format, needs.policy.virtualSizeMaxBytes);
  signal.throwIfAborted();
  return { object, layout, sha256 };
}

/** The size the volume must at least have, in bytes: the image's, or the larger one that was asked for. */
export function wantedSizeBytes(request: VolumeRequest, layout: ImageLayout): number {
  const { sizeBytes = layout.virtualSizeBytes } = request;
  if (sizeBytes >= layout.virtualSizeBytes) return sizeBytes;
  throw new ProvisionError({
    code: 'IMAGE_TOO_LARGE',
    message: `The annotation asks for a volume of ${sizeBytes} bytes, but the disk in ${imageName(request.image)} has ${layout.virtualSizeBytes} bytes.`,
    hint: 'A size can only grow an image: raise size in the annotation or leave it out.',
  });
}

function checkBucket(policy: ImagePolicy, request: VolumeRequest): void {
  if (policy.buckets === undefined || policy.buckets.includes(request.image.bucket)) return;
  throw new ProvisionError({
    code: 'POLICY_REFUSED',
    message: `Bucket ${request.image.bucket} is not among those this host may take images from: ${policy.buckets.join(', ')}.`,
    hint: 'Use an image from one of them, or have minio.buckets in the configuration extended.',
  });
}

async function sidecarDigest(images: Images, { image }: VolumeRequest): Promise<string | undefined> {
  const sidecar = { bucket: image.bucket, key: sidecarKey(image.key) };
  const text = await images.readText(sidecar);
  return text === undefined ? undefined : readSidecar(text, image.key);
}
