/** The verbs behind `lvp image`: what an image is, whether it is whole, and having it on this host beforehand. */
import { readVolumeAttributes } from '../../core/annotation.ts';
import { AnnotationError } from '../../core/xml/annotation-error.ts';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { GoldenVolume } from '../../core/thin/golden.ts';
import type {
  CachedImages,
  GcResult,
  ImageFacts,
  ImageRequest,
  PrefetchRequest,
  ReadImage,
  RmResult,
  StoredImages,
} from '../../core/protocol/image-protocol.ts';
import type { PrefetchStatus } from '../../core/protocol/prefetch-protocol.ts';
import type { ImageProof } from '../../core/images/proof.ts';
import type { VolumeRequest } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { GoldenAhead } from '../golden/golden-ahead.ts';
import { digestUnknown, goldenRequestOf, requireGolden } from '../golden/golden-ahead.ts';
import { goldenInUse, goldenPinned, nameOfGolden } from '../golden/golden-problems.ts';
import type { GoldenRequest, GoldenVolumes } from '../golden/golden-volumes.ts';
import { LeasedImage } from '../fill/leased-image.ts';
import { namedImages } from './named-images.ts';
import type { Log } from '../ports/host.ts';
import type { CachedImage, ImageCache } from '../ports/image-cache.ts';
import type { Buckets } from '../ports/images.ts';
import type { ImageVerbs } from '../ports/verbs.ts';
import type { Workshops } from '../ports/workshop.ts';
import type { ResolvedImage, ResolveNeeds } from '../fill/resolve-image.ts';
import type { OnProgress } from '../stream/read-image.ts';
import { readImage } from '../stream/read-image.ts';
import { storedImages } from './stored-images.ts';

/** Images read by hand at the same time: each takes the memory of a fill. */
const READS_MAX = 2;

export interface ImageNeeds extends ResolveNeeds {
  readonly cache: ImageCache;
  readonly workshops?: Workshops | undefined;
  readonly log: Log;
  readonly buckets: Pick<Buckets, 'list'>;
  /** Undefined: there is no thin pool. */
  readonly golden?: GoldenAhead | undefined;
  readonly goldens?:
    | Pick<GoldenVolumes, 'list' | 'drop' | 'retire' | 'space' | 'usedAtMs' | 'isInUse' | 'isPinned'>
    | undefined;
  /** Undefined where the configuration has no rules. */
  readonly prefetching?: (() => PrefetchStatus) | undefined;
}

export class CachedImageVerbs implements ImageVerbs {
  readonly #needs: ImageNeeds;
  #reads = 0;

  constructor(needs: ImageNeeds) {
    this.#needs = needs;
  }

