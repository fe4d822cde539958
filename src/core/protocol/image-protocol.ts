/**
 * The control socket's part about images, for `lvp image`. As in control-protocol.ts, these names are also
 * those of `--json`, so they are stable.
 *
 *   GET  /v1/images            CachedImages
 *   GET  /v1/images/stored     StoredImages
 *   POST /v1/images/inspect    ImageRequest → ImageFacts
 *   POST /v1/images/verify     ImageRequest → ImageStep, one a line
 *   POST /v1/images/prefetch   ImageRequest → ImageStep, one a line
 *   POST /v1/images/rm         RmRequest → RmResult
 *   POST /v1/images/gc         GcRequest → GcResult
 *
 * The steps end with a result or an error; a caller that goes away ends the work.
 */
import { z } from 'zod';
import { AnnotateRequest, ErrorBody } from './control-protocol.ts';
import { PrefetchStatus } from './prefetch-protocol.ts';

const text = z.string().max(4096);
const count = z.number().nonnegative();

export const CachedImages = z.object({
  /** 0: nothing is kept. */
  sizeMaxBytes: count,
  images: z.array(
    z.object({
      sha256: text,
      sizeBytes: count,
      /** `BUCKET/KEY` it was last read as. */
      image: text,
      /** RFC 3339. */
      usedAt: text,
      inUse: z.boolean(),
      /** The configuration wants it here. */
      pinned: z.boolean(),
      /** Why it is still here; `recent`: there is room, and nothing else was used later. */
      kept: z.enum(['in-use', 'pinned', 'recent']),
    }),
  ),
  /** Golden volumes, of which guests' volumes are clones. */
  golden: z.array(
    z.object({
      /** `VG/LV`. */
      volume: text,
      thinPool: text,
      image: text,
      sha256: text,
      format: text,
      /** Of the disk in the image; and what of the pool it takes, where that is known. */
      sizeBytes: count,
      mappedBytes: count.optional(),
      /** When it was last filled or cloned, or first seen if that is not known: RFC 3339. */
      usedAt: text.optional(),
      /** A volume is just being made of it, or it is being read. */
      inUse: z.boolean(),
      pinned: z.boolean(),
      /** Why it serves nobody, if so. */
      unfit: text.optional(),
    }),
  ),
  /** Of each thin pool, what golden volumes may hold of it, and what they hold. */
  goldenSpace: z.array(z.object({ vg: text, thinPool: text, maxBytes: count, heldBytes: count })),
  /** How far the rules of the configuration are; absent: there are none. */
  prefetch: PrefetchStatus.optional(),
});
export type CachedImages = z.infer<typeof CachedImages>;

export const STORED_IMAGES_MAX = 1000;

/** What is in the buckets that images may come from; what goes with an image (digest, signature) is left out. */
export const StoredImages = z.object({
  images: z.array(
    z.object({
      /** `BUCKET/KEY`. */
      image: text,
      sizeBytes: count,
      /** RFC 3339. */
      modifiedAt: text.optional(),
    }),
  ),
  /** There are more than are shown. */
  more: z.boolean(),
});
export type StoredImages = z.infer<typeof StoredImages>;

export const ImageRequest = z.strictObject({
  image: AnnotateRequest.shape.image,
  format: AnnotateRequest.shape.format,
  compression: AnnotateRequest.shape.compression,
  sha256: AnnotateRequest.shape.sha256,
  sha512: AnnotateRequest.shape.sha512,
  version: AnnotateRequest.shape.version,
});
export type ImageRequest = z.infer<typeof ImageRequest>;

export const PrefetchRequest = ImageRequest.extend({
  /** `cache`, which it is without it, and volume groups with a thin pool. */
  to: z.array(z.string().min(1).max(127)).min(1).max(64).optional(),
});
export type PrefetchRequest = z.infer<typeof PrefetchRequest>;

export const ImageFacts = z.object({
  image: text,
  format: AnnotateRequest.shape.format,
  sizeBytes: count,
  etag: text,
  version: text.optional(),
  /** What a volume must at least have. */
  virtualSizeBytes: count,
  /** Of them, holding data; the rest reads as zeros. */
  dataBytes: count,
  /** What the digest must be; not compared here. */
  sha256: text.optional(),
  /** What else has to be right before a volume is published. */
  proofs: z.array(z.enum(['sha256', 'sha512', 'signature'])),
  cached: z.boolean(),
});
export type ImageFacts = z.infer<typeof ImageFacts>;

export const ReadImage = z.object({
  image: text,
  sizeBytes: count,
  sha256: text,
  /** Whether there was anything to compare with. */
  proven: z.boolean(),
  from: z.enum(['cache', 'store']),
  cached: z.boolean(),
  /** Volume groups in whose thin pool it is a golden volume now; absent where none was asked for. */
  golden: z.array(text).optional(),
});
export type ReadImage = z.infer<typeof ReadImage>;

export const ImageStep = z.union([
  z.object({ bytesDone: count, bytesTotal: count }),
  z.object({ result: ReadImage }),
  ErrorBody,
]);
export type ImageStep = z.infer<typeof ImageStep>;

export const GcRequest = z.strictObject({ all: z.boolean().optional() });

/** Each as `BUCKET/KEY`, or as at least 8 digits of its SHA-256. */
export const RmRequest = z.strictObject({ images: z.array(z.string().min(1).max(1100)).min(1).max(50) });

export const RmResult = z.object({
  removed: CachedImages.shape.images,
  removedGolden: CachedImages.shape.golden,
});
export type RmResult = z.infer<typeof RmResult>;

export const GcResult = z.object({
  evicted: CachedImages.shape.images,
  evictedGolden: CachedImages.shape.golden,
});
export type GcResult = z.infer<typeof GcResult>;
