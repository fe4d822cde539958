/** Where the first bytes and the last sector of the disk lie in the object: a handful of clusters. */
import { PROBE_BYTES } from './foreign-magic.ts';

export interface EdgeCluster {
  readonly guest: number;
  readonly kind: 'data' | 'compressed';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Subclusters that have data. */
  readonly mask: number;
}

export class DiskEdges {
  readonly #headClusters: number;
  readonly #lastCluster: number;
  readonly #found: EdgeCluster[] = [];

  constructor(clusterBytes: number, virtualSizeBytes: number) {
    this.#headClusters = Math.ceil(PROBE_BYTES / clusterBytes);
    this.#lastCluster = Math.ceil(virtualSizeBytes / clusterBytes) - 1;
  }

  note(cluster: EdgeCluster): void {
    if (cluster.guest < this.#headClusters || cluster.guest === this.#lastCluster) this.#found.push(cluster);
  }

  /** In the object's order. */
  get clusters(): readonly EdgeCluster[] {
    return this.#found.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
  }
}
