/** What a store, or whatever stands before it, can do to a range, byte by byte on the wire. */
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MinioImages } from '../../../src/adapters/minio/images.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { ImageObject } from '../../../src/provision/ports/images.ts';

const BODY = Buffer.from(Array.from({ length: 50_000 }, (_, index) => (index * 7) % 251));
const IMAGE = { bucket: 'images', key: 'disk' };
const OBJECT: ImageObject = { image: IMAGE, sizeBytes: 100_000, etag: 'e1', version: 'v1' };

type Answer = (socket: Socket, request: string) => void | Promise<void>;

let answer: Answer;
let sockets: Socket[];
let requests: string[];
let images: MinioImages;
const server = createServer((socket) => {
  sockets.push(socket);
  socket.on('error', () => undefined);
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
    if (!text.endsWith('\r\n\r\n')) return;
    requests.push(text);
    const request = text;
    text = '';
    void answer(socket, request);
  });
});

beforeEach(async () => {
  sockets = [];
  requests = [];
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  images = new MinioImages({
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...{ accessKey: 'access', secretKey: 'secret-key' },
    ...{ connectTimeoutMs: 1_000, idleTimeoutMs: 1_000, rateMinBytesPerS: 10_000, rateWindowMs: 1_000 },
  });
});
afterEach(async () => {
  images.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((closed) => server.close(closed));
});

function headOf(
  changes: Readonly<Record<string, string | undefined>> = {},
  status = '206 Partial Content',
): string {
  const fields: Record<string, string | undefined> = {
    ...{ etag: '"e1"', 'content-length': '50000', 'content-range': 'bytes 10-50009/100000' },
    ...changes,
  };
  const lines = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}`],
  );
  return `HTTP/1.1 ${[status, ...lines].join('\r\n')}\r\n\r\n`;
}

const good: Answer = (socket) => void socket.write(Buffer.concat([Buffer.from(headOf()), BODY]));

async function read(): Promise<Buffer> {
  const target = Buffer.alloc(BODY.length);
  await images.readInto(OBJECT, 10, target, new AbortController());
  return target;
}

async function failure(): Promise<ProvisionError> {
  const target = Buffer.alloc(BODY.length + 100, 0xa5);
  let gotBytes = 0;
  const reading = images.readInto(OBJECT, 10, target.subarray(0, BODY.length), {
    signal: new AbortController().signal,
    onBytes: (countBytes) => {
      gotBytes += countBytes;
    },
  });
  const error: unknown = await reading.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  // What was counted is there, and nothing is written any more.
  const before = Buffer.from(target);
  await pause(20);
  expect(target.equals(before)).toBe(true);
  expect(target.subarray(gotBytes).every((byte) => byte === 0xa5)).toBe(true);
  if (!(error instanceof ProvisionError)) throw error;
  return error;
}

describe('a range arrives', () => {
  it('with a signature over what was asked for', async () => {
    answer = good;
    expect((await read()).equals(BODY)).toBe(true);
    const [request = ''] = requests;
    expect(request).toMatch(/^GET \/images\/disk\?versionId=v1 HTTP\/1\.1\r\n/);
    expect(request).toContain('\r\nrange: bytes=10-50009\r\n');
    expect(request).toContain('\r\nif-match: "e1"\r\n');
    expect(request).toMatch(/\r\nauthorization: AWS4-HMAC-SHA256 .*SignedHeaders=[^,]*if-match[^,]*range/);
  });

  it.each([1, 3, 700, 17_000])('in packets of %i bytes', async (packetBytes) => {
    answer = async (socket) => {
      socket.setNoDelay(true);
      const whole = Buffer.concat([Buffer.from(headOf()), BODY]);
      const small = Math.min(whole.length, packetBytes * 300);
      for (let at = 0; at < small; at += packetBytes) {
        socket.write(whole.subarray(at, Math.min(small, at + packetBytes)));
        if (at % (packetBytes * 16) === 0) await pause(0);
      }
      socket.write(whole.subarray(small));
    };
    expect((await read()).equals(BODY)).toBe(true);
  });

  it('after 100 Continue and 103 Early Hints', async () => {
    answer = (socket) => {
      socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n');
      socket.write(Buffer.concat([Buffer.from(headOf()), BODY]));
    };
    expect((await read()).equals(BODY)).toBe(true);
  });

  it('over one connection again, but not after Connection: close', async () => {
    answer = good;
    for (let round = 0; round < 3; round++) expect((await read()).equals(BODY)).toBe(true);
    expect(sockets).toHaveLength(1);
    answer = (socket) => {
      socket.write(Buffer.concat([Buffer.from(headOf({ connection: 'close' })), BODY]));
    };
    await read();
    answer = good;
    await read();
    expect(sockets).toHaveLength(2);
  });

  it('over a new connection when the store has closed the kept ones', async () => {
    answer = good;
    await Promise.all([read(), read()]);
    for (const socket of sockets) socket.destroy();
    await read();
    let isFirst = true;
    answer = (socket, request) => {
      if (!isFirst) return good(socket, request);
      isFirst = false;
      socket.resetAndDestroy();
    };
    expect((await read()).equals(BODY)).toBe(true);
  });

  it('and bytes behind it end the connection', async () => {
    answer = (socket) =>
      void socket.write(Buffer.concat([Buffer.from(headOf()), BODY, Buffer.from('HTTP/1.1 206')]));
    expect((await read()).equals(BODY)).toBe(true);
    await pause(20);
    answer = good;
    expect((await read()).equals(BODY)).toBe(true);
    expect(sockets).toHaveLength(2);
  });
});

const sends =
  (text: string): Answer =>
  (socket) =>
    void socket.write(text);
const closes =
  (text: string): Answer =>
  (socket) =>
    void socket.end(text);
const xml = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code></Error>`;

