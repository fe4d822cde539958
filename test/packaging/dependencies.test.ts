/** What is let into the package: exact versions, that the lock file repeats, with licences that allow it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CHECKOUT, runtimePackages } from '../../packaging/runtime-packages.ts';

const NameToText = z.record(z.string(), z.string());
const Wanted = z.object({ dependencies: NameToText, devDependencies: NameToText });
const Locked = z.object({
  lockfileVersion: z.literal(3),
  packages: z.record(z.string(), z.looseObject({ version: z.string(), integrity: z.string().optional() })),
});

const json = (name: string): unknown => JSON.parse(readFileSync(join(CHECKOUT, name), 'utf8'));
const wanted = Wanted.parse(json('package.json'));
const { packages } = Locked.parse(json('package-lock.json'));

/** They allow passing the program on without more than their text. */
const LICENCES: ReadonlySet<string> = new Set(['Apache-2.0', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT']);

describe('dependencies', () => {
  it('are asked for by exact version, and locked to it', () => {
    const all = Object.entries({ ...wanted.dependencies, ...wanted.devDependencies });
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
    expect(all).toEqual(all.map(([name]) => [name, packages[`node_modules/${name}`]?.version]));
    const root = Wanted.parse(packages['']);
    expect(root.dependencies).toEqual(wanted.dependencies);
    expect(root.devDependencies).toEqual(wanted.devDependencies);
  });

  it('are what the lock file has the digests of', () => {
    const open = Object.entries(packages).filter(
      ([folder, each]) => folder !== '' && each.integrity === undefined,
    );
    expect(open).toEqual([]);
  });

  it('come with licences that were looked at', () => {
    const others = runtimePackages().filter(({ license }) => !LICENCES.has(license));
    expect(others.map(({ name, license }) => `${name}: ${license}`)).toEqual([]);
  });
});
