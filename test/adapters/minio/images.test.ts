import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { setTimeout as pause } from 'node:timers/promises';
import { MinioImages } from '../../../src/adapters/minio/images.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { ImageObject } from '../../../src/provision/ports/images.ts';
import type { FakeS3, Misbehave } from '../fake-s3.ts';
import { BODY, ETAG, answerError, answerWell, startFakeS3 } from '../fake-s3.ts';

const IMAGE = { bucket: 'images', key: 'folder/disk 1.qcow2' };
const SECRET = 'very-secret-key';

let store: FakeS3;
let images: MinioImages;

beforeEach(async () => {
  store = await startFakeS3();
  images = connect(store.endpoint);
});
afterEach(async () => {
  images.close();
  await store.close();
});

function connect(endpoint: string): MinioImages {
  return new MinioImages({
    ...{ endpoint, accessKey: 'access', secretKey: SECRET },
    ...{ connectTimeoutMs: 1_000, idleTimeoutMs: 1_000 },
  });
}

async function read(object: ImageObject, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const target = Buffer.alloc(lengthBytes);
  let gotBytes = 0;
  await images.readInto(object, offsetBytes, target, {
    signal: new AbortController().signal,
    onBytes: (countBytes) => {
      gotBytes += countBytes;
    },
  });
  expect(gotBytes).toBe(lengthBytes);
  return target;
}

async function failure(task: Promise<unknown>): Promise<ProvisionError> {
  const error = await task.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ProvisionError)) throw error;
  const everything = JSON.stringify([error.message, error.hint, String(error.stack)]);
  expect(everything).not.toContain(SECRET);
  expect(error.hint).toBeTruthy();
  return error;
}

