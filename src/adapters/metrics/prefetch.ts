/** Prefetching: what it brought, what it could not, and whether it looks at all. */
import type { Registry } from 'prom-client';
import { Counter, Gauge } from 'prom-client';
import type { PrefetchState } from '../../provision/ports/image-cache.ts';
import type { PrefetchWatch } from '../../provision/ports/watches.ts';

export class PrefetchMetrics implements PrefetchWatch {
  readonly #ends;
  readonly #images;
  readonly #lookedAt;
  #state: Pick<PrefetchState, 'rules' | 'isHere' | 'problemOf'> | undefined;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#ends = new Counter({
      name: 'lvp_prefetches_total',
      help: 'Images that were to be brought here ahead of time: done, or failed, each try for itself.',
      labelNames: ['result'],
      registers,
    });
    this.#images = new Gauge({
      name: 'lvp_prefetch_images',
      help: 'Images that the rules choose: here, failing, or beyond the limits of their rule.',
      labelNames: ['state'],
      registers,
      collect: () => {
        this.#read();
      },
    });
    this.#lookedAt = new Gauge({
      name: 'lvp_prefetch_last_look_timestamp_seconds',
      help: 'When the bucket of the rule that was looked at longest ago was listed; 0: not all have been.',
      registers,
    });
    for (const result of ['done', 'failed']) this.#ends.inc({ result }, 0);
  }

  ask(state: Pick<PrefetchState, 'rules' | 'isHere' | 'problemOf'>): void {
    this.#state = state;
  }

  readonly ended = (result: 'done' | 'failed'): void => {
    this.#ends.inc({ result });
  };

  #read(): void {
    const state = this.#state;
    const rules = state?.rules() ?? [];
    const chosen = rules.flatMap((rule) => rule.chosen);
    this.#images.set({ state: 'here' }, chosen.filter((image) => state?.isHere(image)).length);
    this.#images.set(
      { state: 'failing' },
      chosen.filter((image) => state?.problemOf(image) !== undefined).length,
    );
    this.#images.set(
      { state: 'beyond' },
      rules.reduce((sum, { beyond }) => sum + beyond, 0),
    );
    const looked = rules.map(({ lookedAtMs = 0 }) => lookedAtMs);
    this.#lookedAt.set(rules.length === 0 ? 0 : Math.min(...looked) / 1000);
  }
}
