/**
 * An image written to a thin volume that was made for it. All that nobody writes to reads as zeros, so holes are left
 * alone; that is true once: a volume to which anything was written is removed and made again.
 */
import { ProvisionError } from '../core/errors.ts';
import type { ImageLayout } from '../core/images/layout.ts';
import { privateName } from '../core/volume.ts';
import type { DiscardNeeds } from './discard-volume.ts';
import { discardVolume } from './discard-volume.ts';
import type { LeasedImage } from './leased-image.ts';
import type { Reservations, Wanted } from './reservations.ts';
import type { ResolvedImage } from './resolve-image.ts';
import type { WriteNeeds, WriteRun } from './write-image.ts';
import { writeImage } from './write-image.ts';

export interface FreshThinNeeds extends WriteNeeds, DiscardNeeds {
  readonly reservations: Reservations;
}

export interface FreshThin {
  /** Of the object as stored. */
  readonly sha256: string;
  readonly image: ResolvedImage;
}

export type FreshThinVolume = Wanted & { readonly thinPool: string };

/** Makes and writes it; `sizeOf` says how large it is to be, and may refuse the image. */
export async function writeFreshThin(
  needs: FreshThinNeeds,
  leased: LeasedImage,
  volume: FreshThinVolume,
  run: WriteRun,
  sizeOf: (layout: ImageLayout) => number,
): Promise<FreshThin> {
  let isUsed = false;
  return leased.use(async (image) => {
    const sizeBytes = sizeOf(image.layout);
    // What the cache gave was damaged, and has been written.
    if (isUsed) await discardVolume(needs, volume, undefined);
    const { thinPool, ...fields } = volume;
    const { made } = await needs.reservations.whileReserved(volume, sizeBytes, () =>
      needs.volumes.create(fields, sizeBytes, thinPool),
    );
    if (made !== 'created') throw notFresh(volume);
    run.signal.throwIfAborted();
    isUsed = true;
    const writing = { ...needs, journals: undefined, isDeviceZero: true };
    return { sha256: await writeImage(writing, fields, image, run), image };
  });
}

function notFresh({ vg, fillId }: Wanted): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `The thin volume ${vg}/${privateName(fillId)} was there before it was made.`,
    hint: 'It is tried again by itself, with another one.',
  });
}
