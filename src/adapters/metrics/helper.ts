/** The root helper: how long each verb takes, how it ends, and what it says of the volume groups. */
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';
import { toProblem } from '../../core/errors.ts';
import type { Volumes } from '../../provision/ports.ts';
import { secondsSince } from './since.ts';
import { ThinPoolMetrics } from './thin-pools.ts';

const BUCKETS_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

type Listing = Awaited<ReturnType<Volumes['list']>>;

export class HelperMetrics {
  readonly #calls;
  readonly #errors;
  readonly #size;
  readonly #free;
  readonly #thinPools: ThinPoolMetrics;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#thinPools = new ThinPoolMetrics(registry);
    this.#calls = new Histogram({
      name: 'lvp_helper_call_duration_seconds',
      help: 'Time for a call of the root helper, with the calls before it that it waited for.',
      labelNames: ['verb', 'outcome'],
      buckets: BUCKETS_SECONDS,
      registers,
    });
    this.#errors = new Counter({
      name: 'lvp_helper_errors_total',
      help: 'Calls of the root helper that failed, by error code.',
      labelNames: ['verb', 'reason'],
      registers,
    });
    const labelNames = ['vg'] as const;
    this.#size = new Gauge({
      ...{ name: 'lvp_volume_group_size_bytes', help: 'Size of a volume group.', labelNames, registers },
    });
    this.#free = new Gauge({
      ...{ name: 'lvp_volume_group_free_bytes', help: 'What LVM has free in a volume group.' },
      ...{ labelNames, registers },
    });
  }

  measured(volumes: Volumes): Volumes {
    const call = <T>(verb: keyof Volumes, work: () => Promise<T>): Promise<T> => this.#call(verb, work);
    return {
      list: async () => {
        const listing = await call('list', () => volumes.list());
        this.#look(listing);
        return listing;
      },
      examine: (vg, lv) => call('examine', () => volumes.examine(vg, lv)),
      create: (volume, sizeBytes, thinPool) =>
        call('create', () => volumes.create(volume, sizeBytes, thinPool)),
      clone: (volume, golden, sizeBytes) => call('clone', () => volumes.clone(volume, golden, sizeBytes)),
      adopt: (volume) => call('adopt', () => volumes.adopt(volume)),
      publish: (volume, seal) => call('publish', () => volumes.publish(volume, seal)),
      claim: (vg, seal, domainUuid) => call('claim', () => volumes.claim(vg, seal, domainUuid)),
      retire: (vg, seal) => call('retire', () => volumes.retire(vg, seal)),
      restore: (vg, seal) => call('restore', () => volumes.restore(vg, seal)),
      arrive: (vg, seal) => call('arrive', () => volumes.arrive(vg, seal)),
      recall: (vg, fillId) => call('recall', () => volumes.recall(vg, fillId)),
      discard: (volume) => call('discard', () => volumes.discard(volume)),
      drop: (vg, seal) => call('drop', () => volumes.drop(vg, seal)),
    };
  }

  async #call<T>(verb: keyof Volumes, work: () => Promise<T>): Promise<T> {
    const sinceMs = performance.now();
    try {
      const result = await work();
      this.#calls.observe({ verb, outcome: 'done' }, secondsSince(sinceMs));
      return result;
    } catch (error) {
      this.#calls.observe({ verb, outcome: 'failed' }, secondsSince(sinceMs));
      this.#errors.inc({ verb, reason: toProblem(error).code });
      throw error;
    }
  }

  #look(listing: Listing): void {
    const { groups } = listing;
    this.#thinPools.look(listing);
    this.#size.reset();
    this.#free.reset();
    for (const { vg, sizeBytes, freeBytes } of groups) {
      this.#size.set({ vg }, sizeBytes);
      this.#free.set({ vg }, freeBytes);
    }
  }
}
