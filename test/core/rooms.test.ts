/**
 * Who may import whom (docs/design.md, "Rooms"): core does no input or output, the verbs know only core,
 * the adapters know one another through ports only, the root helper stands alone.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SOURCE = join(import.meta.dirname, '../../src');

/** What an import names: a file of ours below src/, a part of Node, or an npm package. */
type Imported =
  { readonly kind: 'ours'; readonly path: string } | { readonly kind: 'node' | 'npm'; readonly name: string };

type Rule = (from: string, imported: Imported) => boolean;

/** Parts of Node that neither read nor write anything outside the process. */
const NODE_WITHOUT_IO = ['node:crypto', 'node:zlib', 'node:buffer', 'node:util'];
const NPM_IN_CORE = ['@xmldom/xmldom', 'zod'];

const inside = (folder: string, path: string) => path.startsWith(`${folder}/`);

/** The outside thing an adapter is for, by the first word of its file or folder: minio/images.ts, minio/errors.ts. */
const thingOf = (path: string) => path.split('/')[1]?.replace(/[-.].*$/, '');

const RULES: Readonly<Record<string, Rule>> = {
  core: (_from, imported) =>
    imported.kind === 'ours'
      ? inside('core', imported.path)
      : (imported.kind === 'node' ? NODE_WITHOUT_IO : NPM_IN_CORE).includes(imported.name),
  provision: (_from, imported) =>
    imported.kind === 'ours'
      ? inside('core', imported.path) || inside('provision', imported.path)
      : NODE_WITHOUT_IO.includes(imported.name),
  doctor: (_from, imported) =>
    imported.kind === 'ours'
      ? inside('core', imported.path) || inside('doctor', imported.path)
      : (imported.kind === 'node' ? [...NODE_WITHOUT_IO, 'node:path/posix'] : NPM_IN_CORE).includes(
          imported.name,
        ),
  adapters: (from, imported) =>
    imported.kind !== 'ours' ||
    inside('core', imported.path) ||
    inside('provision/ports', imported.path) ||
    imported.path === 'doctor/host.ts' ||
    (inside('adapters', imported.path) && thingOf(imported.path) === thingOf(from)),
  helper: (_from, imported) =>
    imported.kind !== 'ours' || inside('core', imported.path) || inside('helper', imported.path),
  // The two programs wire everything up; the root helper is a program of its own.
  main: (_from, imported) => imported.kind !== 'ours' || !/^(helper\/|cli|main\.ts)/.test(imported.path),
  cli: (_from, imported) => imported.kind !== 'ours' || !/^(helper\/|main)/.test(imported.path),
};

/** `core` for core/size.ts, `cli` for cli.ts and cli/explain.ts. */
function roomOf(path: string): string {
  return (path.split('/')[0] ?? '').replace(/\.ts$/, '');
}

function importedBy(from: string, name: string): Imported {
  if (name.startsWith('.')) return { kind: 'ours', path: posix.join(posix.dirname(from), name) };
  return { kind: name.startsWith('node:') ? 'node' : 'npm', name };
}

/** The imports of a file that its room does not allow; type imports, re-exports and import() count too. */
function forbiddenImports(path: string, source: string): string[] {
  const rule = RULES[roomOf(path)];
  if (rule === undefined) return [`src/${path} is in no room of docs/design.md`];
  return ts
    .preProcessFile(source)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((name) => !rule(path, importedBy(path, name)))
    .map((name) => `src/${path} imports ${name}`);
}

it('every file of src/ keeps to its room', () => {
  const paths = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  );
  expect(paths).toContain('core/errors.ts');
  expect(paths.flatMap((path) => forbiddenImports(path, readFileSync(join(SOURCE, path), 'utf8')))).toEqual(
    [],
  );
});

