/** The adapter against a real MinIO, where the test host has built one. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'minio';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MinioImages } from '../../src/adapters/minio-images.ts';
import { readLayout, streamImage } from '../../src/provision/stream-image.ts';
import { goodImage, VIRTUAL_BYTES } from '../core/images/hostile.ts';
import { FakeClock, FakeDevice } from '../provision/fake-images.ts';

const [program] = globSync('.host/minio-*', { cwd: join(import.meta.dirname, '../..') });
const KEYS = { accessKey: 'test-access', secretKey: 'test-secret-key' };

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

describe.skipIf(program === undefined)('a real MinIO', () => {
  const folder = mkdtempSync(join(tmpdir(), 'minio-'));
  let server: ChildProcess;
  let client: Client;
  let endpoint: string;
  let images: MinioImages;

  beforeAll(async () => {
    const port = await freePort();
    endpoint = `http://127.0.0.1:${port}`;
    server = spawn(join(import.meta.dirname, '../..', program ?? ''), ['server', '--quiet', folder], {
      env: {
        ...{ PATH: process.env['PATH'], HOME: folder, MINIO_ADDRESS: `127.0.0.1:${port}` },
        ...{ MINIO_ROOT_USER: KEYS.accessKey, MINIO_ROOT_PASSWORD: KEYS.secretKey, MINIO_BROWSER: 'off' },
      },
      stdio: 'ignore',
    });
    client = new Client({ endPoint: '127.0.0.1', port, useSSL: false, ...KEYS });
    for (let tries = 0; tries < 100; tries++) {
      if (
        await client.makeBucket('images').then(
          () => true,
          () => false,
        )
      )
        break;
      await pause(200);
    }
    images = new MinioImages({ endpoint, ...KEYS });
  }, 60_000);
  afterAll(async () => {
    images.close();
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill();
    await ended;
    rmSync(folder, { recursive: true });
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
    const reading = images.read(pinned, 0, 100, new AbortController().signal).next();
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
    const parts: Uint8Array[] = [];
    for await (const bytes of images.read(pinned, 0, 5, new AbortController().signal)) parts.push(bytes);
    expect(Buffer.concat(parts).toString()).toBe('first');
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
      await expect(refused).rejects.toMatchObject({ code: 'STORE_ACCESS_DENIED' });
      await expect(refused).rejects.not.toThrow('wrong-secret');
      stranger.close();
    }
  });

  it('reads a sidecar', async () => {
    await client.putObject('images', 'disk.sha256', Buffer.from('abc  disk\n'));
    expect(await images.readText({ bucket: 'images', key: 'disk.sha256' })).toBe('abc  disk\n');
  });
});
