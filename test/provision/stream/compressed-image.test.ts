/**
 * Objects compressed as a whole, with the real decompressors: judged before a volume is touched, written
 * byte for byte, and stopped where they grow too far. Needs xz (xz-utils).
 */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { SystemDecompressors } from '../../../src/adapters/decompressors.ts';
import { WorkerThreads } from '../../../src/adapters/threads.ts';
import { EXPANSION_FREE_BYTES } from '../../../src/core/images/expansion.ts';
import type { ImageFormat, OuterCompression, VolumeRequest } from '../../../src/core/request.ts';
import type { Workshops } from '../../../src/provision/ports/workshop.ts';
import type { ImagePolicy, ResolvedImage } from '../../../src/provision/fill/resolve-image.ts';
import { resolveImage } from '../../../src/provision/fill/resolve-image.ts';
import { streamImage } from '../../../src/provision/stream/stream-image.ts';
import {
  CLUSTER,
  DATA,
  HOSTILE_HEADERS,
  HOSTILE_TABLES,
  L1,
  L2,
  compressedImage,
  goodImage,
} from '../../core/images/hostile.ts';
import { decode } from '../../core/images/memory-volume.ts';
import { FakeClock, FakeDevice, FakeImages, IMAGE } from '../fake-images.ts';

const MIB = 2 ** 20;
const COMPRESSIONS = ['gzip', 'zstd', 'xz'] as const;

const xz = (input: Uint8Array, ...options: string[]) =>
  execFileSync('xz', ['-0', '-c', ...options], { input, maxBuffer: 2 ** 28 });
const COMPRESS: Readonly<Record<OuterCompression, (content: Uint8Array) => Buffer>> = {
  gzip: (content) => gzipSync(content, { level: 1 }),
  // With a checksum, as the program zstd writes it.
  zstd: (content) => zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: 1 } }),
  xz: (content) => xz(content),
};

function needs(images: FakeImages, policy: Partial<ImagePolicy> = {}) {
  return {
    ...{ images, clock: new FakeClock(), decompressors: new SystemDecompressors() },
    policy: {
      requireDigest: false,
      virtualSizeMaxBytes: 2 ** 40,
      expansion: { ratioMax: 1000, timeMaxMs: 60_000 },
      ...policy,
    },
  };
}

function request(format: ImageFormat, more: Partial<VolumeRequest>): VolumeRequest {
  return { target: 'vda', image: IMAGE, format, generation: 1, ...more };
}

interface Options {
  readonly format?: ImageFormat;
  readonly compression: OuterCompression;
  readonly policy?: Partial<ImagePolicy>;
  readonly more?: Partial<VolumeRequest>;
}

function resolve(object: Uint8Array, { format = 'raw', compression, policy, more }: Options) {
  const images = new FakeImages(object);
  const { signal } = new AbortController();
  return resolveImage(needs(images, policy), request(format, { compression, ...more }), signal);
}

/** As a fill streams it (src/provision/fill/write-image.ts). */
function way({ images, object, layout, outer, proof, judgedSha256 }: ResolvedImage) {
  return { images, object, layout, outer, proof, expectedSha256: judgedSha256, clock: new FakeClock() };
}

/** Resolves and writes an object to a volume of `tailBytes` more than the disk. */
async function fill(
  object: Uint8Array,
  options: Options & { readonly tailBytes?: number; readonly workshops?: Workshops },
) {
  const images = new FakeImages(object);
  const { signal } = new AbortController();
  const asked = request(options.format ?? 'raw', { compression: options.compression, ...options.more });
  const resolved = await resolveImage(needs(images, options.policy), asked, signal);
  const device = new FakeDevice(resolved.layout.virtualSizeBytes + (options.tailBytes ?? 0));
  const streamed = await streamImage({ ...way(resolved), device, signal, workshops: options.workshops });
  return { images, device, streamed };
}

/** The same bytes each time, which no program makes smaller. */
const noise = (seed: string, outputLength: number) =>
  createHash('shake256', { outputLength }).update(seed).digest();
const sha512 = (bytes: Uint8Array) => createHash('sha512').update(bytes).digest('hex');

