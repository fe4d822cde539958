/**
 * Being told of changes in buckets for as long as the daemon runs. All that is passed on is "look again": what is
 * told may be lost, come twice, or be false, and after each new connection anything may have changed.
 */
import type { Problem } from '../../core/errors.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { Buckets } from '../ports/images.ts';

const PAUSE_FIRST_MS = 1_000;
const PAUSE_MAX_MS = 300_000;
/** Whoever does not offer it now may do so some day. */
const NOT_OFFERED_PAUSE_MS = 3_600_000;
/** A connection that lasted so long was a good one. */
const GOOD_MS = 60_000;

export interface NewsOf {
  readonly bucket: string;
  readonly prefix: string;
  /** `polling`: nothing is told; the bucket is listed from time to time all the same. */
  readonly state: 'connecting' | 'listening' | 'polling';
  readonly problem?: Problem | undefined;
}

interface NewsNeeds {
  readonly buckets: Pick<Buckets, 'listen'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onNews: () => void;
}

export class BucketNews {
  readonly #needs: NewsNeeds;
  readonly #states = new Map<string, NewsOf>();

  constructor(needs: NewsNeeds) {
    this.#needs = needs;
  }

  states(): readonly NewsOf[] {
    return [...this.#states.values()];
  }

  /** Resolves when the signal aborts. */
  async follow(bucket: string, prefix: string, signal: AbortSignal): Promise<void> {
    let pauseMs = PAUSE_FIRST_MS;
    const isOver = () => signal.aborted;
    while (!isOver()) {
      const startedMs = this.#needs.clock.monotonicMs();
      const end = await this.#listen(bucket, prefix, signal);
      if (isOver()) return;
      if (this.#needs.clock.monotonicMs() - startedMs >= GOOD_MS) pauseMs = PAUSE_FIRST_MS;
      await this.#pause(end.how === 'not-offered' ? NOT_OFFERED_PAUSE_MS : pauseMs, signal);
      pauseMs = Math.min(PAUSE_MAX_MS, 2 * pauseMs);
    }
  }

  async #listen(bucket: string, prefix: string, signal: AbortSignal) {
    const { buckets, onNews } = this.#needs;
    const set = (state: NewsOf['state'], problem?: Problem) => {
      this.#set({ bucket, prefix, state, problem });
    };
    if (this.#states.get(keyOf(bucket, prefix)) === undefined) set('connecting');
    const onOpen = () => {
      set('listening');
      onNews();
    };
    const end = await buckets.listen(bucket, prefix, { onOpen, onChange: onNews }, signal);
    if (!signal.aborted) set('polling', end.how === 'ended' ? undefined : end.problem);
    return end;
  }

  /** Said once each time that it changes. */
  #set(news: NewsOf): void {
    const before = this.#states.get(keyOf(news.bucket, news.prefix));
    this.#states.set(keyOf(news.bucket, news.prefix), news);
    const { log } = this.#needs;
    const fields = { bucket: news.bucket, prefix: news.prefix };
    if (news.state === 'listening' && before?.state !== 'listening') {
      log.info(fields, 'the store tells of changes');
    }
    if (news.state !== 'polling' || before?.problem?.code === news.problem?.code) return;
    log.warn(
      { ...fields, problem: news.problem },
      'the store does not tell of changes; the bucket is listed from time to time',
    );
  }

  async #pause(pauseMs: number, signal: AbortSignal): Promise<void> {
    // So that not all hosts come back together.
    const durationMs = Math.round(pauseMs * (1 - Math.random() / 4));
    await this.#needs.clock.sleep(durationMs, signal).catch(() => undefined);
  }
}

function keyOf(bucket: string, prefix: string): string {
  return `${bucket}/${prefix}`;
}
