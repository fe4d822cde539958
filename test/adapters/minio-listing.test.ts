/** Goal: what a store lists is understood, whatever the keys hold, and nothing else is taken for a listing. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MinioImages } from '../../src/adapters/minio-images.ts';
import { parseListing } from '../../src/adapters/minio-listing.ts';
import type { FakeS3 } from './fake-s3.ts';
import { answerError, startFakeS3 } from './fake-s3.ts';

const entry = (key: string, size: string) =>
  `<Contents><Key>${key}</Key><LastModified>2026-11-20T08:00:00.000Z</LastModified><Size>${size}</Size></Contents>`;
const listing = (entries: string, truncated = 'false') =>
  `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>images</Name>` +
  `<IsTruncated>${truncated}</IsTruncated>${entries}</ListBucketResult>`;

describe('a listing', () => {
  it('has keys as they are, sizes and times', () => {
    expect(parseListing(listing(entry('a%2Fb+c%26%1B', '7'), 'true'))).toEqual({
      objects: [{ key: 'a/b c&\u001b', sizeBytes: 7, modifiedAtMs: Date.UTC(2026, 10, 20, 8) }],
      more: true,
    });
  });

  it('leaves out what is no object', () => {
    const entries = [entry('', '1'), entry('%zz', '1'), entry('a', '-1'), entry('a', 'x'), '<Contents/>'];
    expect(parseListing(listing(entries.join('')))).toEqual({ objects: [], more: false });
  });

  it('is none if it is not XML', () => {
    expect(() => parseListing('<html>')).toThrow(
      expect.objectContaining({ code: 'STORE_UNREACHABLE' }) as Error,
    );
  });
});

describe('listing a bucket', () => {
  let store: FakeS3;
  let images: MinioImages;
  beforeEach(async () => {
    store = await startFakeS3();
    images = new MinioImages({ endpoint: store.endpoint, accessKey: 'key', secretKey: 'secret' });
  });
  afterEach(async () => {
    images.close();
    await store.close();
  });

  it('asks for so many, and no more', async () => {
    store.misbehave = (_, answer) => (answer.end(listing(entry('a', '7'))), true);
    expect((await images.list('images', 3)).objects.map(({ key }) => key)).toEqual(['a']);
    const url = new URL(store.requests[0]?.url ?? '', store.endpoint);
    expect([url.pathname, Object.fromEntries(url.searchParams)]).toEqual([
      '/images',
      { 'encoding-type': 'url', 'list-type': '2', 'max-keys': '3' },
    ]);
  });

  it('says what the store says, and takes no answer of any length', async () => {
    store.misbehave = (_, answer) => (answerError(answer, 403, 'AccessDenied'), true);
    await expect(images.list('images', 3)).rejects.toMatchObject({ code: 'STORE_ACCESS_DENIED' });
    store.misbehave = (_, answer) => (answer.end('x'.repeat(2 ** 20 + 1)), true);
    await expect(images.list('images', 3)).rejects.toThrow('the listing is longer than');
    await expect(images.list('NO BUCKET', 3)).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' });
  });
});