describe('the rule itself', () => {
  it.each([
    ['core/a.ts', "import { readFile } from 'node:fs/promises';"],
    ['core/a.ts', "import fs from 'fs';"],
    ['core/a.ts', "import { execa } from 'execa';"],
    ['core/a.ts', "import type { Clock } from '../provision/ports/host.ts';"],
    ['core/images/a.ts', "export * from '../../adapters/x.ts';"],
    ['core/a.ts', "const fs = await import('node:fs');"],
    ['core/a.ts', "import 'node:net';"],
    ['provision/a.ts', "import { x } from '../adapters/minio/images.ts';"],
    ['provision/a.ts', "import { x } from '../helper/main.ts';"],
    ['provision/a.ts', "import { x } from '../cli.ts';"],
    ['provision/a.ts', "import { readFile } from 'node:fs/promises';"],
    ['provision/a.ts', "import { z } from 'minio';"],
    ['adapters/a.ts', "import { b } from './b.ts';"],
    ['adapters/minio/images.ts', "import { b } from './requests.ts'; import { c } from '../ledger.ts';"],
    ['adapters/a/x.ts', "import { b } from '../b/y.ts';"],
    ['adapters/a.ts', "import { fill } from '../provision/fill/fill-volume.ts';"],
    ['adapters/a.ts', "import { x } from '../helper/verbs.ts';"],
    ['helper/a.ts', "import type { X } from '../provision/ports/host.ts';"],
    ['doctor/a.ts', "import { readFile } from 'node:fs/promises';"],
    ['doctor/a.ts', "import { x } from '../adapters/minio/probe.ts';"],
    ['doctor/checks/a.ts', "import { execa } from 'execa';"],
    ['adapters/a.ts', "import { x } from '../doctor/checks.ts';"],
    ['helper/a.ts', "import { x } from '../adapters/lvm-helper.ts';"],
    ['main.ts', "import './helper/main.ts';"],
    ['main/a.ts', "import '../main.ts';"],
    ['cli.ts', "import './main.ts';"],
    ['utils/a.ts', ''],
    ['other.ts', ''],
  ])('refuses in %s: %s', (path, source) => {
    expect(forbiddenImports(path, source)).toHaveLength(1);
  });

  it.each([
    ['core/a.ts', "import { createHash } from 'node:crypto'; import { z } from 'zod';"],
    ['core/images/a.ts', "import { quote } from '../quote.ts'; import { DOMParser } from '@xmldom/xmldom';"],
    ['core/a.ts', "// import fs from 'node:fs'\nconst text = \"import fs from 'node:fs'\";"],
    ['provision/a.ts', "import { x } from '../core/x.ts'; import './ports/host.ts'; import 'node:crypto';"],
    ['adapters/a.ts', "import fs from 'node:fs'; import type { Clock } from '../provision/ports/host.ts';"],
    ['adapters/a.ts', "import { x } from './a/x.ts'; import { y } from '../core/y.ts'; import 'minio';"],
    ['adapters/minio/images.ts', "import { b } from './minio-errors.ts';"],
    ['adapters/a/x.ts', "import { y } from './y.ts'; import { a } from '../a.ts';"],
    ['helper/a.ts', "import { execa } from 'execa'; import { y } from '../core/y.ts'; import './b.ts';"],
    [
      'doctor/checks/a.ts',
      "import { x } from '../host.ts'; import { y } from '../../core/y.ts'; import 'zod';",
    ],
    ['adapters/host/a.ts', "import type { Answer } from '../../doctor/host.ts'; import 'node:fs';"],
    ['main/a.ts', "import './b.ts'; import '../adapters/a.ts';"],
    [
      'main.ts',
      "import './main/a.ts'; import './adapters/a.ts'; import './provision/a.ts'; import './core/a.ts';",
    ],
    ['cli.ts', "import './adapters/gate-socket.ts'; import './cli/explain.ts';"],
  ])('allows in %s: %s', (path, source) => {
    expect(forbiddenImports(path, source)).toEqual([]);
  });
});