describe.each(COMPRESSIONS)('an object compressed with %s', { timeout: 60_000 }, (compression) => {
  const compress = COMPRESS[compression];

  it('is written as the raw image inside, and its digests are those of the object', async () => {
    const content = Buffer.concat([randomBytes(9 * MIB + 512), Buffer.alloc(3 * MIB), randomBytes(512)]);
    const object = compress(content);
    const more = { sha512: sha512(object) };
    const { device, images, streamed } = await fill(object, { compression, tailBytes: 4096, more });
    expect(Buffer.compare(device.bytes, Buffer.concat([content, Buffer.alloc(4096)]))).toBe(0);
    expect(streamed.sha256).toBe(images.sha256());
    expect(images.reading).toBe(0);
  });

  it.each([
    ['plain', goodImage],
    ['compressed', compressedImage],
  ])('is written as the %s qcow2 image inside', async (_name, make) => {
    const { volume } = await decode('qcow2', make(), { chunkBytes: MIB, tailBytes: 512 });
    const { device } = await fill(compress(make()), { format: 'qcow2', compression, tailBytes: 512 });
    expect(Buffer.compare(device.bytes, volume.bytes)).toBe(0);
  });

  it('is written with the memory of other threads', async () => {
    const threads = new WorkerThreads();
    const image = compressedImage();
    const { volume } = await decode('qcow2', image, { chunkBytes: MIB, tailBytes: 0 });
    const object = compress(image);
    const more = { sha512: sha512(object) };
    const { device, streamed } = await fill(object, {
      ...{ format: 'qcow2', compression, more },
      workshops: threads,
    });
    await threads.end();
    expect(Buffer.compare(device.bytes, volume.bytes)).toBe(0);
    expect(streamed.sha256).toBe(createHash('sha256').update(object).digest('hex'));
  });

  it('may consist of several streams', async () => {
    const parts = [randomBytes(70_000), randomBytes(512), Buffer.alloc(65_536)];
    const { device } = await fill(Buffer.concat(parts.map((part) => compress(part))), { compression });
    expect(Buffer.compare(device.bytes, Buffer.concat(parts))).toBe(0);
  });

  const content = randomBytes(600_000);
  const object = compress(content);
  it.each([
    ['cut short', object.subarray(0, -5)],
    ['cut in the middle', object.subarray(0, 300_000)],
    ['followed by something else', Buffer.concat([object, Buffer.from('hello')])],
    ['followed by something else in another range', Buffer.concat([object, randomBytes(5 * MIB)])],
    ['changed', Buffer.concat([object.subarray(0, 300_000), Buffer.alloc(10), object.subarray(300_010)])],
    ['no such thing', content],
    ['empty', Buffer.alloc(0)],
  ])('is refused when it is %s', async (_what, wrong) => {
    await expect(resolve(wrong, { compression })).rejects.toMatchObject({
      code: 'IMAGE_MALFORMED',
      message: expect.stringContaining(compression) as string,
    });
  });

  it('is refused for its digest before a volume is touched', async () => {
    const more = { sha256: '0'.repeat(64) };
    await expect(resolve(object, { compression, more })).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  it('is refused for what its content looks like', async () => {
    for (const [at, magic] of [
      [0, 'QFI\xfb'],
      [0, 'KDMV'],
      [8192 - 512, 'conectix'],
    ] as const) {
      const disguised = Buffer.alloc(8192, 1);
      disguised.write(magic, at, 'latin1');
      await expect(resolve(compress(disguised), { compression })).rejects.toMatchObject({
        code: 'IMAGE_FORBIDDEN_FEATURE',
      });
    }
  });

  it('is refused when it grows too far', async () => {
    const bomb = compress(Buffer.alloc(64 * MIB));
    const policy = { virtualSizeMaxBytes: 64 * MIB - 1 };
    await expect(resolve(bomb, { compression, policy })).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining('limits.virtual_size_max') as string,
    });
  });

  it('is written only with the bytes that were judged, also without any proof', async () => {
    // Noise is stored as it is: both objects have one size.
    const judged = noise('judged', 3 * MIB);
    const other = Buffer.from(judged);
    other.set(noise('other', 5000), MIB);
    const [first, second] = [compress(judged), compress(other)];
    expect(second.length).toBe(first.length);
    const images = new FakeImages(first);
    const { signal } = new AbortController();
    const resolved = await resolveImage(needs(images), request('raw', { compression }), signal);
    images.bytes = second;
    const write = async () => {
      const device = new FakeDevice(resolved.layout.virtualSizeBytes);
      await streamImage({ ...way(resolved), device, signal });
      return device.bytes;
    };
    await expect(write()).rejects.toMatchObject({
      code: expect.stringMatching(/^(DIGEST_MISMATCH|IMAGE_CHANGED)$/) as string,
    });
    images.bytes = first;
    expect(Buffer.compare(await write(), judged)).toBe(0);
  });

  it('stops when it is cancelled, and leaves nothing running', async () => {
    const images = new FakeImages(compress(randomBytes(12 * MIB)));
    const abort = new AbortController();
    images.beforeChunk = (offsetBytes) => {
      if (offsetBytes > 6 * MIB) abort.abort(new Error('enough'));
      return Promise.resolve();
    };
    const resolving = resolveImage(needs(images), request('raw', { compression }), abort.signal);
    await expect(resolving).rejects.toThrow('enough');
    expect(images.reading).toBe(0);
  });

  it('passes on what is wrong with the store', async () => {
    const images = new FakeImages(compress(randomBytes(12 * MIB)));
    images.breaks.push({ atBytes: 5 * MIB, code: 'IMAGE_CHANGED', times: Infinity });
    const { signal } = new AbortController();
    const resolving = resolveImage(needs(images), request('raw', { compression }), signal);
    await expect(resolving).rejects.toMatchObject({ code: 'IMAGE_CHANGED' });
  });
});

