import { createHash, randomBytes } from 'node:crypto';
import { constants, deflateRawSync, zstdCompressSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { WorkerThreads } from '../../src/adapters/threads.ts';
import { DamagedCluster, clusterDecompressor } from '../../src/adapters/threads/inflater.ts';
import { isAligned } from '../../src/core/images/aligned-memory.ts';
import type { Compression, CompressedExtent } from '../../src/core/images/layout.ts';
import { FRAMES_MAX } from '../../src/core/images/zstd-frame.ts';
import type { Workshop } from '../../src/provision/ports/workshop.ts';
import { CLUSTER_OVERRUN_BYTES } from '../../src/provision/ports/workshop.ts';
import { InThreadWorkshop } from '../../src/provision/stream/in-thread-workshop.ts';

const CLUSTER = 65_536;
const MEMORY = 4 * 1024 * 1024;

const threads = new WorkerThreads(2);
afterAll(() => threads.end());

function clusterOf(seed: number): Buffer {
  return Buffer.from(Array.from({ length: CLUSTER }, (_, index) => (index * seed) % 97));
}

function compress(compression: Compression, bytes: Uint8Array): Buffer {
  return compression === 'zlib' ? deflateRawSync(bytes) : zstdCompressSync(bytes);
}

function extent(compression: Compression, index: number, bytes: Uint8Array): CompressedExtent {
  return {
    ...{ kind: 'compressed', compression, bytes },
    ...{ offsetBytes: index * CLUSTER, lengthBytes: CLUSTER, clusterBytes: CLUSTER, objectOffsetBytes: 77 },
  };
}

/** One cluster in so many zstd frames. */
function framed(bytes: Buffer, count: number): Buffer {
  const ends = Array.from({ length: count }, (_, index) => Math.floor((CLUSTER * (index + 1)) / count));
  return Buffer.concat(ends.map((end, index) => zstdCompressSync(bytes.subarray(ends[index - 1] ?? 0, end))));
}

const WORKSHOPS: readonly (readonly [string, () => Workshop])[] = [
  ['worker threads', () => threads.open(MEMORY)],
  ['this thread', () => new InThreadWorkshop(MEMORY)],
];

describe.each(WORKSHOPS)('a workshop in %s', (_, open) => {
  it('hashes in order', async () => {
    const workshop = open();
    const memory = new Uint8Array(workshop.memory);
    const bytes = randomBytes(MEMORY);
    memory.set(bytes);
    await Promise.all([
      workshop.hasher.update(memory.subarray(0, 1000)),
      workshop.hasher.update(memory.subarray(1000, MEMORY)),
      workshop.hasher.update(memory.subarray(0, 0)),
    ]);
    expect(await workshop.hasher.digest()).toBe(createHash('sha256').update(bytes).digest('hex'));
    await workshop.close();
    await workshop.close();
  });

  it.each(['zlib', 'zstd'] as const)(
    'decompresses %s from its memory and from elsewhere',
    async (compression) => {
      const workshop = open();
      const memory = new Uint8Array(workshop.memory);
      const clusters = Array.from({ length: 12 }, (_, index) => {
        const stored = compress(compression, clusterOf(index + 1));
        if (index % 3 === 0) return extent(compression, index, stored);
        // What follows in the last sector belongs to the next cluster.
        memory.set(stored, index * CLUSTER);
        return extent(
          compression,
          index,
          memory.subarray(index * CLUSTER, index * CLUSTER + stored.length + 9),
        );
      });
      const at = MEMORY - 12 * CLUSTER - CLUSTER_OVERRUN_BYTES;
      await workshop.decompress(clusters, memory.subarray(at));
      for (let index = 0; index < 12; index++) {
        const start = at + index * CLUSTER;
        expect(clusterOf(index + 1).equals(memory.subarray(start, start + CLUSTER))).toBe(true);
      }
      await workshop.close();
    },
  );

  it.each(['zlib', 'zstd'] as const)('names the %s cluster that is damaged', async (compression) => {
    const workshop = open();
    const target = new Uint8Array(workshop.memory, 0, 3 * CLUSTER + CLUSTER_OVERRUN_BYTES);
    const good = extent(compression, 0, compress(compression, clusterOf(1)));
    const lengths = [CLUSTER - 1, CLUSTER + 1, 40 * CLUSTER].map((length) => Buffer.alloc(length, 5));
    const bad = [
      ...lengths.map((bytes) => compress(compression, bytes)),
      Buffer.alloc(9, 0xff),
      Buffer.alloc(0),
    ];
    bad.push(good.bytes.subarray(0, good.bytes.length / 2) as Buffer);
    for (const bytes of bad) {
      const decompressing = workshop.decompress([good, extent(compression, 41, bytes), good], target);
      await expect(decompressing).rejects.toMatchObject({
        code: 'IMAGE_MALFORMED',
        message: expect.stringContaining(`disk offset ${41 * CLUSTER} at byte 77`) as string,
      });
    }
    await workshop.decompress([good], target);
    expect(clusterOf(1).equals(target.subarray(0, CLUSTER))).toBe(true);
    await workshop.close();
  });
});

describe.each(WORKSHOPS)('a zstd cluster of several frames in %s', (_, open) => {
  it('is decompressed up to 64 of them, and refused with more', async () => {
    const workshop = open();
    const target = new Uint8Array(workshop.memory, 0, CLUSTER + CLUSTER_OVERRUN_BYTES);
    const bytes = clusterOf(6);
    for (const count of [2, 63, FRAMES_MAX]) {
      target.fill(0);
      await workshop.decompress([extent('zstd', 0, framed(bytes, count))], target);
      expect(bytes.equals(target.subarray(0, CLUSTER))).toBe(true);
    }
    // Each of them whole and right.
    for (const count of [FRAMES_MAX + 1, 1000]) {
      const decompressing = workshop.decompress([extent('zstd', 41, framed(bytes, count))], target);
      await expect(decompressing).rejects.toMatchObject({
        code: 'IMAGE_MALFORMED',
        message: expect.stringMatching(
          `disk offset ${41 * CLUSTER} at byte 77 is .*more than 64 zstd frames`,
        ) as string,
      });
    }
    await workshop.close();
  });
});

describe('worker threads', () => {
  it('serve many workshops at once', async () => {
    const digests = Array.from({ length: 9 }, async (_, index) => {
      const workshop = threads.open(65_536);
      new Uint8Array(workshop.memory).fill(index);
      await workshop.hasher.update(new Uint8Array(workshop.memory));
      const digest = await workshop.hasher.digest();
      await workshop.close();
      return digest === createHash('sha256').update(Buffer.alloc(65_536, index)).digest('hex');
    });
    expect(await Promise.all(digests)).toEqual(new Array(9).fill(true));
  });

  it('give memory that a disk takes bytes from', async () => {
    const workshop = threads.open(8192);
    expect(isAligned(new Uint8Array(workshop.memory, 4096), 4096)).toBe(true);
    expect(isAligned(new Uint8Array(workshop.memory, 512), 4096)).toBe(false);
    expect(isAligned(new Uint8Array(8192), 512)).toBe(false);
    await workshop.close();
  });

  it('fail what they work on when they end, and can be used again', async () => {
    const workshop = threads.open(MEMORY);
    // More than any thread gets done before it hears that it is to end.
    const all = new Uint8Array(workshop.memory);
    const hashing = Promise.all(Array.from({ length: 5_000 }, () => workshop.hasher.update(all)));
    const failed = expect(hashing).rejects.toMatchObject({ code: 'INTERNAL' });
    await threads.end();
    await failed;
    await expect(workshop.hasher.digest()).rejects.toMatchObject({ code: 'INTERNAL' });
    await workshop.close();
    const next = threads.open(65_536);
    expect(await next.hasher.digest()).toBe(createHash('sha256').digest('hex'));
    await next.close();
  });
});

describe('the decompressor behind them', () => {
  it.each(['zlib', 'zstd'] as const)('does the same for %s with and without the handle', (compression) => {
    const room = () => new Uint8Array(CLUSTER + CLUSTER_OVERRUN_BYTES);
    const inputs = [
      compress(compression, clusterOf(3)),
      compress(compression, Buffer.alloc(CLUSTER + 1)),
      compress(compression, Buffer.alloc(CLUSTER + CLUSTER_OVERRUN_BYTES)),
      compress(compression, Buffer.alloc(CLUSTER - 1)),
      compress(compression, clusterOf(4)).subarray(0, 30),
      Buffer.alloc(100),
    ];
    const outcomes = [true, false].map((isHandleUsed) => {
      const decompress = clusterDecompressor(compression, isHandleUsed);
      return inputs.map((input) => {
        const out = room();
        try {
          const length = decompress(input, out);
          return length === CLUSTER
            ? createHash('sha256').update(out.subarray(0, length)).digest('hex')
            : length;
        } catch (error) {
          expect(error).toBeInstanceOf(DamagedCluster);
          return 'damaged';
        }
      });
    });
    expect(outcomes[0]?.[0]).toBe(createHash('sha256').update(clusterOf(3)).digest('hex'));
    expect(outcomes[0]?.slice(0, 2)).toEqual(outcomes[1]?.slice(0, 2));
    expect(outcomes[0]?.slice(3)).toEqual(outcomes[1]?.slice(3));
  });

  it('takes several zstd frames for one cluster', () => {
    const bytes = clusterOf(5);
    const parameters = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
    const frames = [0, 1, 2, 3].map((quarter) =>
      zstdCompressSync(bytes.subarray((quarter * CLUSTER) / 4, ((quarter + 1) * CLUSTER) / 4), parameters),
    );
    const room = new Uint8Array(CLUSTER + CLUSTER_OVERRUN_BYTES);
    expect(clusterDecompressor('zstd')(Buffer.concat(frames), room)).toBe(CLUSTER);
    expect(bytes.equals(room.subarray(0, CLUSTER))).toBe(true);
  });
});
