/** Images: what comes from the store and what from the cache, and what the cache keeps. */
import type { Registry } from 'prom-client';
import { Counter, Gauge } from 'prom-client';
import { toProblem } from '../../core/errors.ts';
import type { CachedImage, ImageCache, ImageLease } from '../../provision/ports/image-cache.ts';
import type { Images } from '../../provision/ports/images.ts';

export interface ImageSources {
  readonly cache: Pick<ImageCache, 'list' | 'budgetBytes'>;
}

export class ImageMetrics {
  readonly #storeBytes;
  readonly #storeErrors;
  readonly #cacheBytes;
  readonly #leases;
  readonly #evictions;
  readonly #evictedBytes;
  readonly #kept;
  readonly #budget;
  #sources: ImageSources | undefined;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#storeBytes = new Counter({
      ...{ name: 'lvp_store_read_bytes_total', help: 'Bytes of images read from the store.', registers },
    });
    this.#storeErrors = new Counter({
      name: 'lvp_store_errors_total',
      help: 'Requests to the store that failed, by error code; those that were cut off by a caller are not counted.',
      labelNames: ['reason'],
      registers,
    });
    this.#cacheBytes = new Counter({
      ...{ name: 'lvp_cache_read_bytes_total', help: 'Bytes of images read from the cache.', registers },
    });
    this.#leases = new Counter({
      name: 'lvp_cache_requests_total',
      help: 'Images asked for: hit, if they came from the cache, or miss.',
      labelNames: ['result'],
      registers,
    });
    this.#evictions = new Counter({
      ...{
        name: 'lvp_cache_evictions_total',
        help: 'Images removed from the cache to make room.',
        registers,
      },
    });
    this.#evictedBytes = new Counter({
      ...{ name: 'lvp_cache_evicted_bytes_total', help: 'Bytes of images removed to make room.', registers },
    });
    this.#kept = new Gauge({
      ...{ name: 'lvp_cache_size_bytes', help: 'Bytes of images in the cache.', registers },
      collect: () => this.#read(),
    });
    this.#budget = new Gauge({
      ...{ name: 'lvp_cache_limit_bytes', help: 'How much may stay in the cache; 0: nothing.', registers },
    });
    for (const result of ['hit', 'miss']) this.#leases.inc({ result }, 0);
  }

  ask(sources: ImageSources): void {
    this.#sources = sources;
  }

  /** An image was removed to make room. */
  readonly evicted = ({ sizeBytes }: Pick<CachedImage, 'sizeBytes'>): void => {
    this.#evictions.inc();
    this.#evictedBytes.inc(sizeBytes);
  };

  measuredStore(images: Images): Images {
    return {
      stat: (image, version) => this.#asked(() => images.stat(image, version)),
      readText: (image) => this.#asked(() => images.readText(image)),
      readInto: (object, offsetBytes, target, options) =>
        this.#asked(
          () => images.readInto(object, offsetBytes, target, counting(options, this.#storeBytes)),
          options.signal,
        ),
    };
  }

  measuredCache(cache: ImageCache): ImageCache {
    return {
      budgetBytes: cache.budgetBytes,
      lease: async (object, options) => {
        const lease = await cache.lease(object, options);
        this.#leases.inc({ result: lease.from === 'cache' ? 'hit' : 'miss' });
        return lease.from === 'cache' ? this.#measuredLease(lease) : lease;
      },
      list: () => cache.list(),
      evict: (what) => cache.evict(what),
      remove: (sha256) => cache.remove(sha256),
      strays: (what) => cache.strays(what),
    };
  }

  #measuredLease(lease: ImageLease): ImageLease {
    const { images } = lease;
    return {
      ...{ from: lease.from, sha256: lease.sha256 },
      images: {
        stat: (image, version) => images.stat(image, version),
        readText: (image) => images.readText(image),
        readInto: (object, offsetBytes, target, options) =>
          images.readInto(object, offsetBytes, target, counting(options, this.#cacheBytes)),
      },
      keep: (sha256) => lease.keep(sha256),
      distrust: () => lease.distrust(),
      close: (isStillWanted) => lease.close(isStillWanted),
    };
  }

  async #asked<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (signal?.aborted !== true) this.#storeErrors.inc({ reason: toProblem(error).code });
      throw error;
    }
  }

  async #read(): Promise<void> {
    if (this.#sources === undefined) return;
    const { cache } = this.#sources;
    this.#budget.set(cache.budgetBytes);
    // Whatever is wrong with the folder must not keep the other metrics back.
    const images = await cache.list().catch(() => []);
    this.#kept.set(images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  }
}

type ReadOptions = Parameters<Images['readInto']>[3];

function counting(options: ReadOptions, counter: Counter): ReadOptions {
  const { onBytes } = options;
  return {
    ...options,
    onBytes: (countBytes) => {
      counter.inc(countBytes);
      onBytes?.(countBytes);
    },
  };
}