describe('bombs', () => {
  it('are stopped by their ratio', { timeout: 60_000 }, async () => {
    // Frames of 32 MiB of zeros, until they are more than any object may grow to.
    const frame = zstdCompressSync(Buffer.alloc(32 * MIB));
    const count = EXPANSION_FREE_BYTES / (32 * MIB) + 1;
    const object = Buffer.concat(Array.from({ length: count }, () => frame));
    const policy = { expansion: { ratioMax: 100, timeMaxMs: 60_000 } };
    await expect(resolve(object, { compression: 'zstd', policy })).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining('100 times the object (limits.expansion_max)') as string,
    });
  });

  it('are stopped by the clock', async () => {
    const images = new FakeImages(gzipSync(Buffer.alloc(64 * MIB)));
    const slow = needs(images, { expansion: { ratioMax: 1000, timeMaxMs: 10_000 } });
    let nowMs = 0;
    slow.clock.monotonicMs = () => (nowMs += 1000);
    const { signal } = new AbortController();
    await expect(resolveImage(slow, request('raw', { compression: 'gzip' }), signal)).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining(
        '11 s, allowed is at most 10 s (limits.decompression_time_max)',
      ) as string,
    });
  });

  it('of members that hold nothing are stopped by the clock', async () => {
    const empty = gzipSync(Buffer.alloc(0));
    const images = new FakeImages(Buffer.alloc(Math.ceil((6 * MIB) / empty.length) * empty.length, empty));
    const slow = needs(images, { expansion: { ratioMax: 1000, timeMaxMs: 10_000 } });
    let nowMs = 0;
    slow.clock.monotonicMs = () => nowMs;
    images.beforeChunk = (offsetBytes) => {
      if (offsetBytes % MIB === 0) nowMs += 4000;
      return Promise.resolve();
    };
    const { signal } = new AbortController();
    await expect(resolveImage(slow, request('raw', { compression: 'gzip' }), signal)).rejects.toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: expect.stringContaining('at most 10 s (limits.decompression_time_max)') as string,
    });
    // Not only at its end.
    expect(images.reads.length).toBeLessThan(6);
    expect(images.reading).toBe(0);
  });

  it('of xz that want much memory are refused', async () => {
    const object = xz(Buffer.alloc(1000), '--lzma2=dict=1GiB');
    await expect(resolve(object, { compression: 'xz' })).rejects.toMatchObject({
      code: 'IMAGE_MALFORMED',
      message: expect.stringMatching(/memory/i) as string,
    });
  });

  it('of zstd that want much memory are refused', async () => {
    const long = execFileSync('zstd', ['--ultra', '--long=31', '-c'], { input: Buffer.alloc(1000) });
    // The window is in the header only for content of unknown length, as from a pipe: 2^31 is refused.
    await expect(resolve(long, { compression: 'zstd' })).rejects.toMatchObject({ code: 'IMAGE_MALFORMED' });
  });
});