const CASES: readonly (readonly [name: string, code: string, says: string, answer: Answer])[] = [
  ['garbage', 'STORE_UNREACHABLE', 'not HTTP/1.1', sends('\x16\x03\x01 what\r\n\r\n')],
  [
    'a head that is too long',
    'STORE_UNREACHABLE',
    '16384',
    sends(`HTTP/1.1 206 OK\r\nA: ${'a'.repeat(20_000)}`),
  ],
  [
    'an endless row of 100s',
    'STORE_UNREACHABLE',
    'status 100',
    sends('HTTP/1.1 100 Continue\r\n\r\n'.repeat(20)),
  ],
  ['a switch of protocols', 'STORE_UNREACHABLE', 'status 101', sends('HTTP/1.1 101 Switching\r\n\r\n')],
  ['chunks', 'STORE_UNREACHABLE', 'chunked', sends(headOf({ 'transfer-encoding': 'chunked' }))],
  ['no chunks', 'STORE_UNREACHABLE', 'identity', sends(headOf({ 'transfer-encoding': 'identity' }))],
  ['compression', 'STORE_UNREACHABLE', 'gzip', sends(headOf({ 'content-encoding': 'gzip' }))],
  [
    'compression, sent as it is',
    'STORE_UNREACHABLE',
    'Transfer-Encoding identity',
    sends(headOf({ 'transfer-encoding': 'identity', 'content-encoding': 'gzip' })),
  ],
  ['another length', 'STORE_UNREACHABLE', 'Content-Length', sends(headOf({ 'content-length': '49999' }))],
  ['no length', 'STORE_UNREACHABLE', 'Content-Length', sends(headOf({ 'content-length': undefined }))],
  [
    'another range',
    'STORE_UNREACHABLE',
    'Content-Range',
    sends(headOf({ 'content-range': 'bytes 0-49999/100000' })),
  ],
  ['no ETag', 'IMAGE_CHANGED', 'missing', sends(headOf({ etag: undefined }))],
  ['another version', 'IMAGE_CHANGED', 'v2', sends(headOf({ 'x-amz-version-id': 'v2' }))],
  ['all of it', 'STORE_UNREACHABLE', 'status 200', sends(headOf({}, '200 OK'))],
  ['an early end', 'STORE_UNREACHABLE', 'closed before', closes(headOf() + 'x')],
  ['an end in the head', 'STORE_UNREACHABLE', 'closed before', closes('HTTP/1.1 206 OK\r\nETag')],
  ['an end at once', 'STORE_UNREACHABLE', 'closed before', closes('')],
  ['silence', 'STORE_UNREACHABLE', 'no answer within 1000 ms', sends('')],
  ['silence in the body', 'STORE_UNREACHABLE', 'within', sends(headOf() + 'x'.repeat(2000))],
  [
    'a redirect',
    'STORE_UNREACHABLE',
    'status 307',
    sends(headOf({ location: 'http://x/', 'content-length': '0' }, '307 X')),
  ],
  ['404', 'IMAGE_NOT_FOUND', 'NoSuchVersion', sends(`HTTP/1.1 404 No\r\n\r\n${xml('NoSuchVersion')}`)],
  [
    '403, chunked',
    'STORE_ACCESS_DENIED',
    'AccessDenied',
    sends(`HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\n\r\n40\r\n${xml('AccessDenied')}`),
  ],
  ['412 without a body', 'IMAGE_CHANGED', '412', sends('HTTP/1.1 412 No\r\ncontent-length: 0\r\n\r\n')],
  ['500 and an end', 'STORE_UNREACHABLE', 'status 500', closes('HTTP/1.1 500 No\r\n\r\nsome text')],
  [
    '500 and silence',
    'STORE_UNREACHABLE',
    'status 500',
    sends('HTTP/1.1 500 No\r\ncontent-length: 10\r\n\r\nx'),
  ],
];

