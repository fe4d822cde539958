/** The promises of docs/encryption.md are those of tests that are there. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const root = new URL('../../', import.meta.url);
const text = readFileSync(new URL('docs/encryption.md', root), 'utf8');
/** Where a line of it ends means nothing, but in its tables. */
const page = text.replaceAll(/\n(?![\n|#])/g, ' ');

/** A file as the page names it, and a name of a test in it, of which the page may give the beginning alone. */
const named = [...page.matchAll(/`([a-z-]+|test\/[\w./-]+)`: ("[^"]+"(?:, "[^"]+")*)/g)].flatMap(
  ([, file = '', names = '']) => [...names.matchAll(/"([^"]+)"/g)].map(([, name = '']) => ({ file, name })),
);

/** The hosts of the migrations are those of another file. */
const filesOf = (file: string) =>
  file.startsWith('test/')
    ? [file]
    : [`test/host/${file}.test.ts`, ...(file === 'migration' ? ['test/host/encrypted-migration.ts'] : [])];

function titlesIn(file: string): string[] {
  const tests = filesOf(file)
    .map((path) => readFileSync(new URL(path, root), 'utf8'))
    .join('\n');
  return [...tests.matchAll(/^ *(?:it\(|\] as const\)\(|\]\)\()\s*'([^']+)'/gm)].map(
    ([, title = '']) => title,
  );
}

function isTitle(name: string, title: string): boolean {
  const [begin = '', cut] = name.split(' …');
  const [head = '', tail] = title.split('%s');
  if (tail === undefined) return cut === undefined ? title === begin : title.startsWith(begin);
  return begin.startsWith(head) && (cut !== undefined || begin.endsWith(tail));
}

describe('docs/encryption.md', () => {
  it('has fifteen promises', () => {
    const numbers = [...text.matchAll(/^\| (\d+) +\|/gm)].map(([, number]) => Number(number));
    expect(numbers).toEqual(Array.from({ length: 15 }, (_, index) => index + 1));
  });

  it('names files that are there, and tests that are in them', () => {
    expect(named.length).toBeGreaterThan(20);
    expect(
      named.flatMap(({ file }) => filesOf(file)).filter((path) => !existsSync(new URL(path, root))),
    ).toEqual([]);
    const unknown = named.filter(({ file, name }) => !titlesIn(file).some((title) => isTitle(name, title)));
    expect(unknown).toEqual([]);
  });
});