describe('a store that behaves', () => {
  it('pins, reads ranges and texts', async () => {
    const object = await images.stat(IMAGE);
    expect(object).toEqual({ image: IMAGE, sizeBytes: BODY.length, etag: ETAG.slice(1, -1) });
    expect(Buffer.compare(await read(object, 1000, 200_000), BODY.subarray(1000, 201_000))).toBe(0);
    expect((await read(object, BODY.length - 1, 1))[0]).toBe(BODY.at(-1));
    expect(await read(object, 5, 0)).toHaveLength(0);
    const sent = store.requests[1];
    expect(sent?.url).toBe('/images/folder/disk%201.qcow2');
    expect(sent?.headers['if-match']).toBe(ETAG);
    expect(sent?.headers.authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=access\//);
  });

  it.each([
    ['of the whole object', Buffer.alloc(32, 7).toString('base64'), Buffer.alloc(32, 7).toString('hex')],
    ['of its parts', `${Buffer.alloc(32, 7).toString('base64')}-3`, undefined],
    ['that is none', 'x'.repeat(44), undefined],
  ])("passes the store's checksum on, %s", async (_, checksum, expected) => {
    let mode: unknown;
    store.misbehave = (request, answer, range) => {
      mode = request.headers['x-amz-checksum-mode'];
      answerWell(request, answer, range, { 'x-amz-checksum-sha256': checksum });
      return true;
    };
    expect((await images.stat(IMAGE)).storeSha256).toBe(expected);
    expect(mode).toBe('ENABLED');
  });

  it('keeps to the version', async () => {
    const versions: (string | null)[] = [];
    store.misbehave = (request, answer, range) => {
      versions.push(new URL(request.url ?? '', 'http://x').searchParams.get('versionId'));
      answerWell(request, answer, range, { 'x-amz-version-id': 'v/1+2' });
      return true;
    };
    const object = await images.stat(IMAGE, 'v/1+2');
    expect(object.version).toBe('v/1+2');
    await read(object, 0, 10);
    expect(versions).toEqual(['v/1+2', 'v/1+2']);
  });

  it('uses connections again, and survives that they were closed meanwhile', async () => {
    const object = await images.stat(IMAGE);
    await read(object, 0, 10);
    await read(object, 0, 10);
    // Not toBe(): a failure would print two sockets.
    expect(store.requests[1]?.socket === store.requests[2]?.socket).toBe(true);
    let closed = 0;
    store.misbehave = (request) => {
      if (closed++ > 0) return false;
      request.socket.resetAndDestroy();
      return true;
    };
    expect(await read(object, 0, 10)).toHaveLength(10);
  });

  it('stops when aborted', async () => {
    const object = await images.stat(IMAGE);
    const abort = new AbortController();
    const target = Buffer.alloc(300_000, 0xa5);
    store.misbehave = (_, answer, range) => {
      answer.writeHead(206, {
        ...{ etag: ETAG, 'content-length': BODY.length },
        'content-range': `bytes ${range?.first ?? 0}-${range?.last ?? 0}/${BODY.length}`,
      });
      answer.write(BODY.subarray(0, 1000), () => {
        setTimeout(() => answer.destroyed || answer.end(BODY.subarray(1000)), 20);
      });
      return true;
    };
    const onBytes = () => {
      abort.abort();
    };
    const reading = images.readInto(object, 0, target, { signal: abort.signal, onBytes });
    await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' });
    const before = images.readInto(object, 0, target, { signal: abort.signal });
    await expect(before).rejects.toMatchObject({ code: 'CANCELLED' });
    await pause(50);
    expect(target.subarray(1000).every((byte) => byte === 0xa5)).toBe(true);
  });
});

type Case = readonly [name: string, code: string, says: string, misbehave: Misbehave];

const READ_CASES: readonly Case[] = [
  ['200 instead of 206', 'STORE_UNREACHABLE', 'status 200', (q, a) => (answerWell(q, a, undefined), true)],
  [
    'another range',
    'STORE_UNREACHABLE',
    'Content-Range',
    (q, a, r) => (answerWell(q, a, r, { 'content-range': `bytes 1-100000/${BODY.length}` }), true),
  ],
  [
    'another size',
    'STORE_UNREACHABLE',
    'Content-Range',
    (q, a, r) => (answerWell(q, a, r, { 'content-range': 'bytes 0-99999/300001' }), true),
  ],
  ['another ETag', 'IMAGE_CHANGED', 'ETag', (q, a, r) => (answerWell(q, a, r, { etag: '"other"' }), true)],
  ['412', 'IMAGE_CHANGED', '412', (_, a) => (answerError(a, 412, 'PreconditionFailed'), true)],
  ['416', 'IMAGE_CHANGED', '416', (_, a) => (answerError(a, 416, 'InvalidRange'), true)],
  [
    'an early close',
    'STORE_UNREACHABLE',
    'closed before the end',
    (_, a) => {
      a.writeHead(206, { etag: ETAG, 'content-length': 100_000, 'content-range': 'bytes 0-99999/300000' });
      a.write(BODY.subarray(0, 5000), () => a.destroy());
      return true;
    },
  ],
  [
    'a body without length',
    'STORE_UNREACHABLE',
    'Content-Length',
    (_, a) => {
      a.writeHead(206, { etag: ETAG, 'content-range': 'bytes 0-99999/300000' });
      a.end(BODY.subarray(0, 50));
      return true;
    },
  ],
  [
    'a stall in the body',
    'STORE_UNREACHABLE',
    'no byte within 1000 ms',
    (_, a) => {
      a.writeHead(206, { etag: ETAG, 'content-length': 100_000, 'content-range': 'bytes 0-99999/300000' });
      a.write(BODY.subarray(0, 5000));
      return true;
    },
  ],
  ['no answer', 'STORE_UNREACHABLE', 'no answer within 1000 ms', () => true],
  [
    'headers that drip',
    'STORE_UNREACHABLE',
    'no answer within 1000 ms',
    (_, a) => {
      const drip = setInterval(() => a.socket?.write('X'), 50);
      a.socket?.write('HTTP/1.1 206 Partial Content\r\nX-Drip: ');
      a.socket?.once('close', () => {
        clearInterval(drip);
      });
      return true;
    },
  ],
];

const STATUS_CASES: readonly Case[] = [
  ['a redirect', 'STORE_UNREACHABLE', 'status 307', (_, a) => redirect(a, 307)],
  ['a lasting redirect', 'STORE_UNREACHABLE', 'status 301', (_, a) => redirect(a, 301)],
  ['403', 'STORE_ACCESS_DENIED', '403', (_, a) => (answerError(a, 403, 'AccessDenied'), true)],
  [
    'a wrong secret',
    'STORE_ACCESS_DENIED',
    '403',
    (_, a) => (answerError(a, 403, 'SignatureDoesNotMatch'), true),
  ],
  ['404', 'IMAGE_NOT_FOUND', '404', (_, a) => (answerError(a, 404, 'NoSuchKey'), true)],
  ['no bucket', 'IMAGE_NOT_FOUND', '404', (_, a) => (answerError(a, 404, 'NoSuchBucket'), true)],
  ['500', 'STORE_UNREACHABLE', 'status 500', (_, a) => (answerError(a, 500, 'InternalError'), true)],
  ['503', 'STORE_UNREACHABLE', 'status 503', (_, a) => (answerError(a, 503, 'SlowDown'), true)],
  [
    'an error that never ends',
    'STORE_UNREACHABLE',
    'status 500',
    (_, a) => {
      a.writeHead(500);
      const more = () => {
        while (!a.destroyed && a.write(Buffer.alloc(10_000, 0x61)));
      };
      a.on('drain', more);
      more();
      return true;
    },
  ],
];

function redirect(answer: Parameters<Misbehave>[1], status: number): true {
  answer.writeHead(status, { location: `${store.endpoint}/elsewhere/secret` });
  answer.end();
  return true;
}

describe('a store that misbehaves', () => {
  it.each([...READ_CASES, ...STATUS_CASES])('reading: %s', async (_, code, says, misbehave) => {
    const object = await images.stat(IMAGE);
    const consoleWarn = vi.spyOn(console, 'warn');
    store.misbehave = misbehave;
    const error = await failure(read(object, 0, 100_000));
    expect(error.code).toBe(code);
    expect(error.message).toContain(says);
    expect(error.message).toContain('images/folder/disk 1.qcow2');
    expect(error.message).toContain(store.endpoint);
    expect(store.requests.filter(({ url }) => url?.includes('elsewhere'))).toEqual([]);
    expect(store.requests).toHaveLength(2);
    expect(consoleWarn).not.toHaveBeenCalled();
  });

  it.each(STATUS_CASES.slice(0, -1))('stat: %s', async (_, code, __, misbehave) => {
    store.misbehave = misbehave;
    expect((await failure(images.stat(IMAGE))).code).toBe(code);
  });

  it('a stat with an endless ETag or version', async () => {
    for (const name of ['etag', 'x-amz-version-id']) {
      store.misbehave = (_, answer) => {
        answer.writeHead(200, { 'content-length': 5, etag: ETAG, [name]: 'a'.repeat(1025) }).end();
        return true;
      };
      const { code, message } = await failure(images.stat(IMAGE));
      expect(code).toBe('STORE_UNREACHABLE');
      expect(message).toContain('more than 1024 characters');
    }
  });

  it('a stat without length or ETag', async () => {
    store.misbehave = (_, answer) => (answer.writeHead(200, { etag: ETAG }).end(), true);
    expect((await failure(images.stat(IMAGE))).message).toContain('no Content-Length');
    store.misbehave = (_, answer) => (answer.writeHead(200, { 'content-length': 5 }).end(), true);
    expect((await failure(images.stat(IMAGE))).message).toContain('no ETag');
  });

  it('a text that is missing, and one that is too long', async () => {
    store.misbehave = (_, answer) => (answerError(answer, 404, 'NoSuchKey'), true);
    expect(await images.readText(IMAGE)).toBeUndefined();
    store.misbehave = () => false;
    expect((await failure(images.readText(IMAGE))).code).toBe('IMAGE_TOO_LARGE');
    store.misbehave = (_, answer) => (answer.writeHead(200).end('abc\n'), true);
    expect(await images.readText(IMAGE)).toBe('abc\n');
  });

  it('nobody there, no such name, no TLS', async () => {
    const { endpoint } = store;
    await store.close();
    expect((await failure(images.stat(IMAGE))).message).toMatch(/cannot be read/);
    expect((await failure(images.stat(IMAGE))).hint).toContain(endpoint);
    const nowhere = await failure(connect('http://nowhere.invalid:9000').stat(IMAGE));
    expect(nowhere.code).toBe('STORE_UNREACHABLE');
    store = await startFakeS3();
    const noTls = await failure(connect(store.endpoint.replace('http:', 'https:')).stat(IMAGE));
    expect(noTls.code).toBe('STORE_UNREACHABLE');
  });
});

describe('configuration', () => {
  it.each(['minio:9000', 'ftp://minio', 'http://user:pass@minio', 'http://minio/path', 'http://minio/?a=b'])(
    'refuses the endpoint %s without repeating it',
    (endpoint) => {
      expect(() => connect(endpoint)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
      expect(() => connect(endpoint)).not.toThrow(/pass/);
    },
  );

  it.each([
    { bucket: '../etc', key: 'a' },
    { bucket: 'Images', key: 'a' },
    { bucket: 'images', key: '' },
  ])('refuses the name %o', async (image) => {
    expect((await failure(images.stat(image))).code).toBe('IMAGE_NOT_FOUND');
    expect(store.requests).toEqual([]);
  });
});
