/** What `lvp image ls` shows. */
import type { CachedImages } from '../../core/protocol/image-protocol.ts';
import type { PrefetchStatus } from '../../core/protocol/prefetch-protocol.ts';
import { approximateSize } from '../../core/size.ts';
import type { Look } from '../terminal/output.ts';
import { table } from '../terminal/table.ts';

const KEPT: Readonly<Record<CachedImages['images'][number]['kept'], string>> = {
  'in-use': 'in use now',
  pinned: 'pinned by the configuration',
  recent: 'there is room',
};

export function imagesText(
  { images, golden, goldenSpace, sizeMaxBytes, prefetch }: CachedImages,
  { width }: Look,
): string {
  const usedBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const limit =
    sizeMaxBytes === 0 ? 'The cache is off (cache.size_max)' : `At most ${approximateSize(sizeMaxBytes)}`;
  const rows = images.map(({ image, sizeBytes, usedAt, sha256, kept }) => [
    ...[image, approximateSize(sizeBytes), inMinutes(usedAt)],
    ...[sha256.slice(0, 16), KEPT[kept]],
  ]);
  const head = ['IMAGE', 'SIZE', 'LAST USE', 'SHA256', 'KEPT BECAUSE'];
  return [
    ...(rows.length === 0 ? [] : [table([head, ...rows], { width })]),
    `${limit}, in use ${approximateSize(usedBytes)}.`,
    ...(golden.length === 0 ? [] : ['', table([GOLDEN_HEAD, ...golden.map(goldenRow)], { width })]),
    ...(golden.length === 0 ? [] : goldenSpace.map(spaceLine)),
    ...(prefetch === undefined ? [] : ['', ...prefetchLines(prefetch, width)]),
  ].join('\n');
}

const GOLDEN_HEAD = ['GOLDEN VOLUME', 'IMAGE', 'DISK', 'IN POOL', 'LAST USE', 'SHA256', 'KEPT BECAUSE'];

function goldenRow(golden: CachedImages['golden'][number]): string[] {
  const { volume, image, sizeBytes, mappedBytes, usedAt, sha256, inUse, pinned, unfit } = golden;
  const kept = inUse ? KEPT['in-use'] : pinned ? KEPT.pinned : 'clones are made of it';
  return [
    ...[volume, image, approximateSize(sizeBytes)],
    mappedBytes === undefined ? '' : approximateSize(mappedBytes),
    usedAt === undefined ? '' : inMinutes(usedAt),
    sha256.slice(0, 16),
    unfit === undefined ? kept : `it ${unfit}`,
  ];
}

function spaceLine({ vg, thinPool, maxBytes, heldBytes }: CachedImages['goldenSpace'][number]): string {
  const [max, held] = [approximateSize(maxBytes), approximateSize(heldBytes)];
  return `Golden volumes hold ${held} of ${vg}/${thinPool}; they may hold ${max}.`;
}

function inMinutes(at: string): string {
  return at.slice(0, 16).replace('T', ' ');
}

function prefetchLines({ rules, now, pausedBy, news }: PrefetchStatus, width: Look['width']): string[] {
  const rows = rules.map(({ images, to, pin, wanted, here, beyond, lookedAt }) => [
    ...[images, `${to.join(', ')}${pin ? ', pinned' : ''}`],
    lookedAt === undefined ? 'not looked yet' : `${here} of ${wanted} here`,
    beyond === 0 ? '' : `${beyond} beyond the limits`,
  ]);
  const problems = rules.flatMap(({ images, problem, failing }) => [
    ...(problem === undefined ? [] : [`${images}: ${problem.message}`]),
    ...failing.map(({ image, problem: { message } }) => `${image}: ${message}`),
  ]);
  return [
    table([['PREFETCH', 'TO', 'STATE', ''], ...rows], { width }),
    ...(now === undefined ? [] : [`Reading ${now.image}: ${percentOf(now)}${whyPaused(pausedBy)}.`]),
    ...(now === undefined && pausedBy !== undefined ? [`Prefetching${whyPaused(pausedBy)}.`] : []),
    ...problems,
    ...news
      .filter(({ state }) => state === 'polling')
      .map(
        ({ bucket }) =>
          `The store does not tell of changes in ${bucket}: it is listed at each prefetch.interval.`,
      ),
  ];
}

function percentOf({ bytesDone, bytesTotal }: NonNullable<PrefetchStatus['now']>): string {
  return bytesTotal === 0 ? '0 %' : `${Math.floor((100 * bytesDone) / bytesTotal)} %`;
}

function whyPaused(pausedBy: PrefetchStatus['pausedBy']): string {
  if (pausedBy === undefined) return '';
  const until = pausedBy === 'frozen' ? 'the host is thawed' : 'no volume waits for its turn';
  return `; it rests until ${until}`;
}
