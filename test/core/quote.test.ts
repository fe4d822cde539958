import fc from 'fast-check';
import { expect, it } from 'vitest';
import { quote } from '../../src/core/quote.ts';

it.each([
  ['vda', '"vda"'],
  ['', '""'],
  ['a"b\\c', '"a\\"b\\\\c"'],
  ['a\nb\u001b[31m', '"a\\u{a}b\\u{1b}[31m"'],
  ['abc\u202etxt', '"abc\\u{202e}txt"'],
  ['\u2028', '"\\u{2028}"'],
  ['\ud800', '"\\u{d800}"'],
  ['naïve 漢 😀', '"naïve 漢 😀"'],
  ['x'.repeat(60), `"${'x'.repeat(60)}"`],
  ['x'.repeat(61), `"${'x'.repeat(60)}…"`],
])('%j', (value, quoted) => {
  expect(quote(value)).toBe(quoted);
});

it('is always one short line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (value) => {
      expect(quote(value)).toMatch(/^"[^\p{C}\p{Zl}\p{Zp}]{0,600}"$/u);
    }),
  );
});
