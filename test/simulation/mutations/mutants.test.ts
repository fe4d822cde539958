/** Goal: a mutant that the source has moved away from is noticed at once, not when the mutants are next judged. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MUTANTS } from './all.ts';
import type { Change } from './mutant.ts';
import { changed } from './mutant.ts';

const SOURCE = join(import.meta.dirname, '../../../src');

describe('each mutant', () => {
  it.each(MUTANTS)('still finds its place in the source: $name', ({ changes }) => {
    const texts = new Map<string, string>();
    for (const change of changes) {
      const before = textOf(texts, change);
      const after = changed(before, change);
      expect(after).not.toBe(before);
      texts.set(change.file, after);
    }
  });

  it('has a name of its own', () => {
    const names = MUTANTS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

function textOf(texts: ReadonlyMap<string, string>, { file }: Change): string {
  return texts.get(file) ?? readFileSync(join(SOURCE, file), 'utf8');
}
