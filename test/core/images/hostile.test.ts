/** Every hostile image is refused for its own reason, and before anything is written. */
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import { openImage } from '../../../src/core/images/open-image.ts';
import { CLUSTER, DATA, HOSTILE_HEADERS, HOSTILE_TABLES, L2, VIRTUAL_BYTES } from './hostile.ts';
import { compressedEntry, compressedImage, goodImage, scatteredImage } from './hostile.ts';
import { wideImage, withExtension } from './hostile.ts';
import { decode, MemoryVolume, rangeReader, write } from './memory-volume.ts';
import { seededRandom } from './random.ts';

const LIMITS = { virtualSizeMaxBytes: 2 ** 40 };

async function refusal(object: Uint8Array, format: 'raw' | 'qcow2' = 'qcow2'): Promise<ProvisionError> {
  try {
    await openImage(format, object.length, LIMITS, rangeReader(object));
  } catch (error) {
    if (error instanceof ProvisionError) return error;
    throw error;
  }
  throw new Error('the image was accepted');
}

describe('the images the hostile ones are made of are good', () => {
  it('decodes data clusters', async () => {
    const { volume } = await decode('qcow2', goodImage(), { chunkBytes: 1000, tailBytes: 512 });
    const expected = Buffer.alloc(VIRTUAL_BYTES + 512);
    expected.fill(0x11, 0, CLUSTER).fill(0x22, 2 * CLUSTER, 3 * CLUSTER);
    expect(Buffer.compare(volume.bytes, expected)).toBe(0);
  });

  it('decodes a compressed cluster', async () => {
    const { volume } = await decode('qcow2', compressedImage(), { chunkBytes: 700, tailBytes: 0 });
    expect(volume.bytes.subarray(CLUSTER + 600, 2 * CLUSTER).every((byte) => byte === 7)).toBe(true);
  });

  it.each([
    ['with small clusters, up to their end', goodImage, CLUSTER - 120],
    ['with large clusters, up to what is read', wideImage, CLUSTER - 128],
    ['with large clusters', wideImage, 1000],
  ])('skips header extensions nobody knows, %s', async (_name, make, lengthBytes) => {
    const read = async (object: Buffer) =>
      (await decode('qcow2', object, { chunkBytes: CLUSTER, tailBytes: 0 })).volume.bytes;
    const image = withExtension(make(), lengthBytes);
    expect(Buffer.compare(await read(image), await read(make()))).toBe(0);
  });
});

describe('an image whose tables and compressed data lie in another order than on the disk', () => {
  const random = seededRandom(77);
  const ORDERS: readonly (readonly [string, (numbers: number[]) => number[]])[] = [
    ['the same', (numbers) => numbers],
    ['the opposite', (numbers) => numbers.reverse()],
    ...Array.from({ length: 5 }, (_, index): [string, (numbers: number[]) => number[]] => [
      `random ${index}`,
      (numbers) =>
        numbers
          .map((number) => ({ number, key: random() }))
          .sort((a, b) => a.key - b.key)
          .map(({ number }) => number),
    ]),
  ];
  it.each(ORDERS)('is the same disk: %s', async (_name, shuffle) => {
    const { image, disk } = scatteredImage(shuffle);
    for (const chunkBytes of [700, image.length]) {
      const { volume } = await decode('qcow2', image, { chunkBytes, tailBytes: 0 });
      expect(Buffer.compare(volume.bytes, disk)).toBe(0);
    }
  });
});

