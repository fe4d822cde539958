/**
 * What must be true of an object's bytes before they are published: digests that somebody stated, and a
 * signature. The bytes are hashed while they stream; the comparison comes before the volume gets its name.
 */
import { createHash } from 'node:crypto';
import { ProvisionError } from '../errors.ts';
import type { MinisignSignature } from '../policy/minisign.ts';
import { isSignatureOf, signatureKey } from '../policy/minisign.ts';
import type { ImageReference } from '../request.ts';
import { imageName } from '../request.ts';

export interface ImageProof {
  readonly sha256?: string | undefined;
  readonly sha512?: string | undefined;
  readonly signature?: MinisignSignature | undefined;
}

/** What can be wanted as proof; a signature is more than a digest. */
export type ProofKind = 'digest' | 'signature';

export type HashAlgorithm = 'sha256' | 'sha512' | 'blake2b512';

/** Hex digests of all bytes of an object. The SHA-256 is always there: the seal names it. */
export type Digests = Readonly<Record<'sha256', string> & Partial<Record<HashAlgorithm, string>>>;

/** What has to be hashed besides SHA-256. */
export function furtherAlgorithms(proof: ImageProof): readonly HashAlgorithm[] {
  return [
    ...(proof.sha512 === undefined ? [] : (['sha512'] as const)),
    ...(proof.signature === undefined ? [] : (['blake2b512'] as const)),
  ];
}

/**
 * What of a proof is more than a SHA-256, each part with a name of its own. Bytes that were compared with all parts and
 * have some SHA-256 need not be compared again to know that other bytes with that SHA-256 are proven by the same.
 */
export function provenBy({ sha512, signature }: ImageProof): readonly string[] {
  return [
    ...(sha512 === undefined ? [] : [`sha512:${sha512}`]),
    ...(signature === undefined ? [] : [`minisign:${digestOfSignature(signature)}`]),
  ];
}

/** Of the signature itself and the key: the same only for the same signature by the same key. */
function digestOfSignature({ signer, signature }: MinisignSignature): string {
  const key = signer.key.export({ format: 'der', type: 'spki' });
  return createHash('sha256').update(key).update(signature).digest('hex');
}

/** Throws unless the bytes with these digests are the ones that were proven. */
export function checkProof(image: ImageReference, proof: ImageProof, digests: Digests): void {
  requireDigest(image, 'SHA-256', proof.sha256, digests.sha256);
  requireDigest(image, 'SHA-512', proof.sha512, digests.sha512);
  const { signature } = proof;
  if (signature === undefined || isSignatureOf(signature, digests.blake2b512 ?? '')) return;
  throw new ProvisionError({
    code: 'SIGNATURE_INVALID',
    message: `The image ${imageName(image)} is not the one that was signed with key ${signature.signer.id}.`,
    hint: `Either the object or ${signatureKey(image.key)} was replaced: sign the object that is meant, and upload both.`,
  });
}

function requireDigest(
  image: ImageReference,
  name: string,
  expected: string | undefined,
  found: string | undefined,
): void {
  if (expected === undefined || expected === found) return;
  throw new ProvisionError({
    code: 'DIGEST_MISMATCH',
    message: `The image ${imageName(image)} has the ${name} ${found ?? '(not computed)'}, expected is ${expected}.`,
    hint: 'Either the object is not the image that was meant, or the annotation or sidecar names an old digest.',
  });
}
