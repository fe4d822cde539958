/** Prefetching as people are told of it. */
import type { PrefetchStatus } from '../../core/protocol/prefetch-protocol.ts';
import type { LowPriority } from '../stream/low-priority.ts';
import type { BucketNews } from './bucket-news.ts';
import type { PrefetchState, RuleState } from './prefetch-state.ts';

const FAILING_SHOWN_MAX = 20;

interface Sources {
  readonly state: PrefetchState;
  readonly news: Pick<BucketNews, 'states'>;
}

export function prefetchStatus(
  { state, news }: Sources,
  priority: Pick<LowPriority, 'pausedBy'>,
): PrefetchStatus {
  return {
    rules: state.rules().map((rule) => shownRule(rule, state)),
    ...{ now: state.now, pausedBy: priority.pausedBy, news: [...news.states()] },
  };
}

function shownRule({ rule, lookedAtMs, chosen, beyond, problem }: RuleState, state: PrefetchState) {
  const { images, format, pin, toCache, toGroups } = rule;
  const failing = chosen.flatMap((image) => {
    const why = state.problemOf(image);
    return why === undefined ? [] : [{ image, problem: why }];
  });
  return {
    ...{ images, format, pin, beyond, problem },
    to: [...(toCache ? ['cache'] : []), ...toGroups],
    ...(lookedAtMs === undefined ? {} : { lookedAt: new Date(lookedAtMs).toISOString() }),
    wanted: chosen.length,
    here: chosen.filter((image) => state.isHere(image)).length,
    failing: failing.slice(0, FAILING_SHOWN_MAX),
  };
}
