/**
 * The adapter against real S3 servers, MinIO and versitygw, where the test host's build has made them: one
 * contract for both, so that nothing in the adapter leans on what one of them happens to do.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Client } from 'minio';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MinioImages } from '../../../src/adapters/minio/images.ts';
import { readLayout, streamImage } from '../../../src/provision/stream/stream-image.ts';
import { goodImage, VIRTUAL_BYTES } from '../../core/images/hostile.ts';
import { FakeClock, FakeDevice } from '../../provision/fake-images.ts';
import type { S3Server } from '../s3-servers.ts';
import { KEYS, SERVERS, startServer } from '../s3-servers.ts';

describe.each(SERVERS.filter(({ program }) => program !== undefined))('a real $name', (kind) => {
  let server: S3Server;
  let client: Client;
  let endpoint: string;
  let images: MinioImages;

  beforeAll(async () => {
    server = await startServer(kind);
    ({ client, endpoint } = server);
    images = new MinioImages({ endpoint, ...KEYS });
  }, 60_000);
  afterAll(async () => {
    images.close();
    await server.close();
  });

  it('fills a volume from an object', async () => {
    const object = goodImage();
    await client.putObject('images', 'a folder/ü+1.qcow2', object);
    const pinned = await images.stat({ bucket: 'images', key: 'a folder/ü+1.qcow2' });
    expect(pinned.sizeBytes).toBe(object.length);
    const { signal } = new AbortController();
    const source = { images, object: pinned, clock: new FakeClock(), signal };
    const layout = await readLayout(source, 'qcow2', 2 ** 40);
    const device = new FakeDevice(VIRTUAL_BYTES);
    const { sha256 } = await streamImage({ ...source, layout, device });
    expect(sha256).toBe(createHash('sha256').update(object).digest('hex'));
    expect(device.bytes.includes(0xa5)).toBe(false);
  });

  it('notices an object that was replaced, also by one of the same size', async () => {
    const image = { bucket: 'images', key: 'replaced' };
    await client.putObject(image.bucket, image.key, randomBytes(5000));
    const pinned = await images.stat(image);
    await client.putObject(image.bucket, image.key, randomBytes(5000));
    const reading = images.readInto(pinned, 0, Buffer.alloc(100), new AbortController());
    await expect(reading).rejects.toMatchObject({ code: 'IMAGE_CHANGED' });
  });

  it('keeps to a version, also a replaced one', async () => {
    await client.makeBucket('versions');
    await client.setBucketVersioning('versions', { Status: 'Enabled' });
    const image = { bucket: 'versions', key: 'disk' };
    await client.putObject('versions', 'disk', Buffer.from('first'));
    const pinned = await images.stat(image);
    await client.putObject('versions', 'disk', Buffer.from('other'));
    expect(pinned.version).toBeTruthy();
    const bytes = Buffer.alloc(5);
    await images.readInto(pinned, 0, bytes, new AbortController());
    expect(bytes.toString()).toBe('first');
    expect(await images.stat(image, pinned.version)).toEqual(pinned);
    const wrong = images.stat(image, '00000000-0000-0000-0000-000000000000');
    await expect(wrong).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
  });

  it('says what is missing and what is denied', async () => {
    const missing = { bucket: 'images', key: 'none' };
    await expect(images.stat(missing)).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    expect(await images.readText(missing)).toBeUndefined();
    const noBucket = images.stat({ bucket: 'none', key: 'none' });
    await expect(noBucket).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    for (const keys of [
      { accessKey: KEYS.accessKey, secretKey: 'wrong-secret' },
      { accessKey: 'nobody', secretKey: 'wrong-secret' },
      { accessKey: '', secretKey: '' },
    ]) {
      const stranger = new MinioImages({ endpoint, ...keys });
      const refused = stranger.stat({ bucket: 'images', key: 'replaced' });
      const code = keys.accessKey === 'nobody' ? kind.unknownKeyIs : 'STORE_ACCESS_DENIED';
      await expect(refused).rejects.toMatchObject({ code });
      await expect(refused).rejects.not.toThrow('wrong-secret');
      stranger.close();
    }
  });

  it('does not let in who has another clock, and it is said that it is the clock', async () => {
    const image = { bucket: 'images', key: 'clock' };
    await client.putObject(image.bucket, image.key, 'bytes');
    const pinned = await images.stat(image);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 86_400_000 });
    try {
      const denied = { code: 'STORE_ACCESS_DENIED', hint: expect.stringContaining('clocks') as string };
      await expect(images.stat(image)).rejects.toMatchObject(denied);
      const reading = images.readInto(pinned, 0, Buffer.alloc(5), new AbortController());
      await expect(reading).rejects.toMatchObject(denied);
    } finally {
      vi.useRealTimers();
    }
  });

  it('reads a sidecar', async () => {
    await client.putObject('images', 'disk.sha256', Buffer.from('abc  disk\n'));
    expect(await images.readText({ bucket: 'images', key: 'disk.sha256' })).toBe('abc  disk\n');
  });
});
