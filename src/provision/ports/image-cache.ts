/** Images on this host. */
import type { ImageObject, Images } from './images.ts';

export type { PrefetchState } from '../images/prefetch-state.ts';

/**
 * Objects on this host's disk, as stored in the bucket, so that one download serves many volumes. Entries
 * are named by their SHA-256, and whoever reads one compares the digest again.
 */
export interface ImageCache {
  /** How much may stay when nobody uses it; 0: nothing. */
  readonly budgetBytes: number;
  lease(object: ImageObject, options: LeaseOptions): Promise<ImageLease>;
  list(): Promise<readonly CachedImage[]>;
  /** Removes what is neither in use nor pinned: the least recently used beyond the budget, or everything. */
  evict(what: 'over-budget' | 'all'): Promise<readonly CachedImage[]>;
  /** Removes one. IMAGE_IN_USE, POLICY_REFUSED if it is pinned, IMAGE_NOT_FOUND. */
  remove(sha256: string): Promise<CachedImage>;
  /** Files that belong to no entry and no download under way; removes them if asked to. */
  strays(what: 'list' | 'remove'): Promise<readonly string[]>;
}

export interface LeaseOptions {
  /** If it is known, the object may come from the cache. */
  readonly sha256?: string | undefined;
  /**
   * Something else proves the object, such as a signature, and is compared again with whatever bytes come: then the
   * cache may give those that it was told had been read of exactly this state of the object.
   */
  readonly isProvenOtherwise?: boolean | undefined;
  /** Others ask for the same object now or soon: it is fetched once for all of them. */
  readonly isShared: boolean;
}

/** A way to the bytes of one pinned object. */
export interface ImageLease {
  readonly from: 'cache' | 'store';
  /** The name of the entry that the bytes come from. */
  readonly sha256?: string | undefined;
  /** Reads go through here. */
  readonly images: Images;
  /** The object has been read and has this digest: it may be kept under it. True if it is in the cache now. */
  keep(sha256: string): Promise<boolean>;
  /** The bytes that came from the cache were not those of its name: the entry goes. */
  distrust(): Promise<void>;
  /** As long as `isStillWanted` says so the entry stays, whatever the budget. */
  close(isStillWanted: () => boolean): Promise<void>;
}

export interface CachedImage {
  /** The configuration wants it here (core/policy/prefetch-rule.ts). */
  readonly pinned: boolean;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** `BUCKET/KEY` it was last read as. */
  readonly image: string;
  readonly usedAtMs: number;
  readonly inUse: boolean;
}

/** What a rule of the configuration has brought here. */
export interface PrefetchedImage {
  /** `BUCKET/KEY`. */
  readonly image: string;
  readonly sha256: string;
  readonly etag: string;
  readonly version?: string | undefined;
  readonly sizeBytes: number;
  /** Unix time in ms. */
  readonly atMs: number;
}

/** Where that is written down. */
export interface PrefetchRecords {
  /** Nothing, if there is nothing or it is damaged. */
  read(): Promise<readonly PrefetchedImage[]>;
  /** In place of what was there, as a whole or not at all; STATE_FOLDER_FAILED. */
  write(images: readonly PrefetchedImage[]): Promise<void>;
}
