/** Runs many spoiled images through the reader; each is made from the seed and its number alone. */
import { seededRandom } from '../core/images/random.ts';
import { spoil } from './spoil.ts';
import type { TinyImage } from './tiny-images.ts';
import { TINY_IMAGES } from './tiny-images.ts';
import type { Verdict } from './try-image.ts';
import { tryImage } from './try-image.ts';

/** One case may take so long before it counts as hung; usual is a tenth of a millisecond. */
const CASE_MAX_MS = 5_000;
const RARE_EVERY = 999;
const LARGE_EVERY = 25;

export interface FuzzOptions {
  readonly seed: number;
  readonly count: number;
  /** The number of the first case. */
  readonly from?: number;
}

export type FuzzTally = Record<Verdict, number> & { slowestMs: number };

/** Images of 16 KiB clusters cost as much as thirty others: every 25th is one. */
function tinyImage(index: number): TinyImage {
  const isLarge = ({ clusterBytes }: TinyImage) => clusterBytes > 4096;
  const images = TINY_IMAGES.filter((image) => isLarge(image) === (index % LARGE_EVERY === 0));
  const image = images[index % images.length];
  if (image === undefined) throw new Error('there are no images to spoil');
  return image;
}

export async function fuzzQcow2({ seed, count, from = 0 }: FuzzOptions): Promise<FuzzTally> {
  const tally: FuzzTally = { accepted: 0, refused: 0, 'refused while decoding': 0, slowestMs: 0 };
  const memory = Buffer.alloc(Math.max(...TINY_IMAGES.map(({ bytes }) => bytes.length)));
  for (let index = from; index < from + count; index++) {
    const random = seededRandom(seed + Math.imul(index, 0x9e3779b1));
    const tiny = tinyImage(index);
    const object = spoil(tiny, random, memory);
    const chunkBytes = 1 + Math.floor(random() * 2 * object.length);
    const startMs = performance.now();
    try {
      tally[await tryImage(object, Math.max(512, chunkBytes), index % RARE_EVERY === 0)]++;
    } catch (cause) {
      const replay = `npm run fuzz -- --seed ${seed} --from ${index} --count 1`;
      throw new Error(`a spoiled image (${tiny.name}) broke the reader; replay: ${replay}`, { cause });
    }
    const tookMs = performance.now() - startMs;
    tally.slowestMs = Math.max(tally.slowestMs, tookMs);
    if (tookMs > CASE_MAX_MS) throw new Error(`case ${index} of seed ${seed} took ${tookMs} ms`);
  }
  return tally;
}
