/**
 * When a domain may have the volume that a job has filled. Its seal names the job as long as no domain has claimed
 * it, and a claim puts the domain in its place, once and for good: so no annotated guest has run on what can
 * still be claimed.
 */
import type { ProofKind } from '../images/proof.ts';
import type { VolumeRequest } from '../request.ts';
import { imageName } from '../request.ts';
import type { Seal } from '../volume/volume.ts';
import { formatTag, imageTag } from '../volume/volume.ts';

/**
 * Why what a job has filled is not what an annotation asks for; empty if it is. What the seal does not prove
 * counts as another thing. The volume may be larger than it is asked for. `wanted` is what a rule of the host's
 * policy wants as proof for this domain, which may be more than it wanted for the job.
 */
export function objectionsToClaim(
  seal: Seal,
  request: VolumeRequest,
  sizeBytes: number,
  wanted: ProofKind | undefined,
): readonly string[] {
  const format = formatTag(request);
  const checks: readonly [boolean, string][] = [
    [seal.image === imageTag(request.image), `it was filled from ${seal.image}`],
    [seal.format === format, `its image was read as ${seal.format ?? 'something unknown'}, not as ${format}`],
    [request.key === undefined, 'the disk is encrypted, and no job fills an encrypted volume'],
    [seal.generation === request.generation, `the annotation asks for generation ${request.generation}`],
    [(request.sizeBytes ?? 0) <= sizeBytes, `it has ${sizeBytes} bytes, too few for the size asked for`],
    [
      isProven(seal, request, wanted),
      `its image has the SHA-256 ${seal.sha256}, which the annotation would have to state`,
    ],
    [wanted !== 'signature', "this host's policy wants a signature, and the seal does not prove one"],
  ];
  return checks.filter(([agrees]) => !agrees).map(([, objection]) => objection);
}

/** The same SHA-256 is the same object, whatever else is said of it; a SHA-512 or a version is in no seal. */
function isProven(
  seal: Seal,
  { sha256, sha512, version }: VolumeRequest,
  wanted: ProofKind | undefined,
): boolean {
  if (sha256 !== undefined) return sha256 === seal.sha256;
  return sha512 === undefined && version === undefined && wanted === undefined;
}

/** Whether a domain may wait for what a job is filling: once that is sealed, objectionsToClaim() has the last word. */
export function mayComeToClaim(job: VolumeRequest, request: VolumeRequest): boolean {
  return (
    imageName(job.image) === imageName(request.image) &&
    formatTag(job) === formatTag(request) &&
    request.key === undefined &&
    job.generation === request.generation &&
    (job.sha256 === undefined || request.sha256 === undefined || job.sha256 === request.sha256)
  );
}