/** Random data between the parts, so that tables lie behind what is kept of the beginning. */
function farImage(l1: number, l2: number, data: number): Buffer {
  const good = goodImage();
  const image = Buffer.concat([good.subarray(0, L1), Buffer.alloc(400 * CLUSTER)]);
  good.copy(image, l1, L1, L1 + CLUSTER);
  good.copy(image, l2, L2, L2 + CLUSTER);
  good.copy(image, data, DATA, DATA + 2 * CLUSTER);
  image.writeBigUInt64BE(BigInt(l1), 40);
  image.writeBigUInt64BE(BigInt(l2), l1);
  image.writeBigUInt64BE(BigInt(data), l2);
  image.writeBigUInt64BE(BigInt(data + CLUSTER), l2 + 16);
  return image;
}

describe('a qcow2 image inside whose tables', () => {
  it.each([
    ['lie in the kept beginning', L1, L2, DATA, 1],
    ['lie behind it in order', 200 * CLUSTER, 300 * CLUSTER, 380 * CLUSTER, 2],
    ['lie behind it in the opposite order', 380 * CLUSTER, 300 * CLUSTER, 200 * CLUSTER, 4],
  ])('%s, is read', async (_name, l1, l2, data, passes) => {
    const image = farImage(l1, l2, data);
    const { volume } = await decode('qcow2', image, { chunkBytes: MIB, tailBytes: 0 });
    const object = zstdCompressSync(image);
    const { device, images } = await fill(object, { format: 'qcow2', compression: 'zstd' });
    expect(Buffer.compare(device.bytes, volume.bytes)).toBe(0);
    const starts = images.reads.filter(({ offsetBytes }) => offsetBytes === 0);
    // One pass more writes the volume.
    expect(starts).toHaveLength(passes + 1);
  });
});

describe('a qcow2 image inside whose tables lie behind what is kept', () => {
  /** Not of the same length in general, so neither is compressed. */
  const store = (content: Uint8Array) => gzipSync(content, { level: 0 });
  const judged = farImage(200 * CLUSTER, 300 * CLUSTER, 380 * CLUSTER);
  const other = Buffer.from(judged);
  other.writeBigUInt64BE(0n, 300 * CLUSTER + 16);

  /** Resolves and writes it without any proof; `wrong` are the passes over it that get the other one. */
  async function fillWith(wrong: readonly number[]): Promise<{ passes: number }> {
    const [right, changed] = [store(judged), store(other)];
    expect(changed.length).toBe(right.length);
    const images = new FakeImages(right);
    let passes = 0;
    images.beforeChunk = (offsetBytes) => {
      if (offsetBytes === 0) images.bytes = wrong.includes(++passes) ? changed : right;
      return Promise.resolve();
    };
    const { signal } = new AbortController();
    const asked = request('qcow2', { compression: 'gzip' });
    const resolved = await resolveImage(needs(images), asked, signal);
    const device = new FakeDevice(resolved.layout.virtualSizeBytes);
    await streamImage({ ...way(resolved), device, signal });
    return { passes };
  }

  it('is written when all passes give the same', async () => {
    expect(await fillWith([])).toEqual({ passes: 3 });
    expect(await fillWith([1, 2, 3])).toEqual({ passes: 3 });
  });

  it.each([[[1]], [[2]], [[3]], [[1, 2]], [[1, 3]], [[2, 3]]])(
    'is refused without any proof when only passes %j give other bytes',
    async (wrong) => {
      await expect(fillWith(wrong)).rejects.toMatchObject({
        code: expect.stringMatching(/^(DIGEST_MISMATCH|IMAGE_CHANGED)$/) as string,
      });
    },
  );
});

describe('a hostile qcow2 image within zstd is refused before a volume is touched', () => {
  const images = [...HOSTILE_HEADERS, ...HOSTILE_TABLES].filter(({ make }) => make().length > 0);
  it.each(images)('$name', async ({ code, make }) => {
    const object = zstdCompressSync(make());
    await expect(resolve(object, { format: 'qcow2', compression: 'zstd' })).rejects.toMatchObject({ code });
  });
});
