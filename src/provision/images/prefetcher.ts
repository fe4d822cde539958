/**
 * Has the images of the configuration's rules on this host before anybody asks for them: looks at the buckets at
 * start, from time to time, and when they are said to have changed, and brings what is missing, one after the other.
 */
import type { Problem } from '../../core/errors.ts';
import { isPassing, toProblem } from '../../core/errors.ts';
import type { ChosenImage, PrefetchRule } from '../../core/policy/prefetch-rule.ts';
import { bucketOf, chooseImages, keyPrefixOf } from '../../core/policy/prefetch-rule.ts';
import { retryPauseMs } from '../../core/plan/retry-pause.ts';
import { BucketNews } from './bucket-news.ts';
import { volumeRequestOf } from './image-verbs.ts';
import type { AuditTrail } from '../ports/audit.ts';
import type { Buckets } from '../ports/images.ts';
import type { PrefetchWatch } from '../ports/watches.ts';
import type { PrefetchNeeds } from './prefetch-image.ts';
import { prefetchImage } from './prefetch-image.ts';
import { PrefetchState } from './prefetch-state.ts';
import { failureOf, newCorrelationId } from '../audit/recorded.ts';

/** Of the objects of a bucket that begin as a pattern does, so many are looked at. */
const LISTED_MAX = 10_000;
/** However often the store says that something has changed, it is asked no more often than that. */
const LOOK_PAUSE_MIN_MS = 2_000;
/** An object that is refused is looked at again after the interval, then after twice as long, and so on up to this. */
const REFUSED_PAUSE_MAX_MS = 86_400_000;

export interface PrefetcherNeeds extends PrefetchNeeds {
  readonly buckets: Buckets;
  readonly trail: AuditTrail;
  readonly watch?: PrefetchWatch | undefined;
  readonly rules: readonly PrefetchRule[];
  readonly intervalMs: number;
}

export class Prefetcher {
  readonly #needs: PrefetcherNeeds;
  readonly #stop = new AbortController();
  readonly #news: BucketNews;
  readonly #state: PrefetchState;
  #running: Promise<unknown> = Promise.resolve();
  /** Ends the pause between two looks. */
  #wake: (() => void) | undefined;
  #isAsked = false;

  constructor(needs: PrefetcherNeeds) {
    this.#needs = needs;
    this.#state = new PrefetchState(needs.rules);
    const onNews = () => {
      this.lookAgain();
    };
    this.#news = new BucketNews({ ...needs, onNews });
  }

  get state(): PrefetchState {
    return this.#state;
  }

  get news(): BucketNews {
    return this.#news;
  }

  /** Returns at once. */
  start(): void {
    const { rules } = this.#needs;
    if (rules.length === 0) return;
    const { signal } = this.#stop;
    const places = new Map(rules.map((rule) => [`${bucketOf(rule)}/${keyPrefixOf(rule)}`, rule]));
    const following = [...places.values()].map((rule) =>
      this.#news.follow(bucketOf(rule), keyPrefixOf(rule), signal),
    );
    this.#running = Promise.all([this.#run(signal), ...following]);
  }

  /** Resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#wake?.();
    await this.#running;
  }

  /** Something may have changed. */
  lookAgain(): void {
    this.#isAsked = true;
    this.#wake?.();
  }

  /** Looks at all buckets and brings what is missing; does not reject. */
  async look(signal: AbortSignal = this.#stop.signal): Promise<void> {
    this.#isAsked = false;
    let roomBytes = this.#needs.cache.budgetBytes;
    const chosen: ChosenImage[] = [];
    for (const rule of this.#needs.rules) {
      const found = await this.#choose(rule, roomBytes, signal);
      if (rule.toCache) roomBytes -= found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      chosen.push(...found);
    }
    for (const image of chosen) {
      if (signal.aborted) return;
      await this.#bring(image, signal);
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look(signal);
      await this.#pause(signal);
    }
  }

