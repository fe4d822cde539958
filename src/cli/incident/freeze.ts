/** The file that freezes a host: made and removed by root, whether the daemon runs or not. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { ProvisionError } from '../../core/errors.ts';
import type { Frozen } from '../../core/frozen.ts';
import { formatFrozen, FROZEN_NAME, parseFrozen } from '../../core/frozen.ts';

/** A second freeze keeps when, by whom and why the first was. */
export function freezeHost(
  configPath: string,
  reason: string | undefined,
): { readonly frozen: Frozen; readonly before: boolean } {
  return asRoot(() => {
    const path = pathOf(configPath);
    const before = read(path);
    if (before !== undefined) return { frozen: before, before: true };
    const text = formatFrozen({ since: new Date().toISOString(), by: whoAmI(), reason });
    const staged = `${path}.${process.pid}`;
    try {
      // For the service, which reads it; the folder is closed to everybody else.
      writeFileSync(staged, text, { mode: 0o644, flag: 'wx', flush: true });
      renameSync(staged, path);
    } finally {
      rmSync(staged, { force: true });
    }
    // It must outlive a power cut.
    syncFolder(dirname(path));
    return { frozen: parseFrozen(text), before: false };
  });
}

/** True if it was frozen. */
export function thawHost(configPath: string): boolean {
  return asRoot(() => {
    const path = pathOf(configPath);
    const wasFrozen = read(path) !== undefined;
    rmSync(path, { force: true });
    syncFolder(dirname(path));
    return wasFrozen;
  });
}

function pathOf(configPath: string): string {
  return join(dirname(configPath), FROZEN_NAME);
}

function read(path: string): Frozen | undefined {
  try {
    return parseFrozen(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The person behind sudo, as far as that says. */
function whoAmI(): string {
  return process.env['SUDO_USER'] ?? userInfo().username;
}

function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function asRoot<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === '') throw error;
    throw new ProvisionError({
      code: 'USAGE',
      message: `Nothing was changed: ${(error as Error).message}.`,
      hint:
        code === 'EACCES' || code === 'EPERM' ? 'Only root may freeze and thaw a host: use sudo.' : undefined,
      cause: error,
    });
  }
}
