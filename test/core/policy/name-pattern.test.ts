import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitsPattern } from '../../../src/core/policy/name-pattern.ts';

describe('fitsPattern', () => {
  it.each([
    ['web1', 'web1'],
    ['web1', 'web?'],
    ['web1', 'w*'],
    ['web1', '*1'],
    ['web1', '*'],
    ['web1', '**'],
    ['web1', '*?'],
    ['web1', 'w*b*1'],
    ['web1', '????'],
    ['a-b-c', '*-*-*'],
    ['aab', '*ab'],
    ['', '*'],
    ['', ''],
    ['w*b', 'w*b'],
    ['é漢😀', '???'],
    ['a[1]', 'a[1]'],
    ['a.b', 'a.b'],
  ])('%j fits %j', (name, pattern) => {
    expect(fitsPattern(name, pattern)).toBe(true);
  });

  it.each([
    ['web1', 'web'],
    ['web1', 'eb1'],
    ['web1', 'WEB1'],
    ['web1', 'web??'],
    ['web1', 'web1?'],
    ['web1', '?????'],
    ['web1', 'w*2'],
    ['web1', ''],
    ['', '?'],
    ['ab', 'a.'],
    ['ab', 'a[b]'],
    ['ab', '^ab$'],
    ['aab', 'a\\*b'],
  ])('%j does not fit %j', (name, pattern) => {
    expect(fitsPattern(name, pattern)).toBe(false);
  });

  it('says what a regular expression would say', () => {
    const some = (chars: string, maxLength: number) =>
      fc.string({ unit: fc.constantFrom(...Array.from(chars)), maxLength });
    fc.assert(
      fc.property(some('ab.😀', 8), some('ab.😀*?', 6), (name, pattern) => {
        const parts = Array.from(pattern, (one) =>
          one === '*' ? '.*' : one === '?' ? '.' : one.replace('.', '\\.'),
        );
        expect(fitsPattern(name, pattern)).toBe(new RegExp(`^${parts.join('')}$`, 'su').test(name));
      }),
      { numRuns: 5_000 },
    );
  });

  it('tries no more than every character of the pattern with every one of the name', () => {
    // With a regular expression in its place, these would take longer than anybody lives.
    const name = 'a'.repeat(1024);
    const startMs = performance.now();
    for (const pattern of [`${'*a'.repeat(126)}*b`, `${'a*'.repeat(127)}b`, `${'*'.repeat(254)}b`]) {
      expect(fitsPattern(name, pattern)).toBe(false);
    }
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });
});