  async images(): Promise<CachedImages> {
    const { cache, goldens, prefetching } = this.#needs;
    return {
      ...{ sizeMaxBytes: cache.budgetBytes, images: (await cache.list()).map(shown) },
      golden: (await this.#goldens()).map(({ shown: golden }) => golden),
      goldenSpace: [...((await goldens?.space()) ?? [])],
      prefetch: prefetching?.(),
    };
  }

  stored(): Promise<StoredImages> {
    const { buckets, policy, clock } = this.#needs;
    return storedImages({ buckets, clock }, policy.buckets);
  }

  inspect(request: ImageRequest, signal: AbortSignal): Promise<ImageFacts> {
    return this.#with(request, this.#needs, signal, (image) => this.#facts(image));
  }

  /** From the store, not from the cache: it is the store that is doubted. */
  verify(request: ImageRequest, signal: AbortSignal, onProgress: OnProgress): Promise<ReadImage> {
    const needs = { ...this.#needs, cache: undefined };
    return this.#with(request, needs, signal, (image) => this.#read(image, signal, onProgress));
  }

  async prefetch(request: PrefetchRequest, signal: AbortSignal, onProgress: OnProgress): Promise<ReadImage> {
    const { to = ['cache'], ...image } = request;
    const groups = to.filter((place) => place !== 'cache');
    const isToCache = groups.length < to.length;
    const read = isToCache ? await this.#toCache(image, signal, onProgress) : undefined;
    if (read !== undefined && groups.length === 0) return read;
    const { asked, ...known } = await this.#lookUp(image, read?.sha256, signal);
    let { sha256 } = known;
    for (const vg of groups)
      sha256 = await requireGolden(this.#needs.golden, vg).ensure(vg, asked, { signal, onProgress });
    return { ...known, ...read, sha256, golden: groups };
  }

  async rm(names: readonly string[]): Promise<RmResult> {
    const { cache, goldens } = this.#needs;
    const known = await this.#goldens();
    const images = await cache.list();
    const both = [...images, ...known.map(({ shown: golden }) => golden)];
    const meant = new Set<unknown>(namedImages(both, names));
    const [found, golden] = [
      images.filter((one) => meant.has(one)),
      known.filter((one) => meant.has(one.shown)),
    ];
    // Says why it may not be removed, before anything is.
    for (const { sha256, inUse, pinned } of found) if (inUse || pinned) await cache.remove(sha256);
    for (const { volume, shown: one } of golden) {
      if (one.pinned) throw goldenPinned(volume);
      if (one.inUse) throw goldenInUse(volume);
    }
    const removed: CachedImage[] = [];
    for (const { sha256 } of found) removed.push(await cache.remove(sha256));
    for (const { volume } of golden) await goldens?.drop(volume);
    return { removed: removed.map(shown), removedGolden: golden.map((one) => one.shown) };
  }

  async gc(all: boolean): Promise<GcResult> {
    const { cache, goldens, log } = this.#needs;
    const evicted = await cache.evict(all ? 'all' : 'over-budget');
    const evictedGolden: CachedImages['golden'] = [];
    const known = await this.#goldens();
    if (!all) {
      const retired = new Set((await goldens?.retire())?.map(({ uuid }) => uuid));
      evictedGolden.push(...known.filter(({ volume }) => retired.has(volume.uuid)).map((one) => one.shown));
    }
    for (const { volume, shown: golden } of all ? known : []) {
      if (golden.pinned || golden.inUse) continue;
      try {
        await goldens?.drop(volume);
        evictedGolden.push(golden);
      } catch (error) {
        log.warn({ problem: toProblem(error), volume: golden.volume }, 'a golden volume was not removed');
      }
    }
    return { evicted: evicted.map(shown), evictedGolden };
  }

  async #goldens(): Promise<readonly ShownGolden[]> {
    const { goldens } = this.#needs;
    if (goldens === undefined) return [];
    return (await goldens.list()).map((volume) => ({ volume, shown: shownGolden(volume, goldens) }));
  }

  #toCache(request: ImageRequest, signal: AbortSignal, onProgress: OnProgress): Promise<ReadImage> {
    const { cache } = this.#needs;
    if (cache.budgetBytes === 0) throw cacheIsOff();
    return this.#with(request, this.#needs, signal, async (image, leased) => {
      if (image.object.sizeBytes > cache.budgetBytes) throw tooLargeFor(cache, image);
      const read = await this.#read(image, signal, onProgress);
      const cached = await leased.keep(read.sha256);
      if (!cached) throw noRoom(image);
      return { ...read, from: leased.from, cached };
    });
  }

  /** What is known of it without reading it; `readSha256` is known of one that was just read. */
  #lookUp(
    request: ImageRequest,
    readSha256: string | undefined,
    signal: AbortSignal,
  ): Promise<ReadImage & { readonly asked: GoldenRequest }> {
    return this.#with(request, this.#needs, signal, ({ object, proof }, leased) => {
      const wanted = volumeRequestOf(request);
      const asked = goldenRequestOf(wanted, proof) ?? goldenRequestOf(wanted, { sha256: readSha256 });
      if (asked === undefined) throw digestUnknown(request.image);
      return Promise.resolve({
        ...{ image: request.image, sizeBytes: object.sizeBytes, sha256: readSha256 ?? proof.sha256 ?? '' },
        ...{ proven: proofsOf(proof).length > 0, from: leased.from, cached: leased.from === 'cache', asked },
      });
    });
  }

  async #facts({ object, layout, proof }: ResolvedImage): Promise<ImageFacts> {
    const cached = await this.#needs.cache.list();
    let holesBytes = 0;
    for (const hole of layout.holes(layout.virtualSizeBytes)) holesBytes += hole.lengthBytes;
    return {
      image: imageName(object.image),
      format: layout.format,
      sizeBytes: object.sizeBytes,
      etag: object.etag,
      version: object.version,
      virtualSizeBytes: layout.virtualSizeBytes,
      dataBytes: layout.virtualSizeBytes - holesBytes,
      sha256: proof.sha256,
      proofs: proofsOf(proof),
      cached: cached.some(({ sha256 }) => sha256 === proof.sha256),
    };
  }

  /** Reads, hashes and decodes everything, as a fill would, and writes nothing. */
  async #read(image: ResolvedImage, signal: AbortSignal, onProgress: OnProgress): Promise<ReadImage> {
    const { object, proof } = image;
    if (this.#reads >= READS_MAX) throw tooMany();
    this.#reads += 1;
    try {
      const sha256 = await readImage(this.#needs, image, signal, onProgress);
      return {
        ...{ image: imageName(object.image), sizeBytes: object.sizeBytes, sha256 },
        ...{ proven: proofsOf(proof).length > 0, from: 'store', cached: false },
      };
    } finally {
      this.#reads -= 1;
    }
  }

  async #with<T>(
    request: ImageRequest,
    needs: ResolveNeeds & { readonly cache: ImageCache | undefined },
    signal: AbortSignal,
    work: (image: ResolvedImage, leased: LeasedImage) => Promise<T>,
  ): Promise<T> {
    const run = { signal, log: this.#needs.log, isImageWanted: () => false };
    const leased = new LeasedImage(needs, volumeRequestOf(request), run);
    try {
      return await leased.use((image) => work(image, leased));
    } finally {
      await leased.close();
    }
  }
}