describe('a hostile qcow2 image is refused before anything is written', () => {
  it.each([...HOSTILE_HEADERS, ...HOSTILE_TABLES])('$name', async ({ code, says, make }) => {
    const error = await refusal(make());
    expect(error.code).toBe(code);
    expect(error.message).toContain(says);
    expect(error.message).toMatch(/at byte \d+ is .+, allowed is .+\.$/);
    expect(error.hint).toBeTruthy();
  });

  it.each([CLUSTER - 1, CLUSTER + 1, 40 * CLUSTER])(
    'whose compressed cluster has %i bytes when decompressed, while it is read',
    async (lengthBytes) => {
      const image = compressedImage();
      image.fill(0, DATA + CLUSTER);
      deflateRawSync(Buffer.alloc(lengthBytes, 5)).copy(image, DATA + CLUSTER);
      image.writeBigUInt64BE(compressedEntry(DATA + CLUSTER, 15), L2 + 8);
      await expect(decode('qcow2', image, { chunkBytes: 65536, tailBytes: 0 })).rejects.toMatchObject({
        code: 'IMAGE_MALFORMED',
      });
    },
  );

  it('whose compressed data are damaged, while it is read', async () => {
    const image = compressedImage();
    image.fill(0xff, DATA + CLUSTER, DATA + CLUSTER + 64);
    await expect(decode('qcow2', image, { chunkBytes: 65536, tailBytes: 0 })).rejects.toMatchObject({
      code: 'IMAGE_MALFORMED',
    });
  });

  it('whose compressed data end too early, while it is read', async () => {
    const image = compressedImage();
    image.writeBigUInt64BE(compressedEntry(DATA + CLUSTER + 1024, 1), L2 + 8);
    await expect(decode('qcow2', image, { chunkBytes: 65536, tailBytes: 0 })).rejects.toMatchObject({
      code: 'IMAGE_MALFORMED',
    });
  });
});

const FOREIGN: readonly (readonly [string, string, number])[] = [
  ['qcow', 'QFI\xfb', 0],
  ['qed', 'QED\0', 0],
  ['vmdk', 'KDMV', 0],
  ['vmdk', 'COWD', 0],
  ['vmdk (SE sparse)', '\xbe\xba\xfe\xca', 0],
  ['vmdk', '# Disk DescriptorFile\nversion=1\n', 0],
  ['vmdk', '# anything\n\n  version=3\n', 0],
  ['vhdx', 'vhdxfile', 0],
  ['vhd', 'conectix', 0],
  ['vdi', '\x7f\x10\xda\xbe', 64],
  ['luks', 'LUKS\xba\xbe\0\x01', 0],
  ['luks', 'LUKS\xba\xbe\0\x02', 0],
  ['parallels', 'WithoutFreeSpace', 0],
  ['parallels', 'WithouFreSpacExt', 0],
  ['bochs', 'Bochs Virtual HD Image', 0],
  ['cloop', '#!/bin/sh\n#V2.0 Format\nmodprobe cloop', 0],
  ['dmg', 'koly', 0],
  ['vhd', 'conectix', 8192 - 512],
  ['dmg', 'koly', 8192 - 512],
];

describe('a raw image that looks like another format is refused', () => {
  it.each(FOREIGN)('%s %j at %i', async (format, magic, offsetBytes) => {
    const image = Buffer.alloc(8192, 1);
    image.write(magic, offsetBytes, 'latin1');
    const error = await refusal(image, 'raw');
    expect(error.code).toBe('IMAGE_FORBIDDEN_FEATURE');
    expect(error.message).toContain(format);
  });

  it.each(FOREIGN.filter(([format]) => format !== 'qcow'))(
    '%s %j at %i, stated as qcow2',
    async (_format, magic, at) => {
      const image = Buffer.alloc(8192, 1);
      image.write(magic, at, 'latin1');
      expect(await refusal(image, 'qcow2')).toMatchObject({
        code: 'IMAGE_MALFORMED',
        message: expect.stringContaining('the magic') as string,
      });
    },
  );

  it('but not a boot sector, a partition table or a short image', async () => {
    for (const image of [Buffer.alloc(1, 1), Buffer.alloc(512, 0x90), Buffer.from('# a script\necho hi\n')]) {
      const { volume } = await decode('raw', image, { chunkBytes: 100, tailBytes: 1000 });
      expect(Buffer.compare(volume.bytes, Buffer.concat([image, Buffer.alloc(1000)]))).toBe(0);
    }
  });

  it('nor an empty or a too large one', async () => {
    expect((await refusal(Buffer.alloc(0), 'raw')).code).toBe('IMAGE_MALFORMED');
    const image = Buffer.alloc(1024);
    const opened = openImage('raw', image.length, { virtualSizeMaxBytes: 1023 }, rangeReader(image));
    await expect(opened).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' });
  });
});

