/** What LVM says of thin pools, and what they have promised. */
import type { Registry } from 'prom-client';
import { Gauge } from 'prom-client';
import { promisedBytes } from '../../core/thin/thin-headroom.ts';
import type { VolumeListing } from '../../provision/ports/volumes.ts';

export class ThinPoolMetrics {
  readonly #gauges;

  constructor(registry: Registry) {
    const gauge = (name: string, help: string) =>
      new Gauge({ name: `lvp_thin_pool_${name}`, help, labelNames: ['vg', 'pool'], registers: [registry] });
    this.#gauges = {
      size: gauge('size_bytes', 'Size of the data of a thin pool.'),
      used: gauge('used_bytes', 'What volumes hold of the data of a thin pool.'),
      promised: gauge('promised_bytes', 'What volumes in a thin pool may come to hold of its data.'),
      metadata: gauge('metadata_size_bytes', 'Size of the metadata of a thin pool.'),
      metadataUsed: gauge('metadata_used_bytes', 'What is in use of the metadata of a thin pool.'),
      unhealthy: gauge(
        'unhealthy',
        'Whether LVM says of a thin pool that it is full, can only be read or must be repaired (1), or nothing (0).',
      ),
    };
  }

  look({ thinPools, volumes }: Pick<VolumeListing, 'thinPools' | 'volumes'>): void {
    for (const gauge of Object.values(this.#gauges)) gauge.reset();
    for (const pool of thinPools) {
      const labels = { vg: pool.vg, pool: pool.lv };
      this.#gauges.size.set(labels, pool.sizeBytes);
      this.#gauges.used.set(labels, pool.usedBytes);
      this.#gauges.promised.set(labels, promisedBytes(pool, volumes));
      this.#gauges.metadata.set(labels, pool.metadataBytes);
      this.#gauges.metadataUsed.set(labels, pool.metadataUsedBytes);
      this.#gauges.unhealthy.set(labels, pool.health === undefined ? 0 : 1);
    }
  }
}
