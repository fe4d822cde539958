/**
 * Goal: an object is fetched once for all who want it, what is kept is whole and under its digest, and the
 * budget holds. Method: the real folder over a store in memory.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ImageFolder } from '../../src/adapters/image-cache.ts';
import type { ImageLease } from '../../src/provision/ports/image-cache.ts';
import { FakeImages } from '../provision/fake-images.ts';
import { silent } from '../provision/world.ts';

const MIB = 1 << 20;
const never = () => false;
const { signal } = new AbortController();

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-cache-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function openCache(store: FakeImages, budgetBytes: number): Promise<ImageFolder> {
  const cache = new ImageFolder({ folder, budgetBytes, store, log: silent });
  await cache.open();
  return cache;
}

/** Reads all of it in ranges, as a fill does, and answers with its digest. */
async function readAll(lease: ImageLease, store: FakeImages, rangeBytes = 4 * MIB): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < store.bytes.length; at += rangeBytes) {
    const target = new Uint8Array(Math.min(rangeBytes, store.bytes.length - at));
    await lease.images.readInto(store.object(), at, target, { signal });
    hash.update(target);
  }
  return hash.digest('hex');
}

const fetchedBytes = (store: FakeImages) =>
  store.reads.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);

async function fill(cache: ImageFolder, store: FakeImages, isShared = false): Promise<string> {
  const lease = await cache.lease(store.object(), { sha256: store.sha256(), isShared });
  const sha256 = await readAll(lease, store);
  await lease.keep(sha256);
  await lease.close(never);
  return sha256;
}

