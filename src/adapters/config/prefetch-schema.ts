/** The section `prefetch` of the configuration file: its rules, and what makes no sense in them. */
import { z } from 'zod';
import type { PrefetchRule } from '../../core/policy/prefetch-rule.ts';
import { bucketOf } from '../../core/policy/prefetch-rule.ts';
import { VolumeAttributes } from '../../core/volume/volume-attributes.ts';
import { duration, flag, leaf, listOf, oneOf, size, sizeOrOff, whole } from './leaves.ts';

const GROUP = /^[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}$/;

/** Only the key may have `*` and `?`: a bucket is asked for by its name. */
function pattern(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  const isPattern = VolumeAttributes.shape.image.safeParse(value.replaceAll(/[*?]/g, 'x')).success;
  return isPattern && !/^[^/]*[*?]/.test(value) ? value : undefined;
}

function place(value: unknown): string | undefined {
  return typeof value === 'string' && GROUP.test(value) ? value : undefined;
}

const Rule = z.strictObject({
  images: leaf('BUCKET/KEY, where the key may have * and ?, such as images/debian-*.qcow2', pattern),
  format: oneOf('raw', 'qcow2'),
  compression: oneOf('none', 'gzip', 'zstd', 'xz').default('none'),
  to: leaf('a list of cache and of volume groups with a thin pool', (value) => listOf(value, place)).default([
    'cache',
  ]),
  pin: flag.default(false),
  count_max: whole(1, 1_000).default(10),
  size_max: size('a size such as 50GiB').default(Infinity),
});
type Rule = z.infer<typeof Rule>;

export const Prefetch = z.strictObject({
  interval: duration(10_000, 86_400_000).default(900_000),
  rate_max: sizeOrOff('off, or bytes a second such as 50MiB, from 1MiB on', 2 ** 20).default(64 * 2 ** 20),
  rules: z.array(Rule).max(100, 'a list of at most 100 rules').default([]),
});
type Prefetch = z.infer<typeof Prefetch>;

/** What it takes for a rule to be met that stands elsewhere in the file. */
interface Known {
  /** Undefined: all. */
  readonly buckets: readonly string[] | undefined;
  /** 0: off. */
  readonly cacheBytes: number;
  readonly thinGroups: readonly string[];
}

interface Mistake {
  readonly path: (string | number)[];
  readonly message: string;
}

/** Rules that no image can meet, that say nothing new, or that want more kept than there may be. */
export function prefetchMistakes({ rules }: Prefetch, known: Known): Mistake[] {
  return [
    ...rules.flatMap((rule, index) => ruleMistakes(rule, rules.slice(0, index), known, index)),
    ...pinMistakes(rules, known.cacheBytes),
  ];
}

function ruleMistakes(rule: Rule, before: readonly Rule[], known: Known, index: number): Mistake[] {
  const { images, to } = rule;
  const isThin = (group: string) => group === 'cache' || known.thinGroups.includes(group);
  const mistakes: [isWrong: boolean, key: keyof Rule, message: string][] = [
    [before.some((other) => other.images === images), 'images', 'a pattern that no other rule has'],
    [
      known.buckets?.includes(bucketOf(rule)) === false,
      'images',
      'a pattern in one of minio.buckets: from no other an image is taken',
    ],
    [
      to.includes('cache') && known.cacheBytes === 0,
      'to',
      'cache only if cache.size_max is a size: nothing is kept while it is off',
    ],
    [!to.every(isThin), 'to', 'only cache, and volume groups that stand in thin_pools'],
  ];
  return mistakes
    .filter(([isWrong]) => isWrong)
    .map(([, key, message]) => ({ path: ['prefetch', 'rules', index, key], message }));
}

/** What is pinned is never evicted: more of it than the cache may have would leave no room for anything else. */
function pinMistakes(rules: readonly Rule[], cacheBytes: number): Mistake[] {
  let pinnedBytes = 0;
  for (const [index, { to, pin, size_max: sizeMaxBytes }] of rules.entries()) {
    if (!pin || !to.includes('cache') || cacheBytes === 0 || sizeMaxBytes === Infinity) continue;
    pinnedBytes += sizeMaxBytes;
    if (pinnedBytes <= cacheBytes) continue;
    const message = 'a size with which the pinned rules together have no more than cache.size_max';
    return [{ path: ['prefetch', 'rules', index, 'size_max'], message }];
  }
  return [];
}

export interface PrefetchSettings {
  /** How often everything is looked at again although nothing was announced. */
  readonly intervalMs: number;
  /** 0: no limit. */
  readonly rateMaxBytesPerS: number;
  readonly rules: readonly PrefetchRule[];
}

export function toPrefetchSettings({
  interval,
  rate_max: rateMaxBytesPerS,
  rules,
}: Prefetch): PrefetchSettings {
  return {
    ...{ intervalMs: interval, rateMaxBytesPerS },
    rules: rules.map(
      ({ images, format, compression, to, pin, count_max: countMax, size_max: sizeMaxBytes }) => ({
        ...{ images, format, pin, countMax, sizeMaxBytes },
        compression: compression === 'none' ? undefined : compression,
        toCache: to.includes('cache'),
        toGroups: [...new Set(to)].filter((place) => place !== 'cache'),
      }),
    ),
  };
}
