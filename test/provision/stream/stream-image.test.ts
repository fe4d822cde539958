import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ImageLayout } from '../../../src/core/images/layout.ts';
import { readLayout, streamImage } from '../../../src/provision/stream/stream-image.ts';
import { STREAM_SHAPE } from '../../../src/provision/stream/stream-shape.ts';
import type { StreamOptions } from '../../../src/provision/stream/stream-image.ts';
import { HOSTILE_HEADERS, HOSTILE_TABLES, VIRTUAL_BYTES } from '../../core/images/hostile.ts';
import { compressedImage, goodImage } from '../../core/images/hostile.ts';
import { FakeClock, FakeDevice, FakeImages } from '../fake-images.ts';

const { rangeBytes: RANGE_BYTES, rangeBuffers: RANGE_BUFFERS } = STREAM_SHAPE;

const LIMIT_BYTES = 2 ** 40;

async function open(images: FakeImages, format: 'raw' | 'qcow2' = 'raw'): Promise<ImageLayout> {
  const { signal } = new AbortController();
  const source = { images, object: images.object(), clock: new FakeClock(), signal };
  return readLayout(source, format, LIMIT_BYTES);
}

async function stream(
  images: FakeImages,
  device: FakeDevice,
  more: Partial<StreamOptions> & { format?: 'raw' | 'qcow2' } = {},
) {
  const layout = more.layout ?? (await open(images, more.format));
  return streamImage({
    ...{ images, object: images.object(), layout, device, clock: new FakeClock() },
    ...{ signal: new AbortController().signal, ...more },
  });
}

function expectImage(device: FakeDevice, image: Uint8Array): void {
  const expected = Buffer.alloc(device.sizeBytes);
  expected.set(image);
  expect(Buffer.compare(device.bytes, expected)).toBe(0);
}

