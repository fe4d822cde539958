/** Images in the object store, and what their buckets announce. */
import type { Problem } from '../../core/errors.ts';
import type { ListedObject } from '../../core/policy/prefetch-rule.ts';
import type { ImageReference } from '../../core/request.ts';

/** An image object pinned to one state of its bytes. */
export interface ImageObject {
  readonly image: ImageReference;
  readonly sizeBytes: number;
  readonly etag: string;
  /** Present when the bucket is versioned. */
  readonly version?: string | undefined;
  /**
   * What the store says of the SHA-256, where whoever uploaded it asked for that. It proves nothing, for it comes
   * from where the bytes come from; but it can tell early that they are others than those that are meant.
   */
  readonly storeSha256?: string | undefined;
}

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** Told how many more bytes stand in `target`: a read that fails may have brought some. */
  readonly onBytes?: ((countBytes: number) => void) | undefined;
  /** The bytes behind these are wanted next: the store may be asked for them along with these. */
  readonly goesOn?: boolean | undefined;
}

/** The bucket store (MinIO, S3). */
export interface Images {
  /** Pins the object as it is now; IMAGE_NOT_FOUND, STORE_ACCESS_DENIED, STORE_UNREACHABLE. */
  stat(image: ImageReference, version?: string): Promise<ImageObject>;
  /**
   * Puts the bytes of exactly that object from `offsetBytes` on into `target`, front to back, until it is
   * full. IMAGE_CHANGED if the object is another one by now, IMAGE_TRUNCATED if it ends early. Once the
   * promise has settled, however it did, nothing writes to `target` any more.
   */
  readInto(object: ImageObject, offsetBytes: number, target: Uint8Array, options: ReadOptions): Promise<void>;
  /** A small text object such as a sidecar digest; undefined if there is none. At most 64 KiB. */
  readText(image: ImageReference): Promise<string | undefined>;
}

/** What stands in a bucket; `isCutShort`: there is more than was asked for. */
export interface BucketListing {
  readonly objects: readonly ListedObject[];
  readonly isCutShort: boolean;
}

/** Both only mean "look again": what is told may be lost, come twice, or be false. */
export interface Listener {
  /** The store has begun to tell; what was changed before was not told. */
  readonly onOpen: () => void;
  readonly onChange: () => void;
}

/** `not-offered`: the store does not know such requests, or does not allow them; asking again soon is of no use. */
export type ListenEnd =
  { readonly how: 'ended' } | { readonly how: 'failed' | 'not-offered'; readonly problem: Problem };

/** Buckets of the store. */
export interface Buckets {
  /** The objects whose keys begin so, in the order of their keys, at most so many of them. Fails as Images do. */
  list(bucket: string, prefix: string, countMax: number, signal: AbortSignal): Promise<BucketListing>;
  /** Tells of changes to such objects until the connection or the signal ends. Does not reject, nor connect again. */
  listen(bucket: string, prefix: string, listener: Listener, signal: AbortSignal): Promise<ListenEnd>;
}
