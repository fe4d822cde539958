/** Signatures made by minisign itself (Debian package minisign): read, verified, and spoiled in every part. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { MinisignKey } from '../../../src/core/policy/minisign.ts';
import {
  isSignatureOf,
  parseMinisignKey,
  readSignature,
  signatureKey,
} from '../../../src/core/policy/minisign.ts';

const folder = mkdtempSync(join(tmpdir(), 'minisign-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const FILE = 'debian-13.qcow2';
const KEY = `prod/${FILE}`;
const CONTENT = Buffer.from('content of an image');

function minisign(...args: string[]): string {
  return execFileSync('minisign', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function newKey(name: string): { readonly key: MinisignKey; readonly text: string } {
  minisign('-G', '-W', '-p', `${name}.pub`, '-s', `${name}.key`);
  const text = readFileSync(join(folder, `${name}.pub`), 'utf8').split('\n')[1] ?? '';
  const key = parseMinisignKey(text);
  if (key === undefined) throw new Error(`no key in ${text}`);
  return { key, text };
}

function sign(name: string, ...options: string[]): string {
  writeFileSync(join(folder, FILE), CONTENT);
  minisign('-S', '-s', `${name}.key`, '-m', FILE, ...options);
  return readFileSync(join(folder, `${FILE}.minisig`), 'utf8');
}

const blake2b512 = (content: Uint8Array) => createHash('blake2b512').update(content).digest('hex');

const trusted = newKey('trusted');
const other = newKey('other');
const keys = [trusted.key];
const good = sign('trusted');

describe('a signature by minisign', () => {
  it('is one of the content it was made of, and of no other', () => {
    const signature = readSignature(good, KEY, [other.key, trusted.key]);
    expect(signature.signer.id).toBe(trusted.key.id);
    expect(isSignatureOf(signature, blake2b512(CONTENT))).toBe(true);
    expect(isSignatureOf(signature, blake2b512(Buffer.from('other content')))).toBe(false);
    expect(isSignatureOf(signature, '')).toBe(false);
  });

  it('stands beside the object', () => {
    expect(signatureKey(KEY)).toBe('prod/debian-13.qcow2.minisig');
  });

  it('names its key as minisign does', () => {
    expect(readFileSync(join(folder, 'trusted.pub'), 'utf8')).toContain(trusted.key.id);
  });

  it('may have a trusted comment that names no file', () => {
    const text = sign('trusted', '-t', 'release 13.2');
    expect(readSignature(text, 'prod/renamed', keys).trustedComment).toBe('release 13.2');
  });

  const lines = good.split('\n');
  const spoil = (line: number, change: (text: string) => string) =>
    lines.map((text, index) => (index === line ? change(text) : text)).join('\n');
  const flip = (text: string) => (text.startsWith('A', 30) ? replaceAt(text, 'B') : replaceAt(text, 'A'));
  const replaceAt = (text: string, char: string) => `${text.slice(0, 30)}${char}${text.slice(31)}`;

  it.each([
    ['by a key that is not trusted', sign('other'), 'does not trust'],
    ['of the legacy form', sign('trusted', '-l'), 'legacy form'],
    ['with a changed signature', spoil(1, flip), 'trusted comment is not what was signed'],
    ['with a changed comment', spoil(2, (text) => `${text}!`), 'trusted comment is not what was signed'],
    ['with a changed second signature', spoil(3, flip), 'trusted comment is not what was signed'],
    ['of an unknown algorithm', spoil(1, (text) => `XX${text.slice(2)}`), 'its algorithm is'],
    ['cut in the middle', good.slice(0, good.length / 2), 'not a signature'],
    ['with something behind it', `${good}more\n`, 'not a signature'],
    ['without its comment', spoil(2, () => 'file:debian-13.qcow2'), 'not a signature'],
    ['that is a web page', '<!DOCTYPE html>\n', 'not a signature'],
    ['that is empty', '', 'not a signature'],
  ])('%s is refused', (_what, text, says) => {
    expect(() => readSignature(text, KEY, keys)).toThrow(
      expect.objectContaining({
        code: 'SIGNATURE_INVALID',
        message: expect.stringContaining(says) as string,
      }),
    );
  });

  it('of another file is refused', () => {
    expect(() => readSignature(good, 'prod/debian-14.qcow2', keys)).toThrow(
      'it is for a file "debian-13.qcow2", not for "debian-14.qcow2"',
    );
  });
});

describe('a public key', () => {
  it.each(['', 'RWQ', `${trusted.text}A`, trusted.text.slice(0, -4), `XX${trusted.text.slice(2)}`])(
    'is not %j',
    (text) => {
      expect(parseMinisignKey(text)).toBeUndefined();
    },
  );
});
