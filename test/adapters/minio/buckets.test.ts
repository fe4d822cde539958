/**
 * Goal: what is in a bucket is read whole and within limits, and changes are told, whatever the store sends.
 * Method: one contract for real servers and for the fake of the other tests; faults by a server that has them.
 */
import type http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ChangeLines } from '../../../src/adapters/minio/change-lines.ts';
import { MinioImages } from '../../../src/adapters/minio/images.ts';
import type { Buckets } from '../../../src/provision/ports/images.ts';
import { FakeBuckets } from '../../provision/fake-buckets.ts';
import type { FakeS3 } from '../fake-s3.ts';
import { answerError, startFakeS3 } from '../fake-s3.ts';
import { KEYS, SERVERS, startServer } from '../s3-servers.ts';

interface Place {
  readonly buckets: Buckets;
  /** Whether the store tells of changes. */
  readonly tells: boolean;
  put(key: string, bytes: string): Promise<unknown>;
  close(): Promise<void>;
}

const REAL = SERVERS.filter(({ program }) => program !== undefined);

const PLACES: readonly { readonly name: string; readonly open: () => Promise<Place> }[] = [
  {
    name: 'the fake',
    open: () => {
      const buckets = new FakeBuckets();
      const put = (key: string, bytes: string) => {
        buckets.put('images', key, bytes.length, `of ${bytes}`);
        return Promise.resolve();
      };
      return Promise.resolve({ buckets, put, tells: true, close: () => Promise.resolve() });
    },
  },
  ...REAL.map((kind) => ({
    name: kind.name,
    open: async (): Promise<Place> => {
      const server = await startServer(kind);
      const images = new MinioImages({ endpoint: server.endpoint, ...KEYS });
      return {
        ...{ buckets: images.buckets, tells: kind.name === 'MinIO' },
        put: (key, bytes) => server.client.putObject('images', key, bytes),
        close: () => {
          images.close();
          return server.close();
        },
      };
    },
  })),
];

const { signal } = new AbortController();

describe.each(PLACES)('buckets: $name', ({ open }) => {
  let place: Place;
  beforeAll(async () => {
    place = await open();
  }, 60_000);
  afterAll(() => place.close());

  it('lists what begins so, in order, with what is needed to notice a change', async () => {
    const awkward = ['list/ü+1 &.qcow2', 'list/a.qcow2', 'list/b/c.qcow2'];
    for (const key of [...awkward, 'other.qcow2']) await place.put(key, 'bytes');
    const { objects, isCutShort } = await place.buckets.list('images', 'list/', 1_000, signal);
    expect(objects.map(({ key }) => key)).toEqual(['list/a.qcow2', 'list/b/c.qcow2', 'list/ü+1 &.qcow2']);
    expect(objects.every(({ sizeBytes }) => sizeBytes === 5)).toBe(true);
    expect(isCutShort).toBe(false);
    const [before] = objects;
    await place.put('list/a.qcow2', 'other');
    const [after] = (await place.buckets.list('images', 'list/', 1_000, signal)).objects;
    expect(after?.etag).not.toBe(before?.etag);
  });

  it('reads on where one answer is not enough, and stops where it is told to', async () => {
    for (let index = 0; index < 260; index += 1)
      await place.put(`many/${String(index).padStart(4, '0')}`, 'x');
    const all = await place.buckets.list('images', 'many/', 1_000, signal);
    expect(new Set(all.objects.map(({ key }) => key)).size).toBe(260);
    expect(all.isCutShort).toBe(false);
    const some = await place.buckets.list('images', 'many/', 255, signal);
    expect(some.objects).toHaveLength(255);
    expect(some.isCutShort).toBe(true);
  }, 60_000);

  it('tells of a new object until it is told to stop, or says that it does not', async () => {
    const stop = new AbortController();
    const changed = Promise.withResolvers<undefined>();
    const listener = {
      onOpen: vi.fn(),
      onChange: () => {
        changed.resolve(undefined);
      },
    };
    const listening = place.buckets.listen('images', 'told/', listener, stop.signal);
    if (!place.tells) {
      expect(await listening).toMatchObject({ how: 'not-offered' });
      return;
    }
    const told = { yet: false };
    void changed.promise.then(() => (told.yet = true));
    // MinIO from 2025 on does not flush what it tells, so that it comes when there are some KiB of it.
    for (let tries = 0; !told.yet && tries < 200; tries += 1) {
      await place.put(`told/${tries}`, 'x'.repeat(10));
      await pause(20);
    }
    await changed.promise;
    expect(listener.onOpen).toHaveBeenCalledOnce();
    stop.abort();
    expect(await listening).toEqual({ how: 'ended' });
  }, 30_000);
});

describe('what a store says of changes', () => {
  const told = (...chunks: string[]) => {
    const onChange = vi.fn();
    const lines = new ChangeLines(onChange);
    for (const chunk of chunks) lines.received(Buffer.from(chunk));
    return onChange.mock.calls.length;
  };

  it.each([
    [0, 'signs of life', [' ', '  \n', '{"Records":null}\n', '{"Rec', 'ords":null}\r\n']],
    [1, 'an event', ['{"Records":[{"eventName":"s3:ObjectCreated:Put"}]}\n']],
    [2, 'two events', ['{"Records":[1]}\n{"Records', '":[2]}\n']],
    [1, 'no JSON at all', ['\u0000\u0007!\n']],
    [1, 'a line without end', Array.from({ length: 1_000 }, () => 'x'.repeat(1_000))],
  ])('means %i times "look again": %s', (times, _what, chunks) => {
    expect(told(...chunks)).toBe(times);
  });
});

