/**
 * Finds what proves that an object is the image that was meant: digests from the annotation or from beside
 * the object, a signature where the host's rules want one. What is missing is a refusal, before a volume is
 * touched.
 */
import { ProvisionError } from '../../core/errors.ts';
import { readDigest, sidecarsOf } from '../../core/images/digest.ts';
import type { ImageProof, ProofKind } from '../../core/images/proof.ts';
import type { MinisignKey } from '../../core/policy/minisign.ts';
import { readSignature, signatureKey } from '../../core/policy/minisign.ts';
import type { VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { Images } from '../ports/images.ts';

/** What proof this host wants, from its configuration. */
export interface ProofPolicy {
  /** Where no rule fits: whether an image without a digest is refused. */
  readonly requireDigest: boolean;
  /** By the beginning of `BUCKET/KEY`; the first that fits counts. */
  readonly rules?: readonly { readonly prefix: string; readonly require: ProofKind }[] | undefined;
  readonly minisignKeys?: readonly MinisignKey[] | undefined;
  /** What a rule of the host's policy wants for this domain beside that; the stricter of both counts. */
  readonly wanted?: { readonly kind: ProofKind; readonly rule: string } | undefined;
}

export async function findProof(
  images: Images,
  policy: ProofPolicy,
  request: VolumeRequest,
): Promise<ImageProof> {
  const name = imageName(request.image);
  const rule = policy.rules?.find(({ prefix }) => name.startsWith(prefix));
  const wanted = stricter(
    rule?.require ?? (policy.requireDigest ? 'digest' : undefined),
    policy.wanted?.kind,
  );
  const { sha256, sha512 } = request;
  const stated = sha256 === undefined && sha512 === undefined ? undefined : { sha256, sha512 };
  if (wanted === 'signature') {
    return { ...stated, signature: await findSignature(images, policy, request) };
  }
  const proof = stated ?? (await findDigest(images, request));
  if (proof === undefined && wanted === 'digest') throw digestMissing(request, policy);
  return proof ?? {};
}

function stricter(one: ProofKind | undefined, other: ProofKind | undefined): ProofKind | undefined {
  return one === 'signature' || other === 'signature' ? 'signature' : (one ?? other);
}

async function findDigest(images: Images, { image }: VolumeRequest): Promise<ImageProof | undefined> {
  for (const sidecar of sidecarsOf(image.key)) {
    const text = await images.readText({ bucket: image.bucket, key: sidecar.key });
    const digest = text === undefined ? undefined : readDigest(text, image.key, sidecar);
    if (digest !== undefined) return { [sidecar.algorithm]: digest };
  }
  return undefined;
}

async function findSignature(images: Images, policy: ProofPolicy, { image }: VolumeRequest) {
  const key = signatureKey(image.key);
  const text = await images.readText({ bucket: image.bucket, key });
  if (text !== undefined) return readSignature(text, image.key, policy.minisignKeys ?? []);
  throw new ProvisionError({
    code: 'SIGNATURE_MISSING',
    message: `The image ${imageName(image)} has no signature: there is no object ${image.bucket}/${key}.`,
    hint: `${whoWants(policy, 'signature') ?? 'This host takes images of this place only signed'}: minisign -S -m FILE, and upload FILE.minisig beside the image.`,
  });
}

/** The rule of the host's policy, if it is what wants this. */
function whoWants({ wanted }: ProofPolicy, kind: ProofKind): string | undefined {
  return wanted?.kind === kind ? `Rule ${wanted.rule} of this host's policy wants a ${kind}` : undefined;
}

function digestMissing({ image }: VolumeRequest, policy: ProofPolicy): ProvisionError {
  const places = sidecarsOf(image.key).map(({ key }) => key);
  return new ProvisionError({
    code: 'DIGEST_MISSING',
    message: `Nothing says what the digest of ${imageName(image)} must be: the annotation has neither sha256 nor sha512, and none of ${places.join(', ')} in bucket ${image.bucket} names it.`,
    hint: `${whoWants(policy, 'digest') ?? 'This host takes no image without a digest'}: add sha256="…" to the annotation, or upload the output of sha256sum as the first of these objects.`,
  });
}
