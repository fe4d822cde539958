/**
 * Golden volumes among what LVM lists: which one serves for an image, and which ones serve nobody. All that is known of
 * one stands in its tags.
 */
import type { OuterCompression, ImageFormat } from '../request.ts';
import type { GoldenSeal, LogicalVolume } from '../volume/volume.ts';
import { formatTag, goldenName, readMark } from '../volume/volume.ts';

/** A volume under the name of a golden one, with its seal. */
export interface GoldenVolume {
  readonly vg: string;
  readonly lv: string;
  readonly uuid: string;
  readonly thinPool: string;
  readonly seal: GoldenSeal;
  /** Why nobody gets a clone of it, to follow "it …"; undefined of one that is as it was sealed. */
  readonly unfit?: string | undefined;
}

/** Where golden volumes are. */
export interface GoldenPlace {
  readonly vg: string;
  readonly thinPool: string;
}

/** Which bytes, read as what. */
export interface GoldenContent {
  /** Of the image object as stored, 64 lower-case hex digits. */
  readonly sha256: string;
  readonly format: ImageFormat;
  readonly compression?: OuterCompression | undefined;
}

/** All that are sealed and have their final name, the one that would serve first. */
export function goldenVolumes(volumes: readonly LogicalVolume[]): readonly GoldenVolume[] {
  return volumes
    .flatMap((volume) => {
      const seal = readMark(volume.tags);
      if (seal.state !== 'golden' || volume.lv !== goldenName(seal.fillId)) return [];
      const { vg, lv, uuid, thinPool = '' } = volume;
      return [{ vg, lv, uuid, thinPool, seal, ...unfitness(volume, seal) }];
    })
    .sort((a, b) => (a.seal.fillId < b.seal.fillId ? -1 : 1));
}

/** Somebody has changed by hand what its seal stands for. */
function unfitness(volume: LogicalVolume, seal: GoldenSeal): Pick<GoldenVolume, 'unfit'> {
  const checks: readonly [boolean, string][] = [
    [volume.thinPool === undefined, 'is not a thin volume'],
    [volume.writable, 'can be written to'],
    [volume.open, 'is open'],
    [volume.sizeBytes < seal.sizeBytes, 'is smaller than its image'],
  ];
  const unfit = checks.find(([is]) => is)?.[1];
  return unfit === undefined ? {} : { unfit };
}

/** The one that holds these bytes in this pool; of two it is always the same. */
export function servingGolden(
  goldens: readonly GoldenVolume[],
  place: GoldenPlace,
  content: GoldenContent,
): GoldenVolume | undefined {
  const key = goldenKey(place, { ...content, format: formatTag(content) });
  return goldens.find((golden) => golden.unfit === undefined && goldenKey(golden, golden.seal) === key);
}

/** The same for all that hold the same bytes, read as the same, in the same pool; `format` as formatTag() gives it. */
export function goldenKey(
  { vg, thinPool }: GoldenPlace,
  { sha256, format }: { readonly sha256: string; readonly format: string },
): string {
  return `${vg}/${thinPool} ${sha256} ${format}`;
}

/** Those beside another one that serves for the same bytes, and those that cannot serve; with why. */
export function uselessGoldens(
  goldens: readonly GoldenVolume[],
): readonly { readonly golden: GoldenVolume; readonly why: string }[] {
  const serving = new Set<string>();
  return goldens.flatMap((golden) => {
    const { seal, unfit } = golden;
    if (unfit !== undefined) return [{ golden, why: `it ${unfit}` }];
    const key = goldenKey(golden, seal);
    if (serving.has(key)) return [{ golden, why: 'another one holds the same' }];
    serving.add(key);
    return [];
  });
}

/** Sealed ones that lack their final name: a crash came before the last step. */
export function unnamedGoldens(
  volumes: readonly LogicalVolume[],
): readonly { readonly volume: LogicalVolume; readonly seal: GoldenSeal }[] {
  return volumes.flatMap((volume) => {
    const seal = readMark(volume.tags);
    return seal.state === 'golden' && volume.lv !== goldenName(seal.fillId) ? [{ volume, seal }] : [];
  });
}
