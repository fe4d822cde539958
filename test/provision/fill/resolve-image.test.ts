/** What is decided about an image before anything of it is downloaded. */
import { describe, expect, it } from 'vitest';
import { SystemDecompressors } from '../../../src/adapters/decompressors.ts';
import type { ImageObject } from '../../../src/provision/ports/images.ts';
import { resolveImage } from '../../../src/provision/fill/resolve-image.ts';
import { FakeClock, FakeImages, IMAGE } from '../fake-images.ts';

const { signal } = new AbortController();

class StoreWithChecksum extends FakeImages {
  storeSha256: string | undefined;

  override stat(): Promise<ImageObject> {
    return Promise.resolve({ ...this.object(), storeSha256: this.storeSha256 });
  }
}

function resolve(images: StoreWithChecksum, sha256: string, buckets?: readonly string[]) {
  const policy = {
    buckets,
    ...{ requireDigest: true, virtualSizeMaxBytes: 2 ** 40 },
    expansion: { ratioMax: 1000, timeMaxMs: 60_000 },
  };
  const needs = { images, policy, clock: new FakeClock(), decompressors: new SystemDecompressors() };
  return resolveImage(needs, { target: 'vda', image: IMAGE, format: 'raw', generation: 1, sha256 }, signal);
}

describe("the store's own checksum", () => {
  const other = 'b'.repeat(64);

  it('refuses an object that is another one than is meant, before a byte of it is read', async () => {
    const images = new StoreWithChecksum(Buffer.alloc(100_000, 'image'));
    images.storeSha256 = images.sha256();
    await expect(resolve(images, other)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(images.reads).toEqual([]);
  });

  it('is no proof where it agrees, and no reason where it is not there', async () => {
    const images = new StoreWithChecksum(Buffer.alloc(100_000, 'image'));
    images.storeSha256 = other;
    expect((await resolve(images, other)).proof).toEqual({ sha256: other });
    images.storeSha256 = undefined;
    await resolve(images, images.sha256());
  });
});

describe('the list of buckets', () => {
  it('refuses an image of another one before the store is asked', async () => {
    const images = new StoreWithChecksum(Buffer.alloc(100_000, 'image'));
    images.stat = () => expect.fail('the store was asked');
    await expect(resolve(images, images.sha256(), ['others'])).rejects.toMatchObject({
      code: 'POLICY_REFUSED',
    });
  });

  it('lets those through that stand in it, and all where there is none', async () => {
    const images = new StoreWithChecksum(Buffer.alloc(100_000, 'image'));
    await resolve(images, images.sha256(), ['others', IMAGE.bucket]);
    await resolve(images, images.sha256());
  });
});
