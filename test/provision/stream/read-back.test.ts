/**
 * Goal: a disk that keeps one byte otherwise than it was told is found out before its volume is sealed.
 * Method: a device that spoils a byte when it syncs, wherever that byte is, under the real writeImage().
 */
import { createHash, randomBytes } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { SystemDecompressors } from '../../../src/adapters/decompressors.ts';
import { WorkerThreads } from '../../../src/adapters/threads.ts';
import { alignedMemory } from '../../../src/core/images/aligned-memory.ts';
import type { VolumeRequest } from '../../../src/core/request.ts';
import type { FillRun } from '../../../src/provision/fill/fills.ts';
import { resolveImage } from '../../../src/provision/fill/resolve-image.ts';
import { writeImage } from '../../../src/provision/fill/write-image.ts';
import type { Volumes } from '../../../src/provision/ports/volumes.ts';
import type { Workshops } from '../../../src/provision/ports/workshop.ts';
import { ComparingDevice } from '../../../src/provision/stream/read-back.ts';
import { CLUSTER, compressedImage, goodImage, VIRTUAL_BYTES } from '../../core/images/hostile.ts';
import { FakeClock, FakeDevice, FakeImages, IMAGE } from '../fake-images.ts';
import { silent } from '../world.ts';

const MIB = 2 ** 20;
const { signal } = new AbortController();
const volume = { vg: 'vg0', fillId: '00112233445566aa', target: 'vm1', domainUuid: 'u' };

/** Keeps one byte otherwise than it was told, and counts what is asked of its memory. */
class LyingDevice extends FakeDevice {
  spoilAtBytes: number | undefined;
  /** Ranges of memory that were read into, and how much at once. */
  readonly memories = new Set<ArrayBufferLike>();
  reads = 0;
  readingMaxBytes = 0;
  #readingBytes = 0;

  override async sync(): Promise<void> {
    await super.sync();
    if (this.spoilAtBytes !== undefined) this.bytes[this.spoilAtBytes] = this.foundAt(this.spoilAtBytes);
  }

  foundAt(offsetBytes: number): number {
    return (this.bytes[offsetBytes] ?? 0) ^ 0x40;
  }

  override async read(target: Uint8Array, offsetBytes: number): Promise<void> {
    this.reads += 1;
    this.memories.add(target.buffer);
    this.#readingBytes += target.length;
    this.readingMaxBytes = Math.max(this.readingMaxBytes, this.#readingBytes);
    await new Promise((resolve) => setImmediate(resolve));
    await super.read(target, offsetBytes);
    this.#readingBytes -= target.length;
  }
}

interface Options {
  readonly readBack?: boolean;
  readonly request?: Partial<VolumeRequest>;
  readonly workshops?: Workshops;
  readonly phases?: string[];
}

async function fill(images: FakeImages, device: FakeDevice, options: Options = {}): Promise<string> {
  const { readBack = true, request, workshops, phases = [] } = options;
  const needs = { images, clock: new FakeClock(), decompressors: new SystemDecompressors(), workshops };
  const policy = {
    ...{ requireDigest: false, virtualSizeMaxBytes: 2 ** 40 },
    expansion: { ratioMax: 1000, timeMaxMs: 60_000 },
  };
  const asked = { target: 'vda', image: IMAGE, format: 'raw', generation: 1, ...request } as const;
  const image = await resolveImage({ ...needs, policy }, asked, signal);
  const run: FillRun = {
    ...{ signal, log: silent, isImageWanted: () => false },
    phase: (phase, bytesTotal) => phases.push(`${phase} ${bytesTotal ?? ''}`),
    progress: () => undefined,
    from: () => undefined,
  };
  // Without journals nobody asks for volumes.
  const volumes = {} as Volumes;
  const devices = { open: () => Promise.resolve(device) };
  return writeImage({ ...needs, volumes, devices, readBack }, volume, image, run);
}

const raw = randomBytes(9 * MIB + 1536);
raw.fill(0, 5 * MIB, 6 * MIB);
const IMAGES = [
  {
    what: 'a raw image',
    object: raw,
    request: {},
    sizeBytes: raw.length + MIB + 512,
    places: {
      'its first byte': 0,
      'a byte in the middle': 4 * MIB + 700_001,
      'a byte among zeros': 5 * MIB + 600_000,
      'its last byte': raw.length - 1,
      'the first byte behind it': raw.length,
      'the last byte of the volume': raw.length + MIB + 511,
    },
  },
  {
    what: 'a raw image in a compressed object',
    object: zstdCompressSync(raw),
    request: { compression: 'zstd' },
    sizeBytes: raw.length,
    places: { 'its first byte': 0, 'its last byte': raw.length - 1 },
  },
  {
    what: 'a qcow2 image',
    object: goodImage(),
    request: { format: 'qcow2' },
    sizeBytes: VIRTUAL_BYTES + 4096,
    places: {
      'its first byte': 0,
      'the last byte of a cluster': CLUSTER - 1,
      'a byte in a hole': CLUSTER + 77,
      'a byte of its last cluster': 2 * CLUSTER + 1,
      'a byte behind it': VIRTUAL_BYTES + 5,
    },
  },
  {
    what: 'a qcow2 image with zlib clusters',
    object: compressedImage(),
    request: { format: 'qcow2' },
    sizeBytes: VIRTUAL_BYTES,
    places: {
      'the first byte of a compressed cluster': CLUSTER,
      'its last byte': 2 * CLUSTER - 1,
      'a byte in a hole': 3 * CLUSTER,
    },
  },
] as const;

describe.each(IMAGES)('$what', ({ object, request, sizeBytes, places }) => {
  const images = new FakeImages(object);

  it('passes on a good disk, in a phase of its own, and with the digest of the object', async () => {
    const device = new LyingDevice(sizeBytes);
    const phases: string[] = [];
    expect(await fill(images, device, { request, phases })).toBe(images.sha256());
    expect(phases.map((phase) => phase.split(' ')[0])).toEqual(['filling', 'verifying']);
    expect(phases[1]?.split(' ')[1]).toBe(phases[0]?.split(' ')[1]);
    // Nothing is written for it.
    expect(device.log.at(-1)).toBe('sync');
  });

  it.each(Object.entries(places))('is refused when the disk spoils %s', async (_what, spoilAtBytes) => {
    const good = new LyingDevice(sizeBytes);
    await fill(images, good, { request });
    const device = new LyingDevice(sizeBytes);
    device.spoilAtBytes = spoilAtBytes;
    const hex = (from: FakeDevice) =>
      Buffer.from(from.bytes.subarray(spoilAtBytes, spoilAtBytes + 1)).toString('hex');
    const failure: unknown = await fill(images, device, { request }).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'DEVICE_FAILED',
      hint: expect.stringContaining('dmesg') as string,
    });
    expect(String(failure)).toContain('vg0/lvp-fill-00112233445566aa for vm1');
    expect(String(failure)).toContain(`from byte ${spoilAtBytes} on it reads ${hex(device)}`);
    expect(String(failure)).toContain(`and should read ${hex(good)}`);
  });

