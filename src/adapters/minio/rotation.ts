/**
 * The bucket store with keys and certificate authority that can be changed while it is read. Each request goes out
 * with what counts at that moment; one that is under way ends with what it began with.
 */
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { ImageReference } from '../../core/request.ts';
import type {
  BucketListing,
  Buckets,
  ImageObject,
  Images,
  ListenEnd,
  Listener,
  ReadOptions,
} from '../../provision/ports/images.ts';
import type { MinioImages, MinioSettings } from './images.ts';
import { openMinio } from './images.ts';

/** Where no bucket is configured: whether there is one of this name does not matter, only whether we may ask. */
const PROBE_BUCKET = 'lvp-asks-whether-its-keys-are-known';

/** A way to the store, closed when it is no longer the one in use and its last request has ended. */
interface Way {
  readonly images: MinioImages;
  requests: number;
}

export interface RotatingSettings extends MinioSettings {
  readonly buckets: readonly string[] | undefined;
}

export class RotatingImages implements Images, Buckets {
  readonly #bucket: string;
  #way: Way;

  constructor(settings: RotatingSettings) {
    this.#bucket = settings.buckets?.[0] ?? PROBE_BUCKET;
    this.#way = { images: openMinio(settings), requests: 0 };
  }

  stat(image: ImageReference, version?: string): Promise<ImageObject> {
    return this.#use((images) => images.stat(image, version));
  }

  readText(image: ImageReference): Promise<string | undefined> {
    return this.#use((images) => images.readText(image));
  }

  readInto(
    object: ImageObject,
    offsetBytes: number,
    target: Uint8Array,
    options: ReadOptions,
  ): Promise<void> {
    let gotBytes = 0;
    return this.#use(
      (images) =>
        images.readInto(object, offsetBytes, target, {
          ...options,
          onBytes: (countBytes) => {
            gotBytes += countBytes;
            options.onBytes?.(countBytes);
          },
        }),
      () => gotBytes === 0,
    );
  }

  list(bucket: string, prefix: string, countMax: number, signal: AbortSignal): Promise<BucketListing> {
    return this.#use((images) => images.buckets.list(bucket, prefix, countMax, signal));
  }

  /** Not counted as a request: it would never end, and ends with its way, so that it begins anew with the new keys. */
  listen(bucket: string, prefix: string, listener: Listener, signal: AbortSignal): Promise<ListenEnd> {
    return this.#way.images.buckets.listen(bucket, prefix, listener, signal);
  }

  /**
   * Tries the new keys and authority, and uses them from now on if the store takes them; else throws why it does
   * not, and nothing has changed.
   */
  async replace(settings: MinioSettings): Promise<void> {
    const images = openMinio(settings);
    try {
      await this.#judge(images);
    } catch (error) {
      images.close();
      throw error;
    }
    const before = this.#way;
    this.#way = { images, requests: 0 };
    if (before.requests === 0) before.images.close();
  }

  /** Closes what is idle; requests under way end as they end. */
  close(): void {
    this.#way.images.close();
  }

  async #judge(images: MinioImages): Promise<void> {
    if ((await this.#probe(images)) === 'readable') return;
    // Known to the store, which does not say what they may read: as good as the old ones, unless those may more.
    const before = await this.#probe(this.#way.images).catch(() => 'unknown');
    if (before !== 'readable') return;
    throw new ProvisionError({
      code: 'STORE_ACCESS_DENIED',
      message: `The store knows the new keys, but does not let them see the bucket ${this.#bucket}, which those in use do.`,
      hint: 'Give the new key the same policy (s3:GetObject and s3:ListBucket on the image buckets).',
    });
  }

  /** A bucket that is not there says that the keys were right: it is asked after they are. */
  async #probe(images: MinioImages): Promise<'readable' | 'unknown'> {
    try {
      return await images.probeBucket(this.#bucket);
    } catch (error) {
      if (error instanceof ProvisionError && error.code === 'IMAGE_NOT_FOUND') return 'unknown';
      throw error;
    }
  }

  async #use<T>(ask: (images: MinioImages) => Promise<T>, mayRepeat = () => true): Promise<T> {
    for (;;) {
      const way = this.#way;
      way.requests += 1;
      try {
        return await ask(way.images);
      } catch (error) {
        // Signed with keys that were revoked as soon as the new ones were there.
        const isOld = way !== this.#way && toProblem(error).code === 'STORE_ACCESS_DENIED';
        if (!isOld || !mayRepeat()) throw error;
      } finally {
        way.requests -= 1;
        if (way !== this.#way && way.requests === 0) way.images.close();
      }
    }
  }
}
