/** What becomes of a raw image's bytes, and of the zeros among them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Extent } from '../../../src/core/images/layout.ts';
import { openImage } from '../../../src/core/images/open-image.ts';
import { decode, MemoryVolume, rangeReader, write } from './memory-volume.ts';

const KIB = 1024;
const BLOCK = 64 * KIB;

const open = (object: Uint8Array) =>
  openImage('raw', object.length, { virtualSizeMaxBytes: 2 ** 40 }, rangeReader(object));

async function extentsOf(object: Uint8Array): Promise<Extent[]> {
  const layout = await open(object);
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

describe('a store that answers the judging reads of a raw image with other bytes than it streams', () => {
  const SIZE = 8192;
  const TAIL = SIZE - 512;
  const good = Buffer.alloc(SIZE, 7);
  function disguised(magic: string, at: number): Buffer {
    const image = Buffer.from(good);
    image.write(magic, at, 'latin1');
    return image;
  }

  it.each([
    ['the header of another format', 'QFI\xfb', 0],
    ['a vmdk descriptor', 'version=1\n', 0],
    ['the last byte of its head', 'x', 2047],
    ['the trailer of another format', 'conectix', TAIL],
    ['the last byte of its tail', 'x', SIZE - 1],
  ])('is found out by %s', async (_name, text, at) => {
    const layout = await open(good);
    for (const chunkBytes of [SIZE, 1000, 511]) {
      const volume = new MemoryVolume(SIZE);
      await expect(write(layout, disguised(text, at), volume, chunkBytes)).rejects.toMatchObject({
        code: 'IMAGE_CHANGED',
      });
    }
  });

  it('is found out where an interrupted fill goes on, wherever that is', async () => {
    const layout = await open(good);
    const wrong = disguised('conectix', TAIL);
    for (const cut of [1, 2047, 2048, 5000, TAIL - 1, TAIL, TAIL + 3]) {
      const first = layout.decoder();
      // The tail's own first bytes are still the right ones.
      expect([...first.push(good.subarray(0, cut))]).toHaveLength(1);
      const { safeBytes = 0 } = first;
      // What has come in part is to come again: nobody else compares the whole of it.
      expect(safeBytes).toBe(cut < 2048 ? 0 : Math.min(cut, TAIL));
      const resume = (object: Buffer) => [...layout.decoder(safeBytes).push(object.subarray(safeBytes))];
      expect(resume(good)).toHaveLength(1);
      expect(() => resume(wrong)).toThrow(expect.objectContaining({ code: 'IMAGE_CHANGED' }));
    }
  });

  it('is none where head and tail are the same bytes', async () => {
    for (const sizeBytes of [1, 511, 512, 600, 2048, 2049, 2559]) {
      const object = good.subarray(0, sizeBytes);
      const { volume } = await decode('raw', object, { chunkBytes: 300, tailBytes: 0 });
      expect(Buffer.compare(volume.bytes, object)).toBe(0);
    }
  });
});
