/** Goal: what `lvp image` prints and how it exits. Method: as in lvp.test.ts; `write` has a store of its own. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ControlSocket } from '../../src/adapters/control-socket.ts';
import { serveControl } from '../../src/adapters/control-socket.ts';
import { FakeGarbageVerbs, FakeImageVerbs, FakeJobVerbs, FakeVerbs, silent } from './fake-verbs.ts';

const cli = path.resolve(import.meta.dirname, '../../src/cli.ts');
let folder: string;
let socket: string;
let server: ControlSocket;
const images = new FakeImageVerbs();

const GOLDEN = {
  ...{ volume: 'vg0/lvp-gold-0123456789abcdef', thinPool: 'pool0', image: 'images/debian-13.qcow2' },
  ...{ sha256: 'ab'.repeat(32), format: 'qcow2', sizeBytes: 3 * 2 ** 30, mappedBytes: 2 ** 30, pinned: true },
  ...{ usedAt: '2026-11-22T08:01:02Z', inUse: false },
};

async function lvp(args: string) {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [cli, ...args.split(' ')], {
    env: { LVP_SOCKET: socket, TZ: 'UTC' },
    reject: false,
  });
  expect(stderr).not.toMatch(/^\s+at |ExperimentalWarning/m);
  return { stdout, stderr, exitCode };
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-image-'));
  socket = path.join(folder, 'control.sock');
  server = await serveControl({
    path: socket,
    verbs: new FakeVerbs(),
    images,
    garbage: new FakeGarbageVerbs(),
    jobs: new FakeJobVerbs(),
    log: silent,
  });
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

describe('lvp image', () => {
  test('ls shows the cache', async () => {
    expect((await lvp('image ls')).stdout).toMatchInlineSnapshot(`
      "IMAGE                   SIZE     LAST USE          SHA256            KEPT BECAUSE
      images/debian-13.qcow2  300 MiB  2026-11-22 08:00  abababababababab  there is room
      At most 1.0 GiB, in use 300 MiB."
    `);
  });

  test('ls shows golden volumes, and how far prefetching is and what it could not do', async () => {
    images.list = {
      ...{ sizeMaxBytes: 2 ** 30, images: [], golden: [GOLDEN] },
      goldenSpace: [{ vg: 'vg0', thinPool: 'pool0', maxBytes: 2 ** 34, heldBytes: 2 ** 30 }],
      prefetch: {
        rules: [
          {
            ...{ images: 'images/debian-*.qcow2', format: 'qcow2', to: ['cache', 'vg0'], pin: true },
            ...{ lookedAt: '2026-11-22T08:00:00Z', wanted: 3, here: 1, beyond: 4 },
            failing: [
              { image: 'images/debian-bad.qcow2', problem: { code: 'DIGEST_MISSING', message: 'No.' } },
            ],
          },
        ],
        now: { image: 'images/debian-13.qcow2', bytesDone: 50, bytesTotal: 100 },
        pausedBy: 'fills',
        news: [{ bucket: 'images', prefix: 'debian-', state: 'polling' }],
      },
    };
    const { stdout } = await lvp('image ls');
    images.list = undefined;
    expect(stdout.split('\n').map((line) => line.replaceAll(/ {2,}/g, ' | ').trim())).toEqual([
      'At most 1.0 GiB, in use 0 B.',
      '',
      'GOLDEN VOLUME | IMAGE | DISK | IN POOL | LAST USE | SHA256 | KEPT BECAUSE',
      'vg0/lvp-gold-0123456789abcdef | images/debian-13.qcow2 | 3.0 GiB | 1.0 GiB | 2026-11-22 08:01 | abababababababab | pinned by the configuration',
      'Golden volumes hold 1.0 GiB of vg0/pool0; they may hold 16.0 GiB.',
      '',
      'PREFETCH | TO | STATE',
      'images/debian-*.qcow2 | cache, vg0, pinned | 1 of 3 here | 4 beyond the limits',
      'Reading images/debian-13.qcow2: 50 %; it rests until no volume waits for its turn.',
      'images/debian-bad.qcow2: No.',
      'The store does not tell of changes in images: it is listed at each prefetch.interval.',
    ]);
  });

  test('prefetch takes several images, and the format from their names', async () => {
    const before = images.calls.length;
    const { stdout, stderr, exitCode } = await lvp(
      'image prefetch images/a.qcow2 images/b.raw.zst --to cache vg0',
    );
    expect(exitCode).toBe(0);
    expect(stdout).toContain('images/a.qcow2 is what it should be.');
    expect(stderr).toContain(
      "images/b.raw.zst: Format raw, compression zstd, by the end of the image's name.",
    );
    expect(images.calls.slice(before)).toMatchObject([
      ['verify', { image: 'images/a.qcow2', format: 'qcow2', to: ['cache', 'vg0'] }],
      ['verify', { image: 'images/b.raw.zst', format: 'raw', compression: 'zstd', to: ['cache', 'vg0'] }],
    ]);
    const none = await lvp('image prefetch images/good images/other');
    expect(none.exitCode).toBe(2);
    expect(none.stderr).toContain('does not say its format');
  });

  test('prefetch ends with the first that fails', async () => {
    const before = images.calls.length;
    const failed = await lvp('image prefetch images/bad images/good --format raw');
    expect(failed.exitCode).toBe(1);
    expect(images.calls.slice(before)).toHaveLength(1);
  });

  test('rm tells what is gone, or why nothing is', async () => {
    expect((await lvp('image rm images/debian-13.qcow2')).stdout).toBe('Removed 1, 300 MiB.');
    const none = await lvp('image rm images/none --json');
    expect(JSON.parse(none.stdout)).toMatchObject({ error: { code: 'IMAGE_NOT_FOUND' } });
    expect(none.exitCode).toBe(1);
    expect((await lvp('image rm')).exitCode).toBe(2);
  });

  test('inspect shows what an image is', async () => {
    expect((await lvp('image inspect images/debian-13.qcow2 --format qcow2')).stdout).toMatchInlineSnapshot(`
      "images/debian-13.qcow2 (qcow2)
        object       300 MiB (314572800 bytes)
        disk         3.0 GiB (3221225472 bytes), 1.0 GiB of it data
        etag         0123abcd
        sha256       abababababababababababababababababababababababababababababababab
        proven by    sha256
        in cache     yes"
    `);
  });

  test.each([
    ['verify', false],
    ['prefetch', true],
  ])('%s tells how far it is, and its result', async (verb, cached) => {
    const read = await lvp(`image ${verb} images/good --format raw`);
    expect(read.stdout).toContain(`images/good is what it should be.\n  sha256 ${'cd'.repeat(32)}`);
    expect(read.stderr).toContain('50 %');
    expect(read.exitCode).toBe(0);
    const { stdout } = await lvp(`image ${verb} images/good --format raw --json`);
    expect(JSON.parse(stdout)).toMatchObject({ proven: true, cached });
  });

  test('verify of a wrong image says so, and ends with 1', async () => {
    const wrong = await lvp('image verify images/bad --format raw');
    expect(wrong.stderr).toContain('lvp: The image images/bad has another digest.\nUpload it again.');
    expect(wrong.exitCode).toBe(1);
    const json = await lvp('image verify images/bad --format raw --json');
    expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: 'DIGEST_MISMATCH' } });
  });

  test('gc tells what is gone', async () => {
    expect((await lvp('image gc')).stdout).toBe('Removed 0, 0 B.');
    expect((await lvp('image gc --all')).stdout).toBe('Removed 1, 300 MiB.');
    expect(images.calls).toContainEqual(['gc', true]);
  });

  test.each(['image inspect images/x', 'image inspect images/x --format vmdk', 'image verify --format raw'])(
    'lvp %s is a wrong command line',
    async (args) => {
      expect((await lvp(args)).exitCode).toBe(2);
    },
  );
});

describe('lvp image write', () => {
  const image = randomBytes(5_000_000);
  const sha256 = createHash('sha256').update(image).digest('hex');
  const store = createServer((request, response) => {
    const [, first = '0', last = String(image.length - 1)] =
      /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    if (request.url?.startsWith('/images/disk.raw') !== true || request.url.includes('.sha')) {
      response.writeHead(404).end();
      return;
    }
    const part = image.subarray(Number(first), Number(last) + 1);
    response.writeHead(request.headers.range === undefined ? 200 : 206, {
      'content-length': part.length,
      'content-range': `bytes ${first}-${last}/${image.length}`,
      etag: '"e"',
    });
    response.end(request.method === 'HEAD' ? undefined : part);
  });
  let options: string;

  beforeAll(async () => {
    await new Promise<void>((ready) => store.listen(0, '127.0.0.1', ready));
    const config = path.join(folder, 'config.yaml');
    const key = path.join(folder, 'key');
    await writeFile(key, 'a-key', { mode: 0o600 });
    const { port } = store.address() as AddressInfo;
    await writeFile(
      config,
      `minio:\n  endpoint: http://127.0.0.1:${port}\n  access_key_file: ${key}\n  secret_key_file: ${key}\nvolume_groups: [vg0]\n`,
    );
    options = `--format raw --sha256 ${sha256} --config ${config}`;
  });
  afterAll(() => {
    store.closeAllConnections();
    store.close();
  });

  async function target(name: string, sizeBytes: number): Promise<string> {
    const file = path.join(folder, name);
    await writeFile(file, '');
    await truncate(file, sizeBytes);
    return file;
  }

  test('writes the image and zeros, and tells rate and digest', async () => {
    const file = await target('disk', 6_000_000);
    const written = await lvp(`image write images/disk.raw ${file} ${options}`);
    expect(written.stderr).toContain('100 %');
    expect(written.stdout).toContain(`images/disk.raw is on ${file}.\n  sha256 ${sha256}`);
    const bytes = await readFile(file);
    expect(bytes.subarray(0, image.length).equals(image)).toBe(true);
    expect(bytes.subarray(image.length).every((byte) => byte === 0)).toBe(true);
  });

  test('refuses a device with something on it, unless told', async () => {
    const file = await target('used', 6_000_000);
    await writeFile(file, 'x', { flag: 'r+' });
    const refused = await lvp(`image write images/disk.raw ${file} ${options}`);
    expect(refused.stderr).toContain('is not blank: byte 0 is not zero');
    expect(refused.exitCode).toBe(5);
    expect((await readFile(file)).subarray(1).every((byte) => byte === 0)).toBe(true);
    const { stdout, exitCode } = await lvp(
      `image write images/disk.raw ${file} ${options} --overwrite --json`,
    );
    expect(JSON.parse(stdout)).toMatchObject({ sha256, proven: true, writtenBytes: image.length });
    expect(exitCode).toBe(0);
  });

  test('reads back and compares when asked to', async () => {
    const file = await target('compared', 6_000_000);
    const written = await lvp(`image write images/disk.raw ${file} ${options} --read-back`);
    expect(written.stdout).toContain('read back, and all of it is right');
    // Once for each of the two passes.
    expect(written.stderr.match(/100 %/g)).toHaveLength(2);
    const again = await lvp(`image write images/disk.raw ${file} ${options} --read-back --overwrite --json`);
    expect(JSON.parse(again.stdout)).toMatchObject({ sha256, readBack: true });
  });

  test('takes a device that reads as zeros at its word, and reading back finds that it does not', async () => {
    const file = await target('thin', 12_000_000);
    const assumed = await lvp(`image write images/disk.raw ${file} ${options} --assume-zero --read-back`);
    expect(assumed.exitCode).toBe(0);
    const spoilt = await target('not-thin', 12_000_000);
    // Where nobody looks beforehand.
    await writeFile(
      spoilt,
      Buffer.concat([Buffer.alloc(8_000_000), Buffer.from('old'), Buffer.alloc(3_999_997)]),
    );
    const found = await lvp(`image write images/disk.raw ${spoilt} ${options} --assume-zero --read-back`);
    expect(found.stderr).toContain('8000000');
    expect(found.exitCode).toBe(1);
    const both = await lvp(`image write images/disk.raw ${spoilt} ${options} --assume-zero --overwrite`);
    expect(both.exitCode).toBe(2);
  });

  test('refuses a wrong digest', async () => {
    const file = await target('other', 6_000_000);
    const other = options.replace(sha256, '0'.repeat(64));
    const wrong = await lvp(`image write images/disk.raw ${file} ${other}`);
    expect(wrong.stderr).toContain(sha256);
    expect(wrong.exitCode).toBe(1);
  });
});