describe('a disk inside a qcow2 image', () => {
  it('may hold such bytes anywhere else', async () => {
    const image = goodImage();
    image.write('QFI\xfb', DATA + 512, 'latin1');
    image.write('conectix', DATA + 2 * CLUSTER - 512, 'latin1');
    const { volume } = await decode('qcow2', image, { chunkBytes: CLUSTER, tailBytes: 0 });
    expect(Buffer.from(volume.bytes.subarray(512, 516)).toString('latin1')).toBe('QFI\xfb');
  });

  it('is judged by the bytes that are written', async () => {
    const image = goodImage();
    const layout = await openImage('qcow2', image.length, LIMITS, rangeReader(image));
    image.write('QFI\xfb', DATA, 'latin1');
    const volume = new MemoryVolume(layout.virtualSizeBytes);
    await expect(write(layout, image, volume, 999)).rejects.toMatchObject({ code: 'IMAGE_CHANGED' });
  });
});

describe('what was parsed must be what is streamed', () => {
  it.each([
    ['raw', 3],
    ['qcow2', 110],
    ['qcow2', L2 + 9],
    ['qcow2', 3 * CLUSTER + 5],
    ['qcow2', CLUSTER + 30],
  ] as const)('%s, byte %i', async (format, at) => {
    const image = format === 'raw' ? Buffer.alloc(5000, 7) : goodImage();
    const layout = await openImage(format, image.length, LIMITS, rangeReader(image));
    image.writeUInt8(image.readUInt8(at) ^ 1, at);
    const volume = new MemoryVolume(layout.virtualSizeBytes);
    await expect(write(layout, image, volume, 999)).rejects.toMatchObject({ code: 'IMAGE_CHANGED' });
  });

  it('a shorter and a longer stream are refused', async () => {
    const image = goodImage();
    const layout = await openImage('qcow2', image.length, LIMITS, rangeReader(image));
    const volume = () => new MemoryVolume(layout.virtualSizeBytes);
    await expect(write(layout, image.subarray(0, -1), volume(), 65536)).rejects.toMatchObject({
      code: 'IMAGE_TRUNCATED',
    });
    await expect(write(layout, Buffer.concat([image, image]), volume(), 65536)).rejects.toMatchObject({
      code: 'IMAGE_CHANGED',
    });
  });
});

describe('mutations of headers and tables', () => {
  /** Bytes that mean something: the rest of the image is zeros or data. */
  const PLACES = [0, 112, CLUSTER, CLUSTER + 16, 3 * CLUSTER, 3 * CLUSTER + 16, L2, L2 + 32] as const;

  it('end in a refusal or an image that stays inside its volume', { timeout: 60_000 }, async () => {
    const random = seededRandom(20_240_702);
    const pick = (count: number) => Math.floor(random() * count);
    let accepted = 0;
    for (let round = 0; round < 4000; round++) {
      const image = round % 2 === 0 ? goodImage() : compressedImage();
      for (let change = 0; change <= pick(4); change++) {
        const part = pick(4) * 2;
        const from = PLACES[part] ?? 0;
        const at = from + pick((PLACES[part + 1] ?? 0) - from);
        const kind = pick(3);
        if (kind === 0) image.writeUInt8(pick(256), at);
        else if (kind === 1) image.writeUInt8(image.readUInt8(at) ^ (1 << pick(8)), at);
        else image.writeBigUInt64BE(BigInt(pick(10)) * BigInt(CLUSTER), at - (at % 8));
      }
      try {
        await decode('qcow2', image, { chunkBytes: 100_000, tailBytes: 512, virtualSizeMaxBytes: 2 ** 24 });
        accepted++;
      } catch (error) {
        if (!(error instanceof ProvisionError)) throw error;
      }
    }
    // Neither everything nor nothing: else the mutations would show nothing.
    expect(accepted).toBeGreaterThan(200);
    expect(accepted).toBeLessThan(3000);
  });
});
