/** The file that freezes a host: made and removed by root, whether the daemon runs or not. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { ProvisionError } from '../../core/errors.ts';
import type { Frozen } from '../../core/frozen.ts';
import { formatFrozen, FROZEN_NAME, parseFrozen } from '../../core/frozen.ts';
import { syncFolder } from '../program/sync-folder.ts';

/** A second freeze keeps when, by whom and why the first was. */
export function freezeHost(
  configPath: string,
  reason: string | undefined,
): { readonly frozen: Frozen; readonly before: boolean } {
  return asRoot(configPath, () => {
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
  return asRoot(configPath, () => {
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

function asRoot<T>(configPath: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (code === '') throw cause;
    throw new ProvisionError({ ...whyNot(code, configPath, cause as Error), code: 'USAGE', cause });
  }
}

function whyNot(code: string, configPath: string, { message }: Error): { message: string; hint?: string } {
  switch (code) {
    case 'ENOENT':
      return {
        message: `There is no folder ${dirname(configPath)}, so there is no provisioner on this host to freeze or thaw.`,
        hint: 'If its configuration is elsewhere, name it with --config.',
      };
    case 'EACCES':
    case 'EPERM':
      return {
        message: `Nothing was changed: ${message}.`,
        hint: 'Only root may freeze and thaw a host: use sudo.',
      };
    default:
      return { message: `Nothing was changed: ${message}.` };
  }
}
