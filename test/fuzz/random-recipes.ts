/** Recipes for images over all options of qemu-img, each made from a seed alone. */
import { seededRandom } from '../core/images/random.ts';

export interface RandomRecipe {
  readonly seed: number;
  readonly sizeBytes: number;
  /** `-o` of qemu-img create and convert. */
  readonly options: readonly string[];
  /** Compressed by `qemu-img convert -c` before the last operations. */
  readonly compressed: boolean;
  /** Commands of qemu-io, before and after the compression. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Then grown by qemu-img resize to this size; the L1 table may move. */
  readonly grownBytes?: number;
}

const CLUSTERS = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 524288, 2097152];
const EXTENDED_MIN = 16384;
const SECTOR_BYTES = 512;
const MIB = 2 ** 20;

export function randomRecipe(seed: number): RandomRecipe {
  const random = seededRandom(seed);
  const pick = (count: number) => Math.floor(random() * count);
  const chance = (probability: number) => random() < probability;
  const clusterBytes = CLUSTERS[pick(CLUSTERS.length)] ?? 65536;
  const isOld = chance(0.2);
  const isExtended = !isOld && clusterBytes >= EXTENDED_MIN && chance(0.4);
  const compressed = chance(0.4);
  const maxBytes = Math.min(4 * MIB, Math.max(64 * 1024, clusterBytes * 40));
  const sizeBytes = SECTOR_BYTES * (1 + pick(maxBytes / SECTOR_BYTES));
  const options = [`cluster_size=${clusterBytes}`, `compat=${isOld ? '0.10' : '1.1'}`];
  if (isExtended) options.push('extended_l2=on');
  if (!isOld && chance(0.5)) options.push('compression_type=zstd');
  if (!isOld && chance(0.3)) options.push(`refcount_bits=${2 ** pick(7)}`);
  if (!isOld && chance(0.2)) options.push('lazy_refcounts=on');
  // Compressed writes want space that nobody allocated before.
  if (!compressed && chance(0.2)) {
    options.push(`preallocation=${['metadata', 'falloc', 'full'][pick(3)] ?? 'metadata'}`);
  }
  const operations = (count: number) =>
    Array.from({ length: count }, () => operation(random, sizeBytes, isOld));
  const before = operations(pick(30));
  const after = compressed ? operations(pick(12)) : [];
  const growth = chance(0.2) && !isOld ? { grownBytes: sizeBytes + SECTOR_BYTES * pick(4096) } : {};
  return { seed, sizeBytes, options, compressed, before, after, ...growth };
}

function operation(random: () => number, sizeBytes: number, isOld: boolean): string {
  const sectors = sizeBytes / SECTOR_BYTES;
  const length = 1 + Math.floor(random() * random() * Math.min(sectors, 800));
  const offset = Math.floor(random() * (sectors - length + 1));
  const range = `${offset * SECTOR_BYTES} ${length * SECTOR_BYTES}`;
  const kind = random();
  const pattern = 1 + Math.floor(random() * 255);
  if (kind < 0.55) return `write -q -P ${pattern} ${range}`;
  if (kind < 0.7) return `write -q -z ${range}`;
  if (kind < 0.8) return `write -q -z -u ${range}`;
  return isOld || kind < 0.92 ? `discard -q ${range}` : `write -q -P 0 ${range}`;
}
