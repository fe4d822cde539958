/** What is in the buckets that images may come from, for somebody who is to choose one. */
import type { StoredImages } from '../../core/protocol/image-protocol.ts';
import { STORED_IMAGES_MAX } from '../../core/protocol/image-protocol.ts';
import type { Clock } from '../ports/host.ts';
import type { Buckets } from '../ports/images.ts';
import { timeLimit, within } from '../time-limit.ts';

/** Each page has its own limit; this is for all of them, in ms. */
const LIST_TIME_MAX_MS = 30_000;

/** They go with an image, and are none: digests and signatures. */
const COMPANION = /\.(sha256|sha512|minisig)$|(^|\/)SHA(256|512)SUMS$/;

interface StoredImagesNeeds {
  readonly buckets: Pick<Buckets, 'list'>;
  readonly clock: Clock;
}

/**
 * Without buckets in the configuration nobody has said where to look; what the store does not say it throws.
 * STORE_UNREACHABLE when it takes longer than 30 s.
 */
export async function storedImages(
  { buckets: store, clock }: StoredImagesNeeds,
  buckets: readonly string[] | undefined,
): Promise<StoredImages> {
  const limit = timeLimit(clock, LIST_TIME_MAX_MS);
  try {
    return await within(limit, listAll(store, buckets, limit.signal), {
      code: 'STORE_UNREACHABLE',
      message: `The images could not be listed within ${LIST_TIME_MAX_MS / 1000} s.`,
      hint: 'The store is slow or does not answer; try again when it does.',
    });
  } finally {
    limit.end();
  }
}

async function listAll(
  store: Pick<Buckets, 'list'>,
  buckets: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<StoredImages> {
  const images: StoredImages['images'] = [];
  let isMore = buckets === undefined;
  for (const bucket of buckets ?? []) {
    const { objects, isCutShort } = await store.list(bucket, '', STORED_IMAGES_MAX, signal);
    isMore ||= isCutShort;
    for (const { key, sizeBytes, modifiedAtMs } of objects) {
      if (COMPANION.test(key) || key.endsWith('/')) continue;
      const modifiedAt = new Date(modifiedAtMs).toISOString();
      images.push({ image: `${bucket}/${key}`, sizeBytes, modifiedAt });
    }
  }
  return { images: images.slice(0, STORED_IMAGES_MAX), more: isMore || images.length > STORED_IMAGES_MAX };
}