  /** What could not be listed now stays as it was. */
  async #choose(rule: PrefetchRule, roomBytes: number, signal: AbortSignal): Promise<readonly ChosenImage[]> {
    const { buckets, prefetched, rules, clock, log } = this.#needs;
    try {
      const { objects } = await buckets.list(bucketOf(rule), keyPrefixOf(rule), LISTED_MAX, signal);
      const choice = chooseImages(rules, rule, objects, rule.toCache ? roomBytes : Infinity);
      const names = new Set(choice.chosen.map(({ name }) => name));
      await prefetched.keepOnly(rule, names);
      this.#state.looked(rule, choice, clock.nowMs());
      return choice.chosen;
    } catch (error) {
      if (signal.aborted) return [];
      const problem = toProblem(error);
      if (this.#state.notLooked(rule, problem)) {
        log.warn(
          { images: rule.images, problem },
          'the images to be prefetched could not be listed; it is tried again',
        );
      }
      return [];
    }
  }

  async #bring(chosen: ChosenImage, signal: AbortSignal): Promise<void> {
    const { clock, log, trail, watch } = this.#needs;
    if (!this.#state.isDue(chosen, clock.nowMs(), await this.#isHere(chosen))) return;
    const about = { who: 'daemon', what: 'image prefetch', correlationId: newCorrelationId() };
    const onProgress = (bytesDone: number, bytesTotal: number) => {
      this.#state.now = { image: chosen.name, bytesDone, bytesTotal };
    };
    try {
      const { sha256, isNew } = await prefetchImage(this.#needs, chosen, { signal, onProgress });
      this.#state.brought(chosen);
      if (!isNew) return;
      watch?.ended('done');
      log.info({ image: chosen.name, sha256 }, 'prefetched');
      trail.record({ ...about, decision: 'allowed', outcome: 'done' });
    } catch (error) {
      if (signal.aborted) return;
      watch?.ended('failed');
      const problem = toProblem(error);
      const isNews = this.#state.failed(
        chosen,
        problem,
        (tries) => clock.nowMs() + this.#pauseAfter(problem, tries),
      );
      if (!isNews) return;
      log.warn({ image: chosen.name, problem }, 'an image was not prefetched');
      trail.record({ ...about, ...failureOf(error) });
    } finally {
      this.#state.now = undefined;
    }
  }

  /** What is not pinned may be gone. */
  async #isHere({ name, rule }: ChosenImage): Promise<boolean> {
    if (!rule.pin) return true;
    const { prefetched, cache, golden } = this.#needs;
    const sha256 = prefetched.of(name)?.sha256;
    const images = rule.toCache ? await cache.list().catch(() => []) : [];
    if (rule.toCache && !images.some((image) => image.sha256 === sha256)) return false;
    const request = {
      ...volumeRequestOf({ image: name, format: rule.format, compression: rule.compression }),
      sha256,
    };
    for (const vg of rule.toGroups) {
      // Whatever keeps it from being known is met again where it is made.
      const isUnknown = () => 'unknown';
      if (golden !== undefined && (await golden.has(vg, request).catch(isUnknown)) === undefined)
        return false;
    }
    return true;
  }

  #pauseAfter(problem: Problem, tries: number): number {
    if (isPassing(problem)) return retryPauseMs(tries, Math.random());
    return Math.min(REFUSED_PAUSE_MAX_MS, this.#needs.intervalMs * 2 ** Math.min(tries - 1, 20));
  }

  /** Until the interval has passed, a failed one is due again, or news have come; and a moment at least. */
  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, intervalMs } = this.#needs;
    await clock.sleep(LOOK_PAUSE_MIN_MS, signal).catch(() => undefined);
    if (this.#isAsked || signal.aborted) return;
    // So that not all hosts ask at once.
    const untilMs = intervalMs * (0.9 + Math.random() / 5);
    const retryMs = this.#state.nextTryAtMs() - clock.nowMs();
    const woken = new AbortController();
    this.#wake = () => {
      woken.abort();
    };
    await clock
      .sleep(Math.max(0, Math.round(Math.min(untilMs, retryMs))), AbortSignal.any([signal, woken.signal]))
      .catch(() => undefined);
    this.#wake = undefined;
  }
}