  it('is not found out where nothing is read back', async () => {
    const device = new LyingDevice(sizeBytes);
    device.spoilAtBytes = Object.values(places)[0] ?? 0;
    expect(await fill(images, device, { request, readBack: false })).toBe(images.sha256());
    expect(device.reads).toBe(0);
  });
});

describe('reading back', () => {
  it('works with the memory of other threads', async () => {
    const threads = new WorkerThreads();
    const images = new FakeImages(compressedImage());
    const request = { format: 'qcow2' } as const;
    await fill(images, new LyingDevice(VIRTUAL_BYTES), { request, workshops: threads });
    const device = new LyingDevice(VIRTUAL_BYTES);
    device.spoilAtBytes = CLUSTER + 3;
    await expect(fill(images, device, { request, workshops: threads })).rejects.toMatchObject({
      message: expect.stringContaining(`byte ${CLUSTER + 3} `) as string,
    });
    await threads.end();
  });

  it('takes the same 2 MiB, however large the volume and however often', async () => {
    const memories = new Set<ArrayBufferLike>();
    for (const sizeBytes of [MIB, 40 * MIB, 100 * MIB]) {
      const device = new LyingDevice(sizeBytes + 20 * MIB);
      await fill(new FakeImages(Buffer.alloc(sizeBytes, 0x42)), device);
      expect(device.readingMaxBytes).toBeLessThanOrEqual(2 * MIB);
      for (const memory of device.memories) memories.add(memory);
    }
    expect([...memories].map(({ byteLength }) => byteLength)).toEqual([2 * MIB]);
  });

  it('blames the object, not the disk, when it was the object that came otherwise', async () => {
    const images = new FakeImages(raw);
    const device = new LyingDevice(raw.length);
    const second = Uint8Array.from(raw);
    second[MIB] = (second[MIB] ?? 0) ^ 1;
    const sync = device.sync.bind(device);
    device.sync = () => {
      images.bytes = second;
      return sync();
    };
    const failure: unknown = await fill(images, device).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(String(failure)).toContain(createHash('sha256').update(raw).digest('hex'));
    expect(String(failure)).toContain(images.sha256());
  });

  it('ends with a disk that cannot be read', async () => {
    const device = new LyingDevice(raw.length);
    device.read = () => Promise.reject(new Error('EIO'));
    await expect(fill(new FakeImages(raw), device)).rejects.toThrow('EIO');
  });
});

describe('a comparing device', () => {
  it('remembers the first of several differences, whatever the order in which they were found', async () => {
    const device = new FakeDevice(4 * MIB);
    const comparing = new ComparingDevice(device, alignedMemory(2 * MIB), signal);
    const same = new Uint8Array(MIB).fill(0xa5);
    await comparing.write(same, 0);
    expect(comparing.difference).toBeUndefined();
    await comparing.zero(3 * MIB, MIB);
    await comparing.write(Buffer.concat([same.subarray(0, 100), Buffer.from([1, 2])]), MIB + 7);
    await comparing.zero(2 * MIB, 5);
    expect(comparing.difference).toEqual({
      offsetBytes: MIB + 107,
      found: Uint8Array.of(0xa5, 0xa5),
      expected: Uint8Array.of(1, 2),
    });
  });

  it('stops when it is told, in the middle of a large range', async () => {
    const abort = new AbortController();
    const device = new LyingDevice(16 * MIB);
    const comparing = new ComparingDevice(device, alignedMemory(2 * MIB), abort.signal);
    const comparison = comparing.zero(0, 16 * MIB);
    abort.abort(new Error('stop'));
    await expect(comparison).rejects.toThrow('stop');
    expect(device.reads).toBe(1);
  });
});
