/** `lvp backup`: collects what this host's configuration and ledger are into one file that only root reads. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { copyLedger } from '../../adapters/ledger-copies.ts';
import { programVersion } from '../../adapters/program-version.ts';
import { ProvisionError } from '../../core/errors.ts';
import type { Entry, Manifest } from './manifest.ts';
import { namedFiles } from './manifest.ts';
import { STATE_DIR } from './places.ts';
import { packFolder } from './tar.ts';

/** Returns what is in it. Throws if any of it cannot be read: half a backup is found out too late. */
export async function makeBackup(configPath: string, output: string): Promise<Manifest> {
  const target = resolve(output);
  if (existsSync(target)) throw refused(`${target} is there already.`, 'Give another name, or remove it.');
  const folder = mkdtempSync(join(tmpdir(), 'lvp-backup-'));
  const partial = `${target}.partial-${process.pid}`;
  try {
    const files = await collect(configPath, join(folder, 'backup'));
    const manifest: Manifest = {
      ...{ format: 1, version: programVersion(), madeAt: new Date().toISOString(), host: hostname() },
      files,
    };
    writeFileSync(join(folder, 'backup', 'manifest.json'), JSON.stringify(manifest, undefined, 2));
    await packFolder(join(folder, 'backup'), partial);
    chmodSync(partial, 0o600);
    renameSync(partial, target);
    return manifest;
  } catch (error) {
    if (error instanceof ProvisionError) throw error;
    throw refused(`The backup could not be made: ${(error as Error).message}.`, 'As root, with sudo?', error);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(partial, { force: true });
  }
}

async function collect(configPath: string, folder: string): Promise<Entry[]> {
  mkdirSync(folder, { mode: 0o700 });
  const text = readFileSync(configPath, 'utf8');
  const settings: unknown = parse(text);
  const credentials = join(dirname(configPath), 'credentials');
  const entries: Entry[] = [];
  const take = (
    name: string,
    kind: Entry['kind'],
    path: string,
    bytes: Buffer,
    more: Partial<Entry> = {},
  ) => {
    const { uid, mode } = statSync(path);
    writeFileSync(join(folder, name), bytes, { mode: 0o600 });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const rights = { ofService: uid !== 0 && uid !== process.getuid?.(), mode: mode & 0o777 };
    entries.push({ name, kind, ...rights, sizeBytes: bytes.length, sha256, ...more });
  };
  take('config', 'config', configPath, Buffer.from(text));
  const names = existsSync(credentials) ? readdirSync(credentials).sort() : [];
  for (const [index, credential] of names.entries()) {
    const path = join(credentials, credential);
    if (statSync(path).isFile())
      take(`credential-${index}`, 'credential', path, readFileSync(path), { credential });
  }
  for (const [index, path] of [...new Set(namedFiles(settings))].entries()) {
    take(`named-${index}`, 'named', path, readFileSync(path), { path });
  }
  const ledger = join(stateDirOf(settings), 'ledger.db');
  if (existsSync(ledger)) {
    const copy = join(folder, 'ledger');
    await copyLedger(ledger, copy);
    take('ledger', 'ledger', ledger, readFileSync(copy));
  }
  return entries;
}

export function stateDirOf(settings: unknown): string {
  const { state_dir: folder = STATE_DIR } = (settings ?? {}) as { state_dir?: unknown };
  return typeof folder === 'string' ? folder : STATE_DIR;
}

function refused(message: string, hint: string, cause?: unknown): ProvisionError {
  return new ProvisionError({ code: 'USAGE', message, hint, cause });
}
