/** How far compressed clusters may grow. The outer compression's bound: test/provision/stream/compressed-image.test.ts. */
import { describe, expect, it } from 'vitest';
import { EXPANSION_FREE_BYTES, checkClusterExpansion } from '../../../src/core/images/expansion.ts';
import type { ByteRange, ImageLayout } from '../../../src/core/images/layout.ts';

const GIB = 2 ** 30;
const limits = { ratioMax: 2000, timeMaxMs: 1000 };

function layout(objectSizeBytes: number, virtualSizeBytes: number, holes: readonly ByteRange[]): ImageLayout {
  return {
    ...{ format: 'qcow2', objectSizeBytes, virtualSizeBytes, holes: () => holes },
    decoder: () => {
      throw new Error('nothing is decoded');
    },
  };
}

describe('the size of all clusters', () => {
  it('may be so many times the object, and no more', () => {
    const objectBytes = 2 ** 20;
    const allowedBytes = objectBytes * limits.ratioMax;
    const dense = (dataBytes: number) => {
      const hole = { offsetBytes: dataBytes, lengthBytes: 100 * GIB - dataBytes };
      return layout(objectBytes, 100 * GIB, [hole]);
    };
    checkClusterExpansion(dense(allowedBytes), limits);
    expect(() => {
      checkClusterExpansion(dense(allowedBytes + 512), limits);
    }).toThrow(
      'of all clusters at byte 0 is 2097152512 bytes, allowed is at most 2097152000 bytes, 2000 times the object',
    );
  });

  it('is free for small disks', () => {
    checkClusterExpansion(layout(512, EXPANSION_FREE_BYTES, []), limits);
  });
});