describe('a store that misbehaves', () => {
  let store: FakeS3;
  let images: MinioImages;
  const listener = () => ({ onOpen: vi.fn<() => void>(), onChange: vi.fn<() => void>() });

  beforeEach(async () => {
    store = await startFakeS3();
    images = new MinioImages({ endpoint: store.endpoint, ...KEYS });
  });
  afterEach(async () => {
    images.close();
    await store.close();
  });

  const answering = (text: string, type = 'application/xml') => {
    store.misbehave = (_request, answer: http.ServerResponse) => {
      answer.writeHead(200, { 'content-type': type });
      answer.end(text);
      return true;
    };
  };
  const page = (inner: string) =>
    `<ListBucketResult><EncodingType>url</EncodingType>${inner}</ListBucketResult>`;
  const contents = (key: string, more = '') =>
    `<Contents><Key>${key}</Key><Size>5</Size><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"e"</ETag>${more}</Contents>`;

  it.each([
    ['no XML', 'nothing'],
    ['another answer', '<Other/>'],
    ['entities', '<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult/>'],
    ['more than an answer may have', page(contents('x'.repeat(2_000_000)))],
  ])('is refused for %s', async (_what, text) => {
    answering(text);
    await expect(images.buckets.list('images', '', 10, signal)).rejects.toMatchObject({
      code: 'STORE_UNREACHABLE',
    });
  });

  it('is not asked without end', async () => {
    answering(
      page(`<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>${contents('a')}`),
    );
    const { objects } = await images.buckets.list('images', '', 1_000_000, signal);
    expect(objects).toHaveLength(2);
    expect(store.requests).toHaveLength(2);
  });

  it('cannot pass off what has no key, size or time', async () => {
    answering(page(`${contents('%zz')}<Contents><Key>a</Key></Contents>${contents('good')}`));
    const { objects } = await images.buckets.list('images', '', 10, signal);
    expect(objects).toEqual([
      { key: 'good', sizeBytes: 5, etag: 'e', modifiedAtMs: Date.parse('2026-01-01T00:00:00Z') },
    ]);
  });

  it.each([
    [403, 'AccessDenied', 'not-offered'],
    [501, 'NotImplemented', 'not-offered'],
    [503, 'SlowDown', 'failed'],
  ])('with status %i to listening %s: %s', async (status, code, how) => {
    store.misbehave = (_request, answer) => {
      answerError(answer, status, code);
      return true;
    };
    const end = await images.buckets.listen('images', 'a', listener(), signal);
    expect(end).toMatchObject({ how });
    expect(JSON.stringify(end)).not.toContain(KEYS.secretKey);
    expect(JSON.stringify(end)).not.toContain(KEYS.accessKey);
  });

  it('that lists instead of telling is one that does not tell', async () => {
    answering(page(contents('a')));
    const hears = listener();
    expect(await images.buckets.listen('images', 'a', hears, signal)).toMatchObject({ how: 'not-offered' });
    expect(hears.onChange).not.toHaveBeenCalled();
  });

  it('that redirects is not followed', async () => {
    store.misbehave = (_request, answer) => {
      answer.writeHead(307, { location: 'http://192.0.2.1/' }).end();
      return true;
    };
    expect(await images.buckets.listen('images', 'a', listener(), signal)).toMatchObject({ how: 'failed' });
    await expect(images.buckets.list('images', 'a', 10, signal)).rejects.toMatchObject({
      code: 'STORE_UNREACHABLE',
    });
    expect(store.requests).toHaveLength(2);
  });

  it('outside of minio.addresses is sent nothing', async () => {
    const addresses = [{ address: '192.0.2.0', prefix: 24, family: 'ipv4' as const }];
    for (const host of ['127.0.0.1', 'localhost']) {
      const endpoint = store.endpoint.replace('127.0.0.1', host);
      const outside = new MinioImages({ endpoint, ...KEYS, addresses });
      const end = await outside.buckets.listen('images', 'a', listener(), signal);
      expect(end).toMatchObject({ how: 'failed', problem: { code: 'STORE_UNREACHABLE' } });
      await expect(outside.buckets.list('images', 'a', 10, signal)).rejects.toThrow('minio.addresses');
      outside.close();
    }
    expect(store.requests).toEqual([]);
  });

  it('closing ends what listens', async () => {
    const opened = Promise.withResolvers<undefined>();
    store.misbehave = (_request, answer) => {
      answer.writeHead(200, { 'content-type': 'text/event-stream' });
      answer.write(' ');
      return true;
    };
    const hears = {
      onOpen: () => {
        opened.resolve(undefined);
      },
      onChange: vi.fn(),
    };
    const listening = images.buckets.listen('images', 'a', hears, signal);
    await opened.promise;
    images.close();
    expect(await listening).toMatchObject({ how: 'failed' });
  });
});
