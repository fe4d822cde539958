/** The root helper: how long each verb takes, how it ends, and what it says of the volume groups. */
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';
import { toProblem } from '../../core/errors.ts';
import type { KeepFree } from '../../core/volume/headroom.ts';
import { headroomOf, KEEP_NOTHING_FREE } from '../../core/volume/headroom.ts';
import type { KeyFiles } from '../../provision/ports/keys.ts';
import type { LuksVolumes, Volumes } from '../../provision/ports/volumes.ts';
import { secondsSince } from './since.ts';
import { ThinPoolMetrics } from './thin-pools.ts';

const BUCKETS_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

type Listing = Awaited<ReturnType<Volumes['list']>>;

export interface HelperSources {
  /** By volume group, as in the configuration. */
  readonly keepFree: ReadonlyMap<string, KeepFree>;
}

export class HelperMetrics {
  readonly #calls;
  readonly #errors;
  readonly #size;
  readonly #free;
  readonly #kept;
  readonly #thinPools: ThinPoolMetrics;
  #keepFree: HelperSources['keepFree'] = new Map();

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
    this.#kept = new Gauge({
      ...{ name: 'lvp_volume_group_keep_free_bytes', help: 'What fills leave free in a volume group.' },
      ...{ labelNames, registers },
    });
  }

  ask({ keepFree }: HelperSources): void {
    this.#keepFree = keepFree;
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
      publish: (volume, seal, key) => call('publish', () => volumes.publish(volume, seal, key)),
      claim: (vg, seal, domainUuid) => call('claim', () => volumes.claim(vg, seal, domainUuid)),
      retire: (vg, seal) => call('retire', () => volumes.retire(vg, seal)),
      restore: (vg, seal) => call('restore', () => volumes.restore(vg, seal)),
      arrive: (vg, seal) => call('arrive', () => volumes.arrive(vg, seal)),
      recall: (vg, fillId) => call('recall', () => volumes.recall(vg, fillId)),
      discard: (volume) => call('discard', () => volumes.discard(volume)),
      drop: (vg, seal) => call('drop', () => volumes.drop(vg, seal)),
    };
  }

  measuredLuks(luks: LuksVolumes & KeyFiles): LuksVolumes & KeyFiles {
    const call = <T>(verb: keyof LuksVolumes | keyof KeyFiles, work: () => Promise<T>): Promise<T> =>
      this.#call(verb, work);
    return {
      formatLuks: (volume, key) => call('formatLuks', () => luks.formatLuks(volume, key)),
      openLuks: (volume, key) => call('openLuks', () => luks.openLuks(volume, key)),
      closeLuks: (volume) => call('closeLuks', () => luks.closeLuks(volume)),
      checkLuks: (vg, seal, key) => call('checkLuks', () => luks.checkLuks(vg, seal, key)),
      addLuksKey: (vg, seal, key, added) => call('addLuksKey', () => luks.addLuksKey(vg, seal, key, added)),
      keepOnlyLuksKey: (vg, seal, key) => call('keepOnlyLuksKey', () => luks.keepOnlyLuksKey(vg, seal, key)),
      eraseLuks: (vg, seal) => call('eraseLuks', () => luks.eraseLuks(vg, seal)),
      readKey: (name) => call('readKey', () => luks.readKey(name)),
    };
  }

  async #call<T>(
    verb: keyof Volumes | keyof LuksVolumes | keyof KeyFiles,
    work: () => Promise<T>,
  ): Promise<T> {
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
    this.#kept.reset();
    for (const { vg, sizeBytes, freeBytes, extentBytes: unitBytes } of groups) {
      const keepFree = this.#keepFree.get(vg) ?? KEEP_NOTHING_FREE;
      this.#size.set({ vg }, sizeBytes);
      this.#free.set({ vg }, freeBytes);
      this.#kept.set({ vg }, headroomOf({ sizeBytes, freeBytes, unitBytes }, keepFree, [], 0).keepFreeBytes);
    }
  }
}
