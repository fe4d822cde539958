/** The digests of a fill that are needed besides SHA-256, over the bytes of the object in order. */
import { createHash } from 'node:crypto';
import type { Digests, HashAlgorithm, ImageProof } from '../../core/images/proof.ts';
import { furtherAlgorithms } from '../../core/images/proof.ts';

export class ProofHasher {
  readonly #hashes;

  constructor(proof: ImageProof) {
    this.#hashes = furtherAlgorithms(proof).map((algorithm) => [algorithm, createHash(algorithm)] as const);
  }

  update(bytes: Uint8Array): void {
    for (const [, hash] of this.#hashes) hash.update(bytes);
  }

  /** All digests, once. */
  digests(sha256: string): Digests {
    const further: Partial<Record<HashAlgorithm, string>> = {};
    for (const [algorithm, hash] of this.#hashes) further[algorithm] = hash.digest('hex');
    return { ...further, sha256 };
  }
}
