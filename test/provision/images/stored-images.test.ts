/** Goal: of all that lies in the buckets, images are shown, and that there is more if there is. */
import { describe, expect, it } from 'vitest';
import type { Buckets } from '../../../src/provision/ports/images.ts';
import { storedImages } from '../../../src/provision/images/stored-images.ts';
import { World } from '../world.ts';

function store(keys: readonly string[], isCutShort = false) {
  const buckets: Pick<Buckets, 'list'> = {
    list: () =>
      Promise.resolve({
        objects: keys.map((key) => ({ key, sizeBytes: 7, etag: 'e', modifiedAtMs: 0 })),
        isCutShort,
      }),
  };
  return { buckets, clock: new World().clock };
}

describe('what is in the store', () => {
  it('is listed without what only goes with an image', async () => {
    const keys = [
      'a.qcow2',
      'a.qcow2.sha256',
      'b/',
      'b/c.raw',
      'b/c.raw.sha512',
      'b/c.raw.minisig',
      'b/SHA256SUMS',
    ];
    const { images, more } = await storedImages(store(keys), ['x', 'y']);
    expect(images.map(({ image }) => image)).toEqual(['x/a.qcow2', 'x/b/c.raw', 'y/a.qcow2', 'y/b/c.raw']);
    expect(images[0]).toEqual({ image: 'x/a.qcow2', sizeBytes: 7, modifiedAt: '1970-01-01T00:00:00.000Z' });
    expect(more).toBe(false);
  });

  it('is no more than can be shown, and says so', async () => {
    const keys = Array.from({ length: 700 }, (_, at) => `${at}`);
    const { images, more } = await storedImages(store(keys), ['x', 'y']);
    expect([images.length, more]).toEqual([1000, true]);
    expect(await storedImages(store(['a'], true), ['x'])).toMatchObject({ more: true });
  });

  it('is not looked for where nobody has said where', async () => {
    expect(await storedImages(store(['a']), undefined)).toEqual({ images: [], more: true });
  });

  it('is not waited for without end', async () => {
    const { clock } = store([]);
    const signals: AbortSignal[] = [];
    const list: Buckets['list'] = (_bucket, _prefix, _countMax, signal) => {
      signals.push(signal);
      return new Promise(() => undefined);
    };
    const listed = storedImages({ buckets: { list }, clock }, ['x', 'y']);
    clock.advance(30_000);
    await expect(listed).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  });
});