/** The request as an annotation would have it, with the same checks. */
export function volumeRequestOf(request: ImageRequest): VolumeRequest {
  const { image, format, compression, sha256, sha512, version } = request;
  const attributes = { target: 'vda', image, format, compression, sha256, sha512, version };
  const reading = readVolumeAttributes(attributes, 'lvp image');
  if (reading.value === undefined) throw new AnnotationError(reading.problems);
  return reading.value;
}

function proofsOf(proof: ImageProof): ImageFacts['proofs'] {
  return (['sha256', 'sha512', 'signature'] as const).filter((kind) => proof[kind] !== undefined);
}

function shown(cached: CachedImage): CachedImages['images'][number] {
  const { sha256, sizeBytes, image, usedAtMs, inUse, pinned } = cached;
  const kept = inUse ? 'in-use' : pinned ? 'pinned' : 'recent';
  return { sha256, sizeBytes, image, usedAt: new Date(usedAtMs).toISOString(), inUse, pinned, kept };
}

interface ShownGolden {
  readonly volume: GoldenVolume;
  readonly shown: CachedImages['golden'][number];
}

function shownGolden(
  golden: GoldenVolume,
  goldens: Pick<GoldenVolumes, 'usedAtMs' | 'isInUse' | 'isPinned'>,
): ShownGolden['shown'] {
  const { thinPool, seal, unfit } = golden;
  const { image, sha256, format, sizeBytes, mappedBytes } = seal;
  const usedAtMs = goldens.usedAtMs(golden);
  return {
    ...{ volume: nameOfGolden(golden), thinPool, image, sha256, format, sizeBytes, mappedBytes },
    ...(usedAtMs === undefined ? {} : { usedAt: new Date(usedAtMs).toISOString() }),
    ...{ inUse: goldens.isInUse(golden), pinned: goldens.isPinned(golden), unfit },
  };
}

function cacheIsOff(): ProvisionError {
  return new ProvisionError({
    code: 'POLICY_REFUSED',
    message: 'This host keeps no images: cache.size_max is off.',
    hint: 'Set cache.size_max in the configuration, for instance to 50GiB, and restart the provisioner.',
  });
}

function tooLargeFor({ budgetBytes }: ImageCache, { object }: ResolvedImage): ProvisionError {
  return new ProvisionError({
    code: 'POLICY_REFUSED',
    message: `The image ${imageName(object.image)} has ${object.sizeBytes} bytes, the whole cache has ${budgetBytes}.`,
    hint: 'Raise cache.size_max in the configuration.',
  });
}

/** The cache did not keep what was read for it. */
export function noRoom({ object }: ResolvedImage): ProvisionError {
  return new ProvisionError({
    code: 'POLICY_REFUSED',
    message: `The image ${imageName(object.image)} was read and is right, but there was no room to keep it.`,
    hint: 'See lvp image ls for what is in use, and df for the free space below state_dir: 1 GiB is left to others.',
  });
}

function tooMany(): ProvisionError {
  return new ProvisionError({
    code: 'POLICY_REFUSED',
    message: `${READS_MAX} images are being read by hand already.`,
    hint: 'Try again when one of them has ended.',
  });
}
