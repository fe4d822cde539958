/**
 * Which golden volumes go because together they hold more of their thin pool than images may have there. Clones need
 * none of them; one that goes is filled again when its image is next wanted.
 */
import type { ThinPool } from '../volume/volume.ts';
import type { GoldenPlace, GoldenVolume } from './golden.ts';

/** What all golden volumes of a thin pool may hold of it: so many bytes, or so much of its data, from 1 to 100 percent. */
export type GoldenMax = { readonly bytes: number } | { readonly percent: number };

/** The rest is for what guests write. */
export const GOLDEN_MAX: GoldenMax = { percent: 25 };

/** In bytes. */
export function goldenMaxBytes({ sizeBytes }: Pick<ThinPool, 'sizeBytes'>, max: GoldenMax): number {
  return 'bytes' in max ? max.bytes : Math.floor((sizeBytes / 100) * max.percent);
}

/** What is known of golden volumes beside their tags. */
export interface GoldenUse {
  /** When it was last filled or cloned, Unix time in ms. */
  readonly usedAtMs: (golden: GoldenVolume) => number;
  /** Somebody uses it just now, or the configuration wants it here. */
  readonly isKept: (golden: GoldenVolume) => boolean;
}

/**
 * Of each pool the least recently used ones, until the others fit; what is kept counts, and stays. The one that was used
 * last stays, too, however large it is: otherwise each guest of its image would wait for all of it to be filled.
 */
export function goldensBeyond(
  goldens: readonly GoldenVolume[],
  budgetBytesOf: (place: GoldenPlace) => number | undefined,
  { usedAtMs, isKept }: GoldenUse,
): readonly GoldenVolume[] {
  const pools = Map.groupBy(goldens, ({ vg, thinPool }) => `${vg}/${thinPool}`);
  return [...pools.values()].flatMap((inPool) => {
    const [first] = inPool;
    const budgetBytes = first && budgetBytesOf(first);
    // Of a pool that is configured no more nothing is known.
    if (budgetBytes === undefined) return [];
    let heldBytes = inPool.reduce((sum, { seal }) => sum + seal.mappedBytes, 0);
    const [, ...older] = [...inPool].sort((a, b) => usedAtMs(b) - usedAtMs(a) || (a.uuid < b.uuid ? -1 : 1));
    return older.reverse().filter((golden) => {
      if (heldBytes <= budgetBytes || isKept(golden)) return false;
      heldBytes -= golden.seal.mappedBytes;
      return true;
    });
  });
}
