import { describe, expect, it } from 'vitest';
import { parseSha256, readSidecar, sidecarKey } from '../../../src/core/images/digest.ts';

const A = 'a'.repeat(64);
const B = 'B'.repeat(64);
const KEY = 'images/debian-13.qcow2';

describe('readSidecar', () => {
  it.each([
    ['the digest alone', A],
    ['with a line end', `${A}\n`],
    ['with CR LF and a byte order mark', `\uFEFF${A}\r\n`],
    ['sha256sum of a file', `${A}  debian-13.qcow2\n`],
    ['sha256sum -b', `${A} *debian-13.qcow2\n`],
    ['with a folder', `${A}  ./build/debian-13.qcow2\n`],
    ['among others', `${B}  debian-12.qcow2\n${A}  debian-13.qcow2\n`],
    ['with comments', `# made today\n${A}  debian-13.qcow2\n`],
    ['sha256sum --tag', `SHA256 (debian-13.qcow2) = ${A}\n`],
    ['twice the same', `${A}  debian-13.qcow2\n${A}  old/debian-13.qcow2\n`],
  ])('reads %s', (_, text) => {
    expect(readSidecar(text, KEY)).toBe(A);
  });

  it('writes digests in lower case', () => {
    expect(readSidecar(B, KEY)).toBe(B.toLowerCase());
    expect(parseSha256(B)).toBe(B.toLowerCase());
    expect(parseSha256(A.slice(1))).toBeUndefined();
  });

  it('undoes the escaping of sha256sum', () => {
    expect(readSidecar(`\\${A}  a\\\\b\n`, 'a\\b')).toBe(A);
  });

  it.each([
    ['nothing', '', 'empty'],
    ['another name', `${A}  debian-12.qcow2\n`, 'no line for debian-13.qcow2'],
    ['two digests', `${A}  debian-13.qcow2\n${B}  debian-13.qcow2\n`, 'two different digests'],
    ['two bare digests', `${A}\n${B}\n`, 'not of sha256sum'],
    ['a short digest', `${A.slice(1)}\n`, 'not of sha256sum'],
    ['a web page', '<!DOCTYPE html>\n', 'not of sha256sum'],
  ])('refuses %s', (_, text, why) => {
    expect(() => readSidecar(text, KEY)).toThrow(
      expect.objectContaining({ code: 'DIGEST_MISSING', message: expect.stringContaining(why) as string }),
    );
  });

  it('names the sidecar', () => {
    expect(sidecarKey(KEY)).toBe('images/debian-13.qcow2.sha256');
  });
});
