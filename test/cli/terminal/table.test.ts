/** Goal: a table fits its terminal, and what differs is still seen to differ. */
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import { shortenAll, table } from '../../../src/cli/terminal/table.ts';

const NAMES = [0, 1, 2, 10].map((number) => `customer-payroll-production-${number}-eu-west-1`);
const rows = [
  ['DOMAIN', 'DISK', 'IMAGE'],
  ...NAMES.map((name, at) => [name, 'vda', `images/debian-13-of-2026-11-${10 + at}.qcow2`]),
];

function widestLine(text: string): number {
  return Math.max(...text.split('\n').map((line) => stringWidth(line)));
}

describe('a table', () => {
  it.each([undefined, 200])('is as wide as it needs to be where there is room: %s', (width) => {
    expect(table(rows, { width }).split('\n')[1]).toBe(
      'customer-payroll-production-0-eu-west-1   vda   images/debian-13-of-2026-11-10.qcow2',
    );
  });

  it.each([80, 60, 48])('is no wider than a terminal of %i columns', (width) => {
    const text = table(rows, { width });
    expect(widestLine(text)).toBeLessThanOrEqual(width);
    const lines = text.split('\n');
    expect(new Set(lines.map((line) => line.split(/ +/)[0])).size).toBe(5);
    expect(new Set(lines.map((line) => line.split(/ +/).at(-1))).size).toBe(5);
    expect(lines.filter((line) => line.includes(' vda '))).toHaveLength(4);
  });

  it('leaves alone what people copy', () => {
    expect(table(rows, { width: 60, whole: [0] })).toContain(NAMES[3]);
  });

  it('would rather be too wide than show two names as one', () => {
    const alike = Array.from({ length: 200 }, (_, at) => `${'a'.repeat(8)}${at}${'b'.repeat(16)}${at * 7}`);
    const shown = table(
      alike.map((name) => [name]),
      { width: 2 },
    ).split('\n');
    expect(new Set(shown).size).toBe(200);
  });

  it('counts columns, not characters', () => {
    const text = table([
      ['名前名前', 'x'],
      ['ab', 'y'],
    ]);
    expect(text.split('\n').map((line) => stringWidth(line))).toEqual([11, 11]);
    expect(widestLine(table([['名'.repeat(20)], ['前'.repeat(20)]], { width: 15 }))).toBeLessThanOrEqual(15);
  });

  it('passes no instruction on to the terminal', () => {
    expect(table([['a\u001b[2Jb\nc', 'd']])).toBe('a?[2Jb?c  d');
  });
});

describe('shortening', () => {
  it.each([
    ['in the middle', ['abcdefghijklmnop', 'ABCDEFGHIJKLMNOP'], 'abc…nop'],
    ['at the front, where the ends differ', ['aaaaaaaaaa-one-of-1', 'aaaaaaaaaa-two-of-1'], '…e-of-1'],
    ['at the end, where the beginnings differ', ['onetA-zzzzzzz', 'onetB-zzzzzzz'], 'onetA-…'],
  ])('cuts %s', (_where, names, first) => {
    const { cells } = shortenAll(names, 7);
    expect([cells[0], cells.every((cell) => cell.length <= 7)]).toEqual([first, true]);
  });

  it('says when it would make two names one', () => {
    expect(shortenAll(['aaaa1aaaa', 'aaaa2aaaa'], 3).isDistinct).toBe(false);
  });
});
