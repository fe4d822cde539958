/** Golden volumes, as they are made before a guest asks for one. */
import { servingGolden } from '../core/golden.ts';
import { ProvisionError } from '../core/errors.ts';
import type { VolumeRequest } from '../core/request.ts';
import type { GoldenVolumes } from './golden-volumes.ts';
import type { Log } from './ports.ts';
import type { OnProgress } from './read-image.ts';

/** Golden volumes, as far as they are made ahead of time. */
export interface GoldenAhead {
  has(vg: string, request: VolumeRequest): Promise<boolean>;
  /** Makes one, unless it is there by then. */
  ensure(vg: string, request: VolumeRequest & { readonly sha256: string }, run: AheadRun): Promise<void>;
}

export interface AheadRun {
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** POOL_UNSUITABLE where there is no thin pool at all. */
export function requireGolden(golden: GoldenAhead | undefined, vg: string): GoldenAhead {
  if (golden !== undefined) return golden;
  throw noThinPool(vg);
}

export function digestUnknown(name: string): ProvisionError {
  return new ProvisionError({
    code: 'DIGEST_MISSING',
    message: `Nothing says beforehand what the SHA-256 of ${name} is, by which a golden volume is known.`,
    hint: `Upload the output of sha256sum as ${name}.sha256, or have it brought into the cache, too: to: [cache, …].`,
  });
}

function noThinPool(vg: string): ProvisionError {
  return new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `The volume group ${vg} has no thin pool in which there could be golden volumes.`,
    hint: 'Name it in thin_pools of the configuration, or prefetch to the cache.',
  });
}

/** The golden volumes of this host, of which each is made by one for all who want it. */
export function goldenAhead(
  goldens: Pick<GoldenVolumes, 'list' | 'ensure'>,
  thinPools: ReadonlyMap<string, string>,
  log: Log,
): GoldenAhead {
  return {
    async has(vg, { sha256, format, compression }) {
      const thinPool = thinPools.get(vg);
      if (thinPool === undefined) throw noThinPool(vg);
      if (sha256 === undefined) return false;
      const place = { vg, thinPool };
      return servingGolden(await goldens.list(), place, { sha256, format, compression }) !== undefined;
    },
    async ensure(vg, { image, sha256, format, compression, version }, { signal, onProgress }) {
      let bytesTotal = 0;
      await goldens.ensure(
        vg,
        { image, sha256, format, compression, version },
        {
          ...{ signal, log },
          phase: (_phase, total = bytesTotal) => {
            bytesTotal = total;
          },
          progress: (bytesDone) => {
            onProgress(bytesDone, bytesTotal);
          },
        },
      );
    },
  };
}