describe('the image cache', () => {
  it('serves a second fill without the store', async () => {
    const store = new FakeImages(randomBytes(9 * MIB + 5));
    const cache = await openCache(store, 100 * MIB);
    expect(await fill(cache, store)).toBe(store.sha256());
    expect(fetchedBytes(store)).toBe(store.bytes.length);
    expect(await fill(cache, store)).toBe(store.sha256());
    expect(fetchedBytes(store)).toBe(store.bytes.length);
    expect(await cache.list()).toMatchObject([
      { sha256: store.sha256(), sizeBytes: store.bytes.length, image: 'images/disk.img', inUse: false },
    ]);
  });

  it('knows what in its folder belongs to nothing, and leaves downloads under way alone', async () => {
    const store = new FakeImages(randomBytes(2 * MIB));
    const cache = await openCache(store, 100 * MIB);
    const lease = await cache.lease(store.object(), { sha256: store.sha256(), isShared: false });
    const stray = path.join(folder, 'ab.part');
    await writeFile(stray, 'half');
    expect(await cache.strays('list')).toEqual([stray]);
    expect(await cache.strays('remove')).toEqual([stray]);
    expect(await readAll(lease, store)).toBe(store.sha256());
    expect(await lease.keep(store.sha256())).toBe(true);
    await lease.close(never);
    expect(await cache.strays('list')).toEqual([]);
    expect((await readdir(folder)).sort()).toEqual([store.sha256(), `${store.sha256()}.json`]);
  });

  it('keeps an object whose metadata were read first', async () => {
    const store = new FakeImages(randomBytes(9 * MIB + 5));
    const cache = await openCache(store, 100 * MIB);
    const lease = await cache.lease(store.object(), { sha256: store.sha256(), isShared: false });
    for (const at of [0, 5 * MIB, store.bytes.length - 512]) {
      await lease.images.readInto(store.object(), at, new Uint8Array(512), { signal });
    }
    expect(await readAll(lease, store)).toBe(store.sha256());
    expect(await lease.keep(store.sha256())).toBe(true);
    await lease.close(never);
    expect(fetchedBytes(store)).toBe(store.bytes.length + 2 * 512);
  });

  it('serves it after a restart, and forgets what was half done', async () => {
    const store = new FakeImages(randomBytes(MIB));
    await fill(await openCache(store, 100 * MIB), store);
    await writeFile(path.join(folder, 'a1.part'), 'half');
    await writeFile(path.join(folder, `${'0'.repeat(64)}.json`), '{}');
    const cache = await openCache(store, 100 * MIB);
    expect((await readdir(folder)).sort()).toEqual([store.sha256(), `${store.sha256()}.json`]);
    store.reads.length = 0;
    await fill(cache, store);
    expect(store.reads).toEqual([]);
  });

  it('keeps nothing when it is off', async () => {
    const store = new FakeImages(randomBytes(MIB));
    const cache = await openCache(store, 0);
    await fill(cache, store);
    await fill(cache, store, true);
    expect(await readdir(folder)).toEqual([]);
  });

  it('evicts the least recently used, and never one in use', async () => {
    const stores = Array.from({ length: 4 }, () => new FakeImages(randomBytes(MIB)));
    const cache = await openCache(stores[0] ?? new FakeImages(randomBytes(1)), 2 * MIB);
    const caches = stores.map(
      (store) => new ImageFolder({ folder, budgetBytes: 2 * MIB, store, log: silent }),
    );
    const [a, b, c] = stores.map((store) => store.sha256());
    await fill(caches[0] ?? cache, stores[0] ?? new FakeImages(randomBytes(1)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await fill(caches[1] ?? cache, stores[1] ?? new FakeImages(randomBytes(1)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await fill(caches[2] ?? cache, stores[2] ?? new FakeImages(randomBytes(1)));
    expect((await cache.list()).map(({ sha256 }) => sha256)).toEqual([c, b]);
    expect(a).not.toBe(b);
    const lease = await cache.lease((stores[1] ?? new FakeImages(randomBytes(1))).object(), {
      ...{ sha256: b, isShared: false },
    });
    expect(lease.from).toBe('cache');
    await cache.evict('all');
    expect((await cache.list()).map(({ sha256 }) => sha256)).toEqual([b]);
    await lease.close(never);
    await cache.evict('all');
    expect(await readdir(folder)).toEqual([]);
  });

  it('gives what was read of the same state of an object, where something else than its digest proves it', async () => {
    const store = new FakeImages(randomBytes(MIB));
    await fill(await openCache(store, 100 * MIB), store);
    const cache = await openCache(store, 100 * MIB);
    const from = async (etag: string, isProvenOtherwise: boolean) => {
      const lease = await cache.lease({ ...store.object(), etag }, { isProvenOtherwise, isShared: false });
      await lease.close(never);
      return [lease.from, lease.sha256];
    };
    expect(await from('e1', true)).toEqual(['cache', store.sha256()]);
    expect(await from('e1', false)).toEqual(['store', undefined]);
    expect(await from('e2', true)).toEqual(['store', undefined]);
  });

  it('neither evicts nor removes what is pinned, nor removes what is read', async () => {
    const stores = [0, 1].map(() => new FakeImages(randomBytes(MIB)));
    const [first, second] = stores.map((store) => store.sha256());
    const pinned = new Set([first]);
    const isPinned = (sha256: string) => pinned.has(sha256);
    const [cache, other] = stores.map(
      (store) => new ImageFolder({ folder, budgetBytes: 1.5 * MIB, store, log: silent, isPinned }),
    );
    if (cache === undefined || other === undefined || first === undefined || second === undefined)
      throw new Error();
    await fill(cache, stores[0] ?? new FakeImages(randomBytes(1)));
    await fill(other, stores[1] ?? new FakeImages(randomBytes(1)));
    expect((await cache.list()).map(({ sha256 }) => sha256)).toEqual([first]);
    expect(await cache.evict('all')).toEqual([]);
    await expect(cache.remove(first)).rejects.toMatchObject({ code: 'POLICY_REFUSED' });
    await expect(cache.remove(second)).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
    pinned.clear();
    const object = (stores[0] ?? new FakeImages(randomBytes(1))).object();
    const lease = await cache.lease(object, { sha256: first, isShared: false });
    await expect(cache.remove(first)).rejects.toMatchObject({ code: 'IMAGE_IN_USE' });
    await lease.close(never);
    expect(await cache.remove(first)).toMatchObject({ sha256: first, image: 'images/disk.img' });
    expect(await cache.list()).toEqual([]);
  });

  it('is distrusted when its bytes are wrong', async () => {
    const store = new FakeImages(randomBytes(MIB));
    const cache = await openCache(store, 100 * MIB);
    await fill(cache, store);
    await writeFile(path.join(folder, store.sha256()), 'damaged', { flag: 'r+' });
    const lease = await cache.lease(store.object(), { sha256: store.sha256(), isShared: false });
    expect(await readAll(lease, store)).not.toBe(store.sha256());
    await lease.distrust();
    await lease.close(never);
    expect(await readdir(folder)).toEqual([]);
  });

  it('does not give out an entry of another size', async () => {
    const store = new FakeImages(randomBytes(MIB));
    const cache = await openCache(store, 100 * MIB);
    await fill(cache, store);
    await truncate(path.join(folder, store.sha256()), 1000);
    const lease = await cache.lease(store.object(), { sha256: store.sha256(), isShared: false });
    expect(lease.from).toBe('store');
    await lease.close(never);
  });
});

describe('fills of one object at the same time', () => {
  it('cost one download, also those that come late, also without a cache', async () => {
    const store = new FakeImages(randomBytes(13 * MIB + 7));
    const cache = await openCache(store, 0);
    const options = { sha256: store.sha256(), isShared: true };
    const first = await cache.lease(store.object(), options);
    const second = await cache.lease(store.object(), options);
    const early = [readAll(first, store), readAll(second, store, 3 * MIB)];
    const third = await cache.lease(store.object(), options);
    expect(await Promise.all(early)).toEqual([store.sha256(), store.sha256()]);
    expect(await readAll(third, store)).toBe(store.sha256());
    expect(fetchedBytes(store)).toBe(store.bytes.length);
    for (const lease of [first, second, third]) await lease.close(never);
    expect(await readdir(folder)).toEqual([]);
  });

  it('leave it for one that has not begun', async () => {
    const store = new FakeImages(randomBytes(MIB));
    const cache = await openCache(store, 0);
    let isWanted = true;
    const lease = await cache.lease(store.object(), { sha256: store.sha256(), isShared: true });
    await lease.keep(await readAll(lease, store));
    await lease.close(() => isWanted);
    await cache.evict('over-budget');
    store.reads.length = 0;
    const late = await cache.lease(store.object(), { sha256: store.sha256(), isShared: false });
    expect(late.from).toBe('cache');
    expect(await readAll(late, store)).toBe(store.sha256());
    expect(store.reads).toEqual([]);
    isWanted = false;
    await late.close(never);
    expect(await readdir(folder)).toEqual([]);
  });

  it('go on when the one that fetches breaks or is cancelled', async () => {
    const store = new FakeImages(randomBytes(8 * MIB));
    const cache = await openCache(store, 0);
    const options = { sha256: store.sha256(), isShared: true };
    const first = await cache.lease(store.object(), options);
    const second = await cache.lease(store.object(), options);
    store.breaks.push({ atBytes: 2 * MIB, code: 'STORE_UNREACHABLE', times: 1 });
    const target = new Uint8Array(4 * MIB);
    const broken = first.images.readInto(store.object(), 0, target, { signal });
    const whole = readAll(second, store);
    await expect(broken).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await first.close(never);
    expect(await whole).toBe(store.sha256());
    await second.close(never);
  });
});
