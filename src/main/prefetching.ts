/** Bringing images here ahead of time: who does it, how fast, and whom it makes way for. */
import { systemClock } from '../adapters/clock.ts';
import type { Config } from '../adapters/config-file.ts';
import type { Fills } from '../provision/fill/fills.ts';
import type { ImageNeeds } from '../provision/images/image-verbs.ts';
import { LowPriority } from '../provision/stream/low-priority.ts';
import type { Freeze } from '../provision/ports/host.ts';
import type { Buckets } from '../provision/ports/images.ts';
import type { PrefetchNeeds } from '../provision/images/prefetch-image.ts';
import { prefetchStatus } from '../provision/images/prefetch-status.ts';
import { Prefetcher } from '../provision/images/prefetcher.ts';
import { WriteRate } from '../provision/stream/write-rate.ts';
import type { Seeing } from './seeing.ts';

export interface Prefetching {
  readonly start: () => void;
  readonly stop: () => Promise<void>;
  readonly forVerbs: Pick<ImageNeeds, 'prefetching'>;
}

type Parts = Omit<PrefetchNeeds, 'priority' | 'log'> & {
  readonly fills: Pick<Fills, 'queuedCount'>;
  readonly freeze: Freeze;
  readonly rotating: Buckets;
};

export function openPrefetching(
  { prefetch }: Config,
  parts: Parts,
  { metrics, trail, log }: Seeing,
): Prefetching {
  const { intervalMs, rateMaxBytesPerS, rules } = prefetch;
  const clock = systemClock;
  const rate = rateMaxBytesPerS === 0 ? undefined : new WriteRate(clock, rateMaxBytesPerS);
  const priority = new LowPriority({ ...parts, clock, rate });
  const prefetcher = new Prefetcher({
    ...{ ...parts, clock, priority, trail, log, rules, intervalMs, buckets: parts.rotating },
    watch: metrics.prefetch,
  });
  metrics.prefetch.ask(prefetcher.state);
  return {
    start: () => {
      prefetcher.start();
    },
    stop: () => prefetcher.stop(),
    forVerbs: {
      prefetching: rules.length === 0 ? undefined : () => prefetchStatus(prefetcher, priority),
    },
  };
}
