/** What becomes of a raw image's bytes, and of the zeros among them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Extent } from '../../../src/core/images/layout.ts';
import { openImage } from '../../../src/core/images/open-image.ts';
import { decode, rangeReader } from './memory-volume.ts';

const KIB = 1024;
const BLOCK = 64 * KIB;

async function extentsOf(object: Uint8Array): Promise<Extent[]> {
  const limits = { virtualSizeMaxBytes: 2 ** 40 };
  const layout = await openImage('raw', object.length, limits, rangeReader(object));
  return [...layout.decoder().push(object)];
}

const shapeOf = (extents: readonly Extent[]) =>
  extents.map((extent) => {
    const lengthBytes = extent.kind === 'data' ? extent.bytes.length : extent.lengthBytes;
    return `${extent.kind} ${extent.offsetBytes / KIB}+${lengthBytes / KIB}`;
  });

describe('a raw image', () => {
  it('without zeros is one extent', async () => {
    expect(shapeOf(await extentsOf(Buffer.alloc(20 * BLOCK, 7)))).toEqual(['data 0+1280']);
  });

  it('has its long runs of zeros zeroed, and its short ones written', async () => {
    const object = Buffer.alloc(20 * BLOCK, 7);
    object.fill(0, 2 * BLOCK, 5 * BLOCK);
    object.fill(0, 8 * BLOCK - 100, 13 * BLOCK + 100);
    object.fill(0, 16 * BLOCK);
    expect(shapeOf(await extentsOf(object))).toEqual([
      'data 0+512',
      'zero 512+320',
      'data 832+192',
      'zero 1024+256',
    ]);
  });

  it('of zeros alone is zeroed, its last bytes written', async () => {
    expect(shapeOf(await extentsOf(new Uint8Array(10 * BLOCK + 512)))).toEqual([
      'zero 0+640',
      'data 640+0.5',
    ]);
  });

  // An expression with nested repetitions would take longer than the universe for these.
  it.each(['\t', ' ', '\t ', ' \r', '#\t', '\n\t '])('may begin with 2 KiB of %j', async (text) => {
    const object = Buffer.alloc(10_000, text);
    const { volume } = await decode('raw', object, { chunkBytes: 5_000, tailBytes: 0 });
    expect(Buffer.compare(volume.bytes, object)).toBe(0);
  });

  it('is the same disk, wherever the zeros and the cuts are', async () => {
    const image = fc.record({
      blocks: fc.array(fc.constantFrom(0, 0, 0, 0, 9), { minLength: 1, maxLength: 40 }),
      oddBytes: fc.integer({ min: 0, max: BLOCK - 1 }),
      marks: fc.array(fc.nat(), { maxLength: 4 }),
      chunkBytes: fc.integer({ min: 5_000, max: 3_000_000 }),
    });
    await fc.assert(
      fc.asyncProperty(image, async ({ blocks, oddBytes, marks, chunkBytes }) => {
        const object = Buffer.concat([
          ...blocks.map((byte) => Buffer.alloc(BLOCK, byte)),
          Buffer.alloc(oddBytes),
        ]);
        for (const mark of marks) object[mark % object.length] = 1;
        const { volume } = await decode('raw', object, { chunkBytes, tailBytes: 777 });
        expect(Buffer.compare(volume.bytes, Buffer.concat([object, Buffer.alloc(777)]))).toBe(0);
      }),
      { numRuns: 100, seed: 1 },
    );
  });
});
