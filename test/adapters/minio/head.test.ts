import { describe, expect, it } from 'vitest';
import { BadAnswer, headLength, parseHead, retryAfterMs } from '../../../src/adapters/minio/head.ts';

const head = (...lines: string[]) => Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');

describe('the head of an answer', () => {
  it('is read', () => {
    const { status, fields, keepsAlive } = parseHead(
      head(
        'HTTP/1.1 206 Partial Content',
        'ETag: "abc"',
        'content-length:5',
        'Vary: a',
        'vary: b',
        'X-Empty:',
      ),
    );
    expect(status).toBe(206);
    expect(Object.fromEntries(fields)).toEqual({
      ...{ etag: '"abc"', 'content-length': '5', vary: 'a, b', 'x-empty': '' },
    });
    expect(keepsAlive).toBe(true);
  });

  it.each([
    ['HTTP/1.0 200 OK', false],
    ['HTTP/1.1 200', true],
  ])('%s', (line, keepsAlive) => {
    expect(parseHead(head(line)).keepsAlive).toBe(keepsAlive);
  });

  it('ends the connection where it says so', () => {
    expect(parseHead(head('HTTP/1.1 206 OK', 'Connection: x, Close')).keepsAlive).toBe(false);
  });

  it('is found in pieces', () => {
    const bytes = head('HTTP/1.1 200 OK', 'A: b');
    for (let length = 0; length < bytes.length; length++) expect(headLength(bytes, length)).toBe(0);
    expect(headLength(Buffer.concat([bytes, Buffer.from('body')]), bytes.length + 4)).toBe(bytes.length);
  });

  it.each([
    ['another protocol', head('SSH-2.0-OpenSSH_10.0')],
    ['HTTP/2', head('HTTP/2 200 OK')],
    ['a status of two digits', head('HTTP/1.1 20 OK')],
    ['a folded field', head('HTTP/1.1 200 OK', 'A: b', ' c')],
    ['a space before the colon', head('HTTP/1.1 200 OK', 'Content-Length : 5')],
    ['a bare line feed', head('HTTP/1.1 200 OK', 'A: b\nContent-Length: 5')],
    ['a bare carriage return', head('HTTP/1.1 200 OK', 'A: b\rContent-Length: 5')],
    ['a zero byte', head('HTTP/1.1 200 OK', 'A: b\0')],
    ['no name', head('HTTP/1.1 200 OK', ': b')],
    ['two lengths', head('HTTP/1.1 200 OK', 'Content-Length: 5', 'content-length: 5')],
    ['two encodings', head('HTTP/1.1 200 OK', 'Transfer-Encoding: a', 'transfer-encoding: b')],
    ['many fields', head('HTTP/1.1 200 OK', ...Array.from({ length: 101 }, (_, index) => `A${index}: b`))],
  ])('with %s is refused', (_, bytes) => {
    expect(() => parseHead(bytes)).toThrow(BadAnswer);
  });
});

describe('Retry-After', () => {
  const nowMs = Date.parse('2026-01-01T00:00:00Z');
  it.each([
    [undefined, undefined],
    ['7', 7_000],
    ['999999', 120_000],
    ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
    ['Thu, 01 Jan 2015 00:00:30 GMT', 0],
    ['soon', undefined],
  ])('%j', (field, expected) => {
    expect(retryAfterMs(field, nowMs)).toBe(expected);
  });
});
