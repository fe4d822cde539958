/**
 * Goal: a fill that is cut off anywhere goes on from what the journal says, ends with the right bytes, and
 * fetches at most 64 MiB twice. Method: a device that loses, at the cut, everything not synced.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JournalFolder } from '../../../src/adapters/fill-journals.ts';
import type { ImageLayout } from '../../../src/core/images/layout.ts';
import type { FillCheckpoint, FillPosition } from '../../../src/provision/ports/fill-journals.ts';
import { readLayout, streamImage } from '../../../src/provision/stream/stream-image.ts';
import { STREAM_SHAPE } from '../../../src/provision/stream/stream-shape.ts';
import { compressedImage, goodImage, VIRTUAL_BYTES } from '../../core/images/hostile.ts';
import { bytesOf } from '../../core/images/memory-volume.ts';
import { FakeClock, FakeDevice, FakeImages } from '../fake-images.ts';

const MIB = 1 << 20;
const { signal } = new AbortController();

/** At the cut, what was not synced is as if it had never been written. */
class LosingDevice extends FakeDevice {
  #synced: Uint8Array | undefined;

  override async sync(): Promise<void> {
    const bytes = this.bytes.slice();
    await super.sync();
    this.#synced = bytes;
  }

  cutPower(): void {
    if (this.#synced === undefined) this.bytes.fill(0x5a);
    else this.bytes.set(this.#synced);
  }
}

async function layoutOf(images: FakeImages, format: 'raw' | 'qcow2'): Promise<ImageLayout> {
  return readLayout({ images, object: images.object(), clock: new FakeClock(), signal }, format, 2 ** 40);
}

describe('a raw image of 150 MiB', () => {
  const images = new FakeImages(randomBytes(150 * MIB + 100), 4 * MIB);

  it.each([1, 30, 70, 110, 147])('cut off at %i MiB goes on', async (cutMiB) => {
    const layout = await layoutOf(images, 'raw');
    const device = new LosingDevice(170 * MIB);
    const abort = new AbortController();
    let journal: FillPosition | undefined;
    images.reads.length = 0;
    images.beforeChunk = (offsetBytes) => {
      if (offsetBytes >= cutMiB * MIB) abort.abort();
      return Promise.resolve();
    };
    const fill = { images, object: images.object(), layout, device, clock: new FakeClock() };
    const onCheckpoint = (position: FillPosition) => {
      if (!abort.signal.aborted) journal = position;
      return Promise.resolve();
    };
    await expect(streamImage({ ...fill, onCheckpoint, signal: abort.signal })).rejects.toThrow();
    device.cutPower();
    images.beforeChunk = () => Promise.resolve();
    const { sha256 } = await streamImage({ ...fill, signal, resumeFrom: journal });
    expect(sha256).toBe(images.sha256());
    expect(Buffer.compare(device.bytes.subarray(0, images.bytes.length), images.bytes)).toBe(0);
    expect(device.bytes.subarray(images.bytes.length).every((byte) => byte === 0)).toBe(true);
    const fetchedBytes = images.reads.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    expect(fetchedBytes).toBeLessThanOrEqual(images.bytes.length + STREAM_SHAPE.fetchedTwiceMaxBytes);
    if (cutMiB > 64) expect(journal?.objectBytes).toBeGreaterThan(0);
  });

  it('is not journaled further than it is synced', async () => {
    const layout = await layoutOf(images, 'raw');
    const device = new LosingDevice(150 * MIB + 512);
    const positions: number[] = [];
    const onCheckpoint = ({ objectBytes }: FillPosition) => {
      device.cutPower();
      expect(
        Buffer.compare(device.bytes.subarray(0, objectBytes), images.bytes.subarray(0, objectBytes)),
      ).toBe(0);
      positions.push(objectBytes);
      return Promise.resolve();
    };
    await streamImage({
      ...{ images, object: images.object(), layout, device, clock: new FakeClock(), signal, onCheckpoint },
    }).catch(() => undefined);
    expect(positions.length).toBeGreaterThan(2);
  });
});

describe.each([
  ['plain', goodImage],
  ['compressed', compressedImage],
])('a decoder of a %s qcow2 image', (_name, make) => {
  it('goes on wherever another one was safe', async () => {
    const images = new FakeImages(make());
    const layout = await layoutOf(images, 'qcow2');
    const whole = await written(layout, images.bytes, images.bytes.length, 4096);
    const stepBytes = Math.ceil(images.bytes.length / 3072) * 64 + 8;
    for (let cut = 512; cut < images.bytes.length; cut += stepBytes) {
      expect(await written(layout, images.bytes, cut, 1000)).toEqual(whole);
    }
  });

  async function written(layout: ImageLayout, bytes: Uint8Array, cut: number, step: number) {
    const images = new FakeImages(bytes);
    const device = new FakeDevice(VIRTUAL_BYTES);
    const first = layout.decoder();
    for (let at = 0; at < cut; at += step) {
      for (const extent of first.push(bytes.subarray(at, Math.min(at + step, cut)))) {
        await device.write(await bytesOf(extent), extent.offsetBytes);
      }
    }
    const safeBytes = first.safeBytes ?? 0;
    expect(safeBytes).toBeLessThanOrEqual(cut);
    const second = layout.decoder(safeBytes);
    for (const extent of second.push(bytes.subarray(safeBytes))) {
      await device.write(await bytesOf(extent), extent.offsetBytes);
    }
    second.finish();
    expect(images.reads).toEqual([]);
    return Buffer.from(device.bytes);
  }
});

describe('the journal', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'lvp-journal-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const fillId = '00112233445566aa';
  const checkpoint: FillCheckpoint = {
    ...{
      engine: 1,
      volumeUuid: 'u',
      volumeSizeBytes: 10,
      image: 'images/x',
      etag: 'e',
      objectSizeBytes: 200,
    },
    ...{ fingerprint: 'f', objectBytes: 128, hashState: 'ab'.repeat(32) },
    ...{ zeroedToBytes: 0, writtenBytes: 1, zeroedBytes: 2 },
  };

  it('gives back what was written last, and nothing when it is damaged or gone', async () => {
    const journals = new JournalFolder(path.join(folder, 'journals'));
    expect(await journals.read(fillId)).toBeUndefined();
    await journals.write(fillId, { ...checkpoint, objectBytes: 64 });
    await journals.write(fillId, checkpoint);
    expect(await journals.read(fillId)).toEqual(checkpoint);
    const file = path.join(folder, 'journals', `${fillId}.json`);
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('128', '192'));
    expect(await journals.read(fillId)).toBeUndefined();
    await writeFile(file, text);
    await journals.keepOnly(new Set(['f'.repeat(16)]));
    expect(await journals.read(fillId)).toBeUndefined();
    await journals.remove(fillId);
  });
});
