/**
 * The image of a fill: where its bytes come from, and what they mean. If the bytes are in the cache and turn
 * out not to be those of their name, the entry is thrown away and the work is done again from the store.
 */
import type { ErrorCode } from '../../core/errors.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { Log } from '../ports/host.ts';
import type { ImageCache, ImageLease } from '../ports/image-cache.ts';
import type { ResolvedImage, ResolveNeeds } from './resolve-image.ts';
import { resolveImage } from './resolve-image.ts';

export interface LeaseNeeds extends ResolveNeeds {
  /** Without one, every fill reads from the store. */
  readonly cache?: ImageCache | undefined;
}

/** The part of a fill's run that is needed here. */
export interface LeaseRun {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Whether others read the same object, now or soon. */
  isImageWanted(): boolean;
}

/** What damaged bytes look like. */
export function isOfContent(error: unknown): boolean {
  return error instanceof ProvisionError && OF_CONTENT.has(error.code);
}

const OF_CONTENT: ReadonlySet<ErrorCode> = new Set([
  'DIGEST_MISMATCH',
  'SIGNATURE_INVALID',
  'IMAGE_CHANGED',
  'IMAGE_FORBIDDEN_FEATURE',
  'IMAGE_MALFORMED',
  'IMAGE_TOO_LARGE',
  'IMAGE_TRUNCATED',
]);

export class LeasedImage {
  readonly #needs: LeaseNeeds;
  readonly #request: VolumeRequest;
  readonly #run: LeaseRun;
  #lease: ImageLease | undefined;
  #resolved: ResolvedImage | undefined;

  constructor(needs: LeaseNeeds, request: VolumeRequest, run: LeaseRun) {
    this.#needs = needs;
    this.#request = request;
    this.#run = run;
  }

  /** Does the work with the resolved image; a second time if what the cache gave was wrong. */
  async use<T>(work: (image: ResolvedImage) => T | Promise<T>): Promise<T> {
    try {
      return await work((this.#resolved ??= await this.#resolve()));
    } catch (error) {
      if (!this.#isDoubtful(error)) throw error;
      this.#run.log.warn(
        { err: error, image: imageName(this.#request.image) },
        'the cached image is damaged',
      );
      await this.#lease?.distrust();
      await this.close();
      return await work((this.#resolved = await this.#resolve()));
    }
  }

  get from(): ImageLease['from'] {
    return this.#lease?.from ?? 'store';
  }

  /** The object was read to its end and is what it should be. */
  async keep(sha256: string): Promise<boolean> {
    try {
      return (await this.#lease?.keep(sha256)) ?? false;
    } catch (error) {
      this.#run.log.warn({ err: error }, 'the image could not be put into the cache');
      return false;
    }
  }

  async close(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    this.#resolved = undefined;
    await lease?.close(() => this.#run.isImageWanted());
  }

  async #resolve(): Promise<ResolvedImage> {
    const { cache } = this.#needs;
    const image = await resolveImage(this.#needs, this.#request, this.#run.signal, async (object, proof) => {
      // A compressed object is read twice, and fetched once if there is room for it.
      const isShared = this.#run.isImageWanted() || this.#request.compression !== undefined;
      const isProvenOtherwise = proof.signature !== undefined || proof.sha512 !== undefined;
      this.#lease = await cache?.lease(object, { sha256: proof.sha256, isProvenOtherwise, isShared });
      return this.#lease?.images ?? this.#needs.images;
    });
    const { etag, version } = image.object;
    this.#run.log.info(
      { image: imageName(this.#request.image), etag, version, from: this.#lease?.from ?? 'store' },
      'image pinned',
    );
    return image;
  }

  #isDoubtful(error: unknown): boolean {
    return this.#lease?.from === 'cache' && isOfContent(error);
  }
}
