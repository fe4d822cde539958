/** Which images are on this host already, as far as that is known without asking the store. */
import type { VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { ImageCache } from '../ports/image-cache.ts';
import type { PrefetchedImages } from './prefetched-images.ts';

export class WarmImages {
  readonly #cache: Pick<ImageCache, 'list'>;
  readonly #prefetched: Pick<PrefetchedImages, 'of'>;

  constructor(cache: Pick<ImageCache, 'list'>, prefetched: Pick<PrefetchedImages, 'of'>) {
    this.#cache = cache;
    this.#prefetched = prefetched;
  }

  /** The targets of those requests whose images are read from the cache, if the store says nothing else. */
  async targetsOf(requests: readonly VolumeRequest[]): Promise<ReadonlySet<string>> {
    const cached = new Set((await this.#cache.list().catch(() => [])).map(({ sha256 }) => sha256));
    const warm = requests.filter((request) => cached.has(this.#digestOf(request) ?? ''));
    return new Set(warm.map(({ target }) => target));
  }

  #digestOf({ sha256, version, image }: VolumeRequest): string | undefined {
    if (sha256 !== undefined) return sha256;
    const known = this.#prefetched.of(imageName(image));
    return version === undefined || version === known?.version ? known?.sha256 : undefined;
  }
}