describe('streamImage', () => {
  it('writes a raw image, zeroes the tail, syncs, and reports the digest', async () => {
    const images = new FakeImages(randomBytes(3 * RANGE_BYTES + 777));
    const device = new FakeDevice(3 * RANGE_BYTES + 100_000);
    const progress: number[] = [];
    const result = await stream(images, device, {
      expectedSha256: images.sha256(),
      onProgress: ({ objectBytes }) => progress.push(objectBytes),
    });
    expectImage(device, images.bytes);
    expect(result.sha256).toBe(images.sha256());
    expect(result.writtenBytes).toBe(images.bytes.length);
    expect(result.zeroedBytes).toBe(100_000 - 777);
    expect(progress).toEqual([1, 2, 3].map((n) => n * RANGE_BYTES).concat(images.bytes.length));
    expect(device.log.at(-1)).toBe('sync');
  });

  it.each([goodImage, compressedImage])('writes the qcow2 image of %o', async (make) => {
    const images = new FakeImages(make(), 5000);
    const device = new FakeDevice(VIRTUAL_BYTES + 4096);
    const { sha256, writtenBytes, zeroedBytes } = await stream(images, device, { format: 'qcow2' });
    expect(sha256).toBe(images.sha256());
    expect(writtenBytes + zeroedBytes).toBe(device.sizeBytes);
    expect(device.bytes.includes(0xa5)).toBe(false);
  });

  it('keeps a slow device and a fast store within the bounds', async () => {
    const images = new FakeImages(randomBytes((RANGE_BUFFERS + 5) * RANGE_BYTES));
    const device = new FakeDevice(images.bytes.length);
    device.writePauseMs = 5;
    await stream(images, device);
    expectImage(device, images.bytes);
    expect(images.readingMax).toBe(3);
    expect(device.writingMax).toBeGreaterThan(1);
    expect(device.writingMax).toBeLessThanOrEqual(8);
  });

  it('goes on where a range broke, and pauses longer each time', async () => {
    const images = new FakeImages(randomBytes(2 * RANGE_BYTES));
    images.breaks.push({ atBytes: 4096, code: 'STORE_UNREACHABLE', times: 4 });
    images.breaks.push({ atBytes: RANGE_BYTES + 70_000, code: 'end', times: 1 });
    const device = new FakeDevice(images.bytes.length);
    const clock = new FakeClock();
    const layout = await open(images);
    images.reads.length = 0;
    await stream(images, device, { layout, clock, expectedSha256: images.sha256() });
    expectImage(device, images.bytes);
    expect(images.reads.filter(({ offsetBytes }) => offsetBytes === 4096)).toHaveLength(4);
    expect(images.reads).toContainEqual({
      offsetBytes: RANGE_BYTES + 70_000,
      lengthBytes: RANGE_BYTES - 70_000,
    });
    expect(clock.sleeps).toHaveLength(5);
    expect(Math.max(...clock.sleeps)).toBeGreaterThanOrEqual(1000);
  });

  it('gives up on a store that stays away', async () => {
    const images = new FakeImages(randomBytes(2 * RANGE_BYTES));
    const layout = await open(images);
    images.breaks.push({ atBytes: 4096, code: 'STORE_UNREACHABLE', times: Infinity });
    const device = new FakeDevice(images.bytes.length);
    await expect(stream(images, device, { layout })).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(images.reading).toBe(0);
    expect(device.log).not.toContain('sync');
  });

  it.each(['IMAGE_CHANGED', 'STORE_ACCESS_DENIED', 'IMAGE_NOT_FOUND'] as const)(
    'does not retry %s',
    async (code) => {
      const images = new FakeImages(randomBytes(2 * RANGE_BYTES));
      const layout = await open(images);
      images.breaks.push({ atBytes: RANGE_BYTES + 1, code, times: 1 });
      const device = new FakeDevice(images.bytes.length);
      await expect(stream(images, device, { layout })).rejects.toMatchObject({ code });
    },
  );

  it('names both digests when they differ', async () => {
    const images = new FakeImages(randomBytes(5000));
    const expectedSha256 = '0'.repeat(64);
    const error = await stream(images, new FakeDevice(5000), { expectedSha256 }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(String(error)).toContain(images.sha256());
    expect(String(error)).toContain(expectedSha256);
  });

  it('ends with the device, and leaves nothing in flight', async () => {
    const images = new FakeImages(randomBytes(6 * RANGE_BYTES));
    const device = new FakeDevice(images.bytes.length);
    device.failAtBytes = 2 * RANGE_BYTES;
    device.writePauseMs = 2;
    await expect(stream(images, device)).rejects.toMatchObject({ code: 'DEVICE_FAILED' });
    expect(images.reading).toBe(0);
    expect(device.writing).toBe(0);
    expect(device.log).not.toContain('sync');
  });

  it('ends when it is cancelled, and leaves nothing in flight', async () => {
    const images = new FakeImages(randomBytes(6 * RANGE_BYTES));
    const device = new FakeDevice(images.bytes.length);
    const layout = await open(images);
    const abort = new AbortController();
    device.writePauseMs = 2;
    images.beforeChunk = (offsetBytes) => {
      if (offsetBytes > 3 * RANGE_BYTES) abort.abort();
      return Promise.resolve();
    };
    await expect(stream(images, device, { layout, signal: abort.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    expect(images.reading).toBe(0);
    expect(device.writing).toBe(0);
    expect(device.log).not.toContain('sync');
  });

  it('refuses a volume that is too small, before it writes', async () => {
    const images = new FakeImages(randomBytes(5000));
    const device = new FakeDevice(4999);
    await expect(stream(images, device)).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' });
    expect(device.log).toEqual([]);
  });

  it('notices metadata that change between the two reads', async () => {
    const images = new FakeImages(goodImage());
    const layout = await open(images, 'qcow2');
    images.bytes = images.bytes.slice();
    images.bytes[110] = 1;
    const device = new FakeDevice(VIRTUAL_BYTES);
    await expect(stream(images, device, { layout })).rejects.toMatchObject({ code: 'IMAGE_CHANGED' });
    expect(device.log).not.toContain('sync');
  });
});

describe('a hostile image', () => {
  it.each([...HOSTILE_HEADERS, ...HOSTILE_TABLES])('$name: nothing is written', async ({ code, make }) => {
    const device = new FakeDevice(VIRTUAL_BYTES);
    await expect(stream(new FakeImages(make()), device, { format: 'qcow2' })).rejects.toMatchObject({ code });
    expect(device.log).toEqual([]);
    expect(device.bytes.every((byte) => byte === 0xa5)).toBe(true);
  });
});
