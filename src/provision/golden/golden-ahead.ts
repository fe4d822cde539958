/** Golden volumes, as they are made before a guest asks for one. */
import { ProvisionError } from '../../core/errors.ts';
import type { ImageProof } from '../../core/images/proof.ts';
import { provenBy } from '../../core/images/proof.ts';
import type { VolumeRequest } from '../../core/request.ts';
import type { ProofPolicy } from '../fill/find-proof.ts';
import { noThinPool } from './golden-problems.ts';
import type { GoldenRequest, GoldenVolumes } from './golden-volumes.ts';
import type { LowPriority } from '../stream/low-priority.ts';
import type { Log } from '../ports/host.ts';
import type { OnProgress } from '../stream/read-image.ts';

/** Golden volumes, as far as they are made ahead of time. */
export interface GoldenAhead {
  /** The SHA-256 of the image in the one that is there; undefined if there is none. */
  has(vg: string, request: GoldenRequest): Promise<string | undefined>;
  /** Makes one, unless it is there by then; resolves with the same. */
  ensure(vg: string, request: GoldenRequest, run: AheadRun): Promise<string>;
}

export interface AheadRun {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  /** Nobody waits for it: how it makes way for others. Without it, it is made at full speed. */
  readonly priority?: LowPriority | undefined;
}

/** POOL_UNSUITABLE where there is no thin pool at all. */
export function requireGolden(golden: GoldenAhead | undefined, vg: string): GoldenAhead {
  if (golden !== undefined) return golden;
  throw noThinPool(vg);
}

/** As a golden volume of the image is asked for, by what proves it; undefined if nothing does. */
export function goldenRequestOf(
  { image, format, compression, version, sha512 }: VolumeRequest,
  proof: ImageProof,
  wanted?: ProofPolicy['wanted'],
): GoldenRequest | undefined {
  const proofs = provenBy(proof);
  if (proof.sha256 === undefined && proofs.length === 0) return undefined;
  return {
    ...{ image, format, compression, version, sha512, wanted },
    ...{ sha256: proof.sha256, provenBy: proofs },
  };
}

export function digestUnknown(name: string): ProvisionError {
  return new ProvisionError({
    code: 'DIGEST_MISSING',
    message: `Nothing says beforehand which bytes ${name} has, by which a golden volume is known.`,
    hint: `Upload the output of sha256sum as ${name}.sha256, or have it brought into the cache, too: to: [cache, …].`,
  });
}

/** The golden volumes of this host, of which each is made by one for all who want it. */
export function goldenAhead(
  goldens: Pick<GoldenVolumes, 'find' | 'ensure'>,
  thinPools: ReadonlyMap<string, string>,
  log: Log,
): GoldenAhead {
  return {
    async has(vg, request) {
      const thinPool = thinPools.get(vg);
      if (thinPool === undefined) throw noThinPool(vg);
      return (await goldens.find({ vg, thinPool }, request))?.seal.sha256;
    },
    async ensure(vg, request, { signal, onProgress, priority }) {
      let bytesTotal = 0;
      const { seal } = await goldens.ensure(vg, request, {
        ...{ signal, log, priority, isPatient: priority !== undefined },
        phase: (_phase, total = bytesTotal) => {
          bytesTotal = total;
        },
        progress: (bytesDone) => {
          onProgress(bytesDone, bytesTotal);
        },
      });
      return seal.sha256;
    },
  };
}
