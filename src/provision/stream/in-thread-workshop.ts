/** A workshop without threads: for tests, and where the program has only one processor. */
import { decompressCluster } from '../../core/images/compressed-cluster.ts';
import type { CompressedExtent } from '../../core/images/layout.ts';
import type { HashFrom } from '../../core/images/resumable-sha256.ts';
import type { Workshop } from '../ports/workshop.ts';
import type { Hasher } from './hasher.ts';
import { InThreadHasher } from './hasher.ts';

export class InThreadWorkshop implements Workshop {
  readonly memory: ArrayBuffer;
  readonly hasher: Hasher;

  constructor(memory: ArrayBuffer | number, hashFrom?: HashFrom) {
    this.memory = typeof memory === 'number' ? new ArrayBuffer(memory) : memory;
    this.hasher = new InThreadHasher(hashFrom);
  }

  async decompress(clusters: readonly CompressedExtent[], target: Uint8Array): Promise<void> {
    for (const [index, cluster] of clusters.entries()) {
      target.set(await decompressCluster(cluster), index * cluster.clusterBytes);
    }
  }

  close(): Promise<void> {
    return this.hasher.close();
  }
}
