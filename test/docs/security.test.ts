/** What docs/security.md says of checks and tests is held to the program. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CHECKS } from '../../src/doctor/checks.ts';

const root = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/security.md', root), 'utf8');

/** Rows of the tables with a column of checks, split into cells. */
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
  .filter((cells) => cells.length === 4 && !cells.every((cell) => /^-+$/.test(cell)));

const quotedIn = (column: number) => [
  ...new Set(
    rows.flatMap((cells) => [...(cells[column] ?? '').matchAll(/`([^`]+)`/g)].map(([, id = '']) => id)),
  ),
];

describe('docs/security.md', () => {
  it('names every check of the doctor', () => {
    const named = quotedIn(2);
    expect(CHECKS.map(({ id }) => id).filter((id) => !named.includes(id))).toEqual([]);
  });

  it('names no check that there is not', () => {
    const ids = CHECKS.map(({ id }) => id);
    expect(quotedIn(2).filter((named) => !ids.includes(named))).toEqual([]);
  });

  it('names tests that are there', () => {
    const named = quotedIn(3);
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
  });

  it('has a reason wherever there is no check', () => {
    for (const cells of rows) expect((cells[1] ?? '') + (cells[2] ?? '')).toMatch(/\S{3}/);
  });

  it('knows every document that a check refers to', () => {
    const documents = [
      'security guide, "',
      'libvirt\'s secure usage guide, "',
      'host security notes, 2',
      'docs/',
    ];
    for (const { id, source } of CHECKS) {
      const unknown = source.split('; ').filter((part) => !documents.some((name) => part.startsWith(name)));
      expect([id, unknown]).toEqual([id, []]);
    }
  });
});
