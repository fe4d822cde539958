/** Every image must decode to what `qemu-img convert` makes of it, on a volume full of somebody's bytes. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decode } from './memory-volume.ts';
import type { Recipe } from './qemu.ts';
import { convert, makeImage } from './qemu.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'qcow2-'));

beforeAll(() => {
  const here = import.meta.dirname;
  const text = readdirSync(here).map((file) => readFileSync(join(here, file)));
  writeFileSync(join(folder, 'text'), Buffer.concat(text).subarray(0, 40 * 512));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const CLUSTERS = [512, 1024, 4096, 16384, 65536, 262144, 2097152];

function* recipes(): Generator<Recipe> {
  let seed = 1;
  for (const cluster of CLUSTERS) {
    const sizeBytes = Math.max(3 * MIB, 4 * cluster) + 512 * (seed % 7);
    for (const compat of ['0.10', '1.1']) {
      const options = [`cluster_size=${cluster}`, `compat=${compat}`];
      yield { name: `plain-${cluster}-${compat}`, sizeBytes, options, operations: 60, seed: seed++ };
    }
    for (const type of ['zlib', 'zstd']) {
      const options = [`cluster_size=${cluster}`, `compression_type=${type}`];
      yield {
        ...{ name: `${type}-${cluster}`, sizeBytes, options, operations: 40, seed: seed++ },
        compressed: true,
      };
    }
  }
  for (const preallocation of ['metadata', 'falloc', 'full']) {
    const options = [`preallocation=${preallocation}`];
    const sizeBytes = 3 * MIB + 1536;
    yield { name: `prealloc-${preallocation}`, sizeBytes, options, operations: 20, seed: seed++ };
    yield { name: `prealloc-${preallocation}-empty`, sizeBytes, options, operations: 0, seed: seed++ };
  }
  for (const cluster of [16384, 65536, 2097152]) {
    const options = [`cluster_size=${cluster}`, 'extended_l2=on'];
    const sizeBytes = Math.max(4 * MIB, 3 * cluster) + 512 * 3;
    yield { name: `extended-${cluster}`, sizeBytes, options, operations: 120, seed: seed++ };
    yield {
      ...{ name: `extended-zstd-${cluster}`, sizeBytes, operations: 60, seed: seed++, compressed: true },
      options: [...options, 'compression_type=zstd'],
    };
  }
  for (const bits of [1, 64]) {
    const options = [`refcount_bits=${bits}`, 'cluster_size=4096'];
    yield { name: `refcount-${bits}`, sizeBytes: 2 * MIB, options, operations: 40, seed: seed++ };
  }
  yield {
    name: 'v2-zlib',
    sizeBytes: 2 * MIB,
    options: ['compat=0.10'],
    operations: 40,
    seed: seed++,
    compressed: true,
  };
  for (const sizeBytes of [512, 65536 - 512, 65536 + 512, 40 * MIB + 512]) {
    yield { name: `size-${sizeBytes}`, sizeBytes, options: [], operations: 12, seed: seed++ };
  }
}

describe('a qcow2 image decodes to what qemu-img makes of it', () => {
  it.each([...recipes()])('$name', async (recipe) => {
    const path = makeImage(folder, recipe);
    const object = readFileSync(path);
    const expected = Buffer.concat([convert(path), Buffer.alloc(100_000)]);
    for (const chunkBytes of [4 * MIB, 65_536 + 13]) {
      const { layout, volume } = await decode('qcow2', object, { chunkBytes, tailBytes: 100_000 });
      expect(layout.virtualSizeBytes).toBe(recipe.sizeBytes);
      expect(Buffer.compare(volume.bytes, expected)).toBe(0);
    }
    rmSync(path);
  });
});