describe('what a store says is not repeated as it stands', () => {
  const REFUSED = '404 No';
  const SAYS: readonly (readonly [field: string, before: string, status?: string])[] = [
    ['etag', 'its ETag'],
    ['x-amz-version-id', 'its version'],
    ['content-range', 'Content-Range'],
    ['content-length', 'Content-Length'],
    ['content-encoding', 'Content-Encoding'],
    ['transfer-encoding', 'Transfer-Encoding'],
    ['x-minio-error-code', 'status 404', REFUSED],
  ];
  /** All that the head of an answer may hold: others end it before. */
  const TEXTS = [
    ['long', 'a'.repeat(12_000)],
    ['no ASCII', '\x9b31mred\x85\xa0\xff\t\x80'],
  ] as const;
  const PLAIN = /^[\x20-\x7e…]{1,400}$/;

  const cases = SAYS.flatMap(([field, before, status]) =>
    TEXTS.map(([name, text]) => ({ field, before, status, name, text })),
  );
  it.each(cases)('$field, $name', async ({ field, before, status, text }) => {
    answer = (socket) => void socket.write(headOf({ [field]: text }, status), 'latin1');
    const { message, hint } = await failure();
    expect(message).toContain(before);
    expect(message).toMatch(PLAIN);
    expect(hint).toMatch(PLAIN);
  });

  it.each(TEXTS)('x-minio-error-code of an answer to HEAD, %s', async (_name, text) => {
    answer = (socket) =>
      void socket.end(headOf({ 'x-minio-error-code': text, 'content-length': '0' }, REFUSED), 'latin1');
    const error: unknown = await images.stat(IMAGE).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'IMAGE_NOT_FOUND',
      message: expect.stringMatching(PLAIN) as string,
    });
  });

  it.each(TEXTS)('ETag and version of an answer to HEAD, %s', async (_name, text) => {
    const fields = { etag: text.slice(0, 1000), 'x-amz-version-id': text.slice(0, 1000) };
    answer = (socket) => void socket.end(headOf(fields, '200 OK'), 'latin1');
    const object = await images.stat(IMAGE);
    for (const changes of [{ etag: 'other' }, { etag: fields.etag, 'x-amz-version-id': 'other' }]) {
      answer = (socket) => void socket.write(headOf(changes), 'latin1');
      const reading = images.readInto(object, 10, Buffer.alloc(BODY.length), new AbortController());
      await expect(reading).rejects.toMatchObject({ message: expect.stringMatching(PLAIN) as string });
    }
  });

  it('but what it usually says is', async () => {
    answer = (socket) =>
      void socket.write(headOf({ 'x-minio-error-code': 'NoSuchKey', 'content-length': '0' }, REFUSED));
    expect((await failure()).message).toContain('status 404 (NoSuchKey)');
  });
});

describe('a range does not arrive', () => {
  it.each(CASES)('%s', async (_, code, says, misbehave) => {
    answer = misbehave;
    const error = await failure();
    expect(error.code).toBe(code);
    expect(error.message).toContain(says);
    expect(error.message).toContain('images/disk');
    expect(requests).toHaveLength(1);
    // The next one is not troubled by it.
    answer = good;
    expect((await read()).equals(BODY)).toBe(true);
  });

  it('when the store is too slow, though it never stands still', async () => {
    answer = async (socket) => {
      socket.write(headOf());
      for (let at = 0; at < BODY.length && !socket.destroyed; at += 10) {
        socket.write(BODY.subarray(at, at + 10));
        await pause(10);
      }
    };
    const error = await failure();
    expect(error.code).toBe('STORE_UNREACHABLE');
    expect(error.message).toMatch(/only \d+ bytes came within 1000 ms, at least 10000 bytes a second/);
  });

  it('when the store asks for a pause', async () => {
    answer = sends(`HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n`);
    expect((await failure()).retryAfterMs).toBe(7000);
  });
});
