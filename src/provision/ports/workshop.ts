/** Threads that hash and decompress for a fill. */
import type { CompressedExtent } from '../../core/images/layout.ts';
import type { HashFrom } from '../../core/images/resumable-sha256.ts';
import type { OuterCompression } from '../../core/request.ts';
import type { Hasher } from '../stream/hasher.ts';

/** Threads that work on the memory of one fill, beside the program's own. */
export interface Workshop {
  /** The fill's buffers; begins on a page, and is shared with the threads, so that nothing is copied. */
  readonly memory: ArrayBufferLike;
  /** SHA-256 over the fill's object. */
  readonly hasher: Hasher;
  /**
   * Decompresses the clusters, all of one kind, in their order and without gaps, to the front of `target`:
   * a part of `memory` with at least CLUSTER_OVERRUN_BYTES more than they need. IMAGE_MALFORMED if one is
   * damaged or has another length than it must have.
   */
  decompress(clusters: readonly CompressedExtent[], target: Uint8Array): Promise<void>;
  /** Resolves when no thread works on `memory` any more. */
  close(): Promise<void>;
}

/** Where workshops come from; the threads are the same for all of them. */
export interface Workshops {
  /** With `hashFrom` the hasher goes on where an earlier one stood. */
  open(memoryBytes: number, hashFrom?: HashFrom): Workshop;
}

/** What a thread may write behind a cluster that is too long, before it notices. */
export const CLUSTER_OVERRUN_BYTES = 64;

/** Takes the outer compression off an object. */
export interface Decompressors {
  /**
   * The content of a compressed object. `stored` gives its bytes in order; the memory of each piece may be
   * used again as soon as the next one is asked for. IMAGE_MALFORMED if they are damaged, cut short, or
   * followed by anything else. Whoever stops early leaves nothing running; failures of `stored` pass through.
   */
  content(
    compression: OuterCompression,
    stored: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
}
