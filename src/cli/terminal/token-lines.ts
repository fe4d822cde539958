/** The tokens file as lines: replaced as a whole or not at all, and readable by its owner alone. */
import {
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { codeOf, serviceUserId } from '../../adapters/config/credentials.ts';
import { ProvisionError } from '../../core/errors.ts';
import { syncFolder } from '../program/sync-folder.ts';

/** None where there is no file yet. */
export function readTokenLines(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw failed(file, error);
  }
}

export function replaceTokenLines(file: string, lines: readonly string[]): void {
  const staging = `${file}.new`;
  let fd: number;
  try {
    // It also keeps a second lvp token from working on the same lines.
    fd = openSync(staging, 'wx', 0o600);
  } catch (error) {
    throw failed(staging, error);
  }
  try {
    fchmodSync(fd, 0o600);
    writeSync(fd, lines.map((line) => `${line}\n`).join(''));
    fsyncSync(fd);
    giveToReader(file, staging);
    renameSync(staging, file);
    syncFolder(dirname(file));
  } catch (error) {
    rmSync(staging, { force: true });
    throw failed(file, error);
  } finally {
    closeSync(fd);
  }
}

/** The owner of the file before, or the user that the daemon runs as. */
function giveToReader(file: string, staging: string): void {
  if (process.getuid?.() !== 0) return;
  const before = statSync(file, { throwIfNoEntry: false });
  const uid = before?.uid ?? serviceUserId();
  if (uid !== undefined) chownSync(staging, uid, before?.gid ?? -1);
}

function failed(file: string, cause: unknown): ProvisionError {
  const code = codeOf(cause);
  const hints: Readonly<Record<string, string>> = {
    EACCES: 'Use sudo: the file is for the daemon and root alone.',
    ENOENT: 'Its folder has to be there; name the file with --file.',
    EEXIST: 'Another lvp token is at work; if none is, one was interrupted: remove this file and try again.',
  };
  const message = `${file} cannot be ${code === 'EEXIST' ? 'made, for it is there' : 'read or written'}: ${code}.`;
  return new ProvisionError({ code: 'INTERNAL', message, hint: hints[code], cause });
}
