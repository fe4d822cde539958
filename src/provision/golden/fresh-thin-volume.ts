/**
 * An image written to a thin volume that was made for it. All that nobody writes to reads as zeros, so holes are left
 * alone; that is true once: a volume to which anything was written is removed and made again.
 */
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { ImageLayout } from '../../core/images/layout.ts';
import { brokenPool } from '../../core/thin/pool-trouble.ts';
import { privateName } from '../../core/volume/volume.ts';
import type { DiscardNeeds } from '../fill/discard-volume.ts';
import { discardVolume } from '../fill/discard-volume.ts';
import type { LeasedImage } from '../fill/leased-image.ts';
import type { ResolvedImage } from '../fill/resolve-image.ts';
import type { WriteNeeds, WriteRun } from '../fill/write-image.ts';
import { writeImage } from '../fill/write-image.ts';
import type { Reservations, Wanted } from '../reservations.ts';

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
    try {
      return { sha256: await writeImage(writing, fields, image, run), image };
    } catch (error) {
      throw (await poolBehind(needs, volume, error)) ?? error;
    }
  });
}

/** What a failed write to a thin volume says of its pool; undefined where it was something else. */
async function poolBehind(
  { volumes }: Pick<FreshThinNeeds, 'volumes'>,
  { vg, thinPool }: FreshThinVolume,
  cause: unknown,
): Promise<ProvisionError | undefined> {
  const { code, message: written } = toProblem(cause);
  if (code !== 'DEVICE_FAILED' && code !== 'VG_FULL') return undefined;
  const listing = await volumes.list().catch(() => undefined);
  const pool = listing?.thinPools.find((one) => one.vg === vg && one.lv === thinPool);
  const broken = pool && brokenPool(pool);
  if (broken === undefined) return undefined;
  const message = `The thin pool ${vg}/${thinPool} ${broken.says}. ${written}`;
  return new ProvisionError({ code: broken.code, message, hint: broken.remedy, cause });
}

function notFresh({ vg, fillId }: Wanted): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `The thin volume ${vg}/${privateName(fillId)} was there before it was made.`,
    hint: 'It is tried again by itself, with another one.',
  });
}
