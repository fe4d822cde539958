/**
 * `lvp restore`: puts a backup into place. Everything in it is verified before anything is written, and its ledger is
 * freed of what would have consequences on a host that has gone on, or is another one.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  chownSync,
} from 'node:fs';
import { connect } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { scrubLedger } from '../../adapters/ledger-copies.ts';
import { ProvisionError } from '../../core/errors.ts';
import { stateDirOf } from './make.ts';
import type { Entry } from './manifest.ts';
import { Manifest, namedFiles } from './manifest.ts';
import { RUNTIME_DIR, SERVICE_USER } from './places.ts';
import { unpackInto } from './tar.ts';

interface Placing {
  readonly from: string;
  readonly to: string;
  readonly mode: number;
  readonly owner: 'root' | 'group' | 'service';
  /** Whose its folder becomes if it has to be made: `reached` is root's, and the service may go through it. */
  readonly folder: 'root' | 'reached' | 'service';
}

/** Returns the manifest and what was written. */
export async function restoreBackup(
  file: string,
  { configPath, overwrite }: { readonly configPath: string; readonly overwrite: boolean },
): Promise<{ readonly manifest: Manifest; readonly written: readonly string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'lvp-restore-'));
  try {
    await unpackInto(file, folder).catch((error: unknown) => {
      throw refused(`${file} cannot be unpacked: ${(error as Error).message.split('\n')[0] ?? ''}`, error);
    });
    const manifest = verify(file, folder);
    const settings: unknown = parse(readFileSync(join(folder, 'config'), 'utf8'));
    const placings = manifest.files.map((entry) => placingOf(entry, folder, configPath, settings));
    if (await isDaemonThere(settings)) {
      throw refused('The daemon runs.', undefined, 'First: systemctl stop libvirt-volume-provisioner');
    }
    const there = placings.map(({ to }) => to).filter((path) => existsSync(path));
    if (there.length > 0 && !overwrite) {
      throw refused(`It is there already: ${there.join(', ')}.`, undefined, 'To replace it: --overwrite');
    }
    if (manifest.files.some(({ kind }) => kind === 'ledger')) scrubLedger(join(folder, 'ledger'));
    // The configuration last: without it the daemon does not start.
    for (const placing of [...placings].reverse()) place(placing);
    return { manifest, written: placings.map(({ to }) => to) };
  } catch (error) {
    if (error instanceof ProvisionError) throw error;
    throw refused(`${file} could not be restored: ${(error as Error).message}.`, error);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Exactly the files that the manifest names, each as it says. */
function verify(file: string, folder: string): Manifest {
  const path = join(folder, 'manifest.json');
  const parsed = Manifest.safeParse(existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined);
  if (!parsed.success) throw refused(`${file} is no backup of this program, or of a newer one.`);
  const { files } = parsed.data;
  const names = new Set(files.map(({ name }) => name));
  const strays = readdirSync(folder).filter((name) => name !== 'manifest.json' && !names.has(name));
  if (strays.length > 0 || names.size !== files.length || files[0]?.name !== 'config') {
    throw refused(`${file} does not hold what its manifest says.`);
  }
  for (const { name, sizeBytes, sha256 } of files) {
    const inside = join(folder, name);
    const isFile = lstatSync(inside, { throwIfNoEntry: false })?.isFile() === true;
    const bytes = isFile ? readFileSync(inside) : undefined;
    if (bytes?.length !== sizeBytes || createHash('sha256').update(bytes).digest('hex') !== sha256) {
      throw refused(`${file} is damaged: "${name}" is not what its manifest says.`);
    }
  }
  return parsed.data;
}

function placingOf(entry: Entry, folder: string, configPath: string, settings: unknown): Placing {
  const from = join(folder, entry.name);
  switch (entry.kind) {
    case 'config':
      return { from, to: configPath, mode: 0o640, owner: 'group', folder: 'reached' };
    case 'credential': {
      const to = join(dirname(configPath), 'credentials', entry.credential ?? entry.name);
      return { from, to, mode: 0o600, owner: 'root', folder: 'root' };
    }
    case 'ledger':
      return {
        ...{ from, to: join(stateDirOf(settings), 'ledger.db'), mode: 0o600 },
        ...{ owner: 'service', folder: 'service' },
      };
    case 'named': {
      const { path = '' } = entry;
      if (!namedFiles(settings).includes(path)) throw refused(`Its configuration names no file ${path}.`);
      const owner = entry.ofService ? 'service' : 'root';
      return { from, to: path, mode: entry.mode & ~0o022, owner, folder: 'reached' };
    }
  }
}

/** Made beside its place, so that whatever stood there is replaced as a whole, and a link is not followed. */
function place({ from, to, mode, owner, folder }: Placing): void {
  const service = serviceIds();
  makeFolder(dirname(to), folder, service);
  const staged = `${to}.restore-${process.pid}`;
  rmSync(staged, { force: true });
  writeFileSync(staged, readFileSync(from), { flag: 'wx', mode: 0o600 });
  const fd = openSync(staged, 'r');
  try {
    if (owner === 'service' && service !== undefined) fchownSync(fd, service.uid, service.gid);
    // The folder of the configuration belongs to the group that has to read it.
    if (owner === 'group') fchownSync(fd, statSync(dirname(to)).uid, statSync(dirname(to)).gid);
    // A group of that name may not be here, or be another one: who has to read it is the service.
    if (owner === 'root' && (mode & 0o044) === 0o040 && service !== undefined) fchownSync(fd, 0, service.gid);
    fchmodSync(fd, mode);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  // The log of an earlier ledger must not be taken for this one's.
  for (const suffix of ['-wal', '-shm']) rmSync(`${to}${suffix}`, { force: true });
  renameSync(staged, to);
}

/** What is missing of a path; a host that never had it must let the service reach what it names in its configuration. */
function makeFolder(path: string, of: Placing['folder'], service: Ids | undefined): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path), of, service);
  mkdirSync(path, { mode: 0o700 });
  if (of !== 'root' && service !== undefined)
    chownSync(path, of === 'service' ? service.uid : 0, service.gid);
  chmodSync(path, of === 'reached' ? 0o750 : 0o700);
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

function serviceIds(): Ids | undefined {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const fields = lines.find((line) => line.startsWith(`${SERVICE_USER}:`))?.split(':');
  return fields === undefined ? undefined : { uid: Number(fields[2]), gid: Number(fields[3]) };
}

async function isDaemonThere(settings: unknown): Promise<boolean> {
  const { runtime_dir: folder = RUNTIME_DIR } = (settings ?? {}) as { runtime_dir?: unknown };
  const socket = connect(join(String(folder), 'control.sock'));
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function refused(what: string, cause?: unknown, hint = 'Nothing was changed.'): ProvisionError {
  const message = hint === 'Nothing was changed.' ? what : `${what} Nothing was changed.`;
  return new ProvisionError({ code: 'USAGE', message, hint, cause });
}
