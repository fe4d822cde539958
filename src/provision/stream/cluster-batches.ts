/** Compressed clusters in batches: each is one message to a thread, and few, large writes. */
import type { CompressedExtent } from '../../core/images/layout.ts';
import { CLUSTER_OVERRUN_BYTES } from '../ports/workshop.ts';

/** What a batch decompresses to, unless one cluster alone is more. */
const BATCH_BYTES = 1024 * 1024;
/** Buffers stay whole pages. */
const PAGE_BYTES = 4096;

export class ClusterBatch {
  readonly #clusters: CompressedExtent[] = [];

  get clusters(): readonly CompressedExtent[] {
    return this.#clusters;
  }

  /** True if no more fits. */
  add(cluster: CompressedExtent): boolean {
    this.#clusters.push(cluster);
    return (this.#clusters.length + 1) * cluster.clusterBytes > BATCH_BYTES;
  }
}

/** The memory one batch needs. */
export function batchBufferBytes(clusterBytes: number): number {
  return Math.max(BATCH_BYTES, clusterBytes) + Math.ceil(CLUSTER_OVERRUN_BYTES / PAGE_BYTES) * PAGE_BYTES;
}

/** Neighbours on the disk are neighbours in the buffer: [start, end) of it belongs at `offsetBytes`. */
export function* batchWrites(
  clusters: readonly CompressedExtent[],
): Generator<{ readonly offsetBytes: number; readonly start: number; readonly end: number }> {
  let run: { offsetBytes: number; start: number; end: number } | undefined;
  for (const [index, { offsetBytes, lengthBytes, clusterBytes }] of clusters.entries()) {
    const start = index * clusterBytes;
    if (run?.end === start && run.offsetBytes + run.end - run.start === offsetBytes) {
      run.end += lengthBytes;
      continue;
    }
    if (run !== undefined) yield run;
    run = { offsetBytes, start, end: start + lengthBytes };
  }
  if (run !== undefined) yield run;
}
