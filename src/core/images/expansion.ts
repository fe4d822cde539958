/**
 * How far an object may grow when its compression is taken off, around the image and inside it. A few
 * kilobytes can claim to be terabytes: the bound is known before the first byte is decompressed, and holds for
 * every pass.
 */
import type { ImageFormat } from '../request.ts';
import type { ImageLayout } from './layout.ts';
import { tooLarge } from './refusal.ts';

export interface ExpansionLimits {
  /** Bytes of content for each byte of the object. */
  readonly ratioMax: number;
  /** Time for reading the object through once. */
  readonly timeMaxMs: number;
}

/** Small objects may grow so far whatever the ratio: an empty disk of this size packs into nothing. */
export const EXPANSION_FREE_BYTES = 2 ** 30;
/** A qcow2 file is larger than its disk by its tables, and by clusters nobody uses any more. */
const QCOW2_SLACK = 2;

export class Expansion {
  readonly #objectSizeBytes: number;
  readonly #diskMaxBytes: number;
  readonly #limits: ExpansionLimits;
  contentBytes = 0;

  constructor(
    format: ImageFormat,
    objectSizeBytes: number,
    virtualSizeMaxBytes: number,
    limits: ExpansionLimits,
  ) {
    this.#objectSizeBytes = objectSizeBytes;
    this.#diskMaxBytes = virtualSizeMaxBytes * (format === 'raw' ? 1 : QCOW2_SLACK);
    this.#limits = limits;
  }

  /** Counts content as it comes out, and throws when it is more, or takes longer, than is allowed. */
  add(lengthBytes: number, elapsedMs: number): void {
    this.contentBytes += lengthBytes;
    const { ratioMax, timeMaxMs } = this.#limits;
    const ratioMaxBytes = Math.max(EXPANSION_FREE_BYTES, this.#objectSizeBytes * ratioMax);
    const found = { offsetBytes: 0, found: `more than ${this.contentBytes - lengthBytes} bytes` };
    if (this.contentBytes > this.#diskMaxBytes) {
      throw tooLarge({
        ...{ ...found, check: 'the decompressed size' },
        allowed: `at most ${this.#diskMaxBytes} bytes (limits.virtual_size_max)`,
      });
    }
    if (this.contentBytes > ratioMaxBytes) {
      throw tooLarge({
        ...{ ...found, check: 'the decompressed size' },
        allowed: `at most ${ratioMaxBytes} bytes, ${ratioMax} times the object (limits.expansion_max)`,
      });
    }
    if (elapsedMs > timeMaxMs) {
      throw tooLarge({
        ...{ check: 'the time of decompression', offsetBytes: 0 },
        found: `${Math.round(elapsedMs / 1000)} s`,
        allowed: `at most ${timeMaxMs / 1000} s (limits.decompression_time_max)`,
      });
    }
  }
}

/**
 * Refuses an image whose compressed clusters make far more of the disk than the object has bytes: tables may name
 * the same few compressed bytes for every cluster. IMAGE_TOO_LARGE. What is not compressed cannot grow.
 */
export function checkClusterExpansion(layout: ImageLayout, { ratioMax }: ExpansionLimits): void {
  const allowedBytes = Math.max(EXPANSION_FREE_BYTES, layout.objectSizeBytes * ratioMax);
  let dataBytes = layout.virtualSizeBytes;
  for (const hole of layout.holes(layout.virtualSizeBytes)) dataBytes -= hole.lengthBytes;
  if (dataBytes <= allowedBytes) return;
  throw tooLarge({
    ...{ check: 'the decompressed size of all clusters', offsetBytes: 0, found: `${dataBytes} bytes` },
    allowed: `at most ${allowedBytes} bytes, ${ratioMax} times the object (limits.expansion_max)`,
  });
}
