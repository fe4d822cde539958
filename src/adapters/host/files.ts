/** Files of this host, looked at with care: links are not followed when something is changed, and reading ends. */
import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Answer, FileFacts, Rights } from '../../doctor/host.ts';

const TEXT_BYTES_MAX = 2 * 2 ** 20;

/** The file's text; what is longer than anything we look at is cut off. */
export function readText(path: string): Promise<Answer<string>> {
  return asAnswer(async () => {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) throw new Error(`${path} is not a file`);
      const buffer = Buffer.alloc(TEXT_BYTES_MAX);
      let length = 0;
      // Files below /proc have no size, and come in pieces.
      for (let bytesRead = 1; bytesRead > 0 && length < TEXT_BYTES_MAX; length += bytesRead) {
        ({ bytesRead } = await file.read(buffer, length, TEXT_BYTES_MAX - length));
      }
      return buffer.toString('utf8', 0, length);
    } finally {
      await file.close();
    }
  });
}

/** Of a link itself. */
export function statFile(path: string): Promise<Answer<FileFacts>> {
  return asAnswer(async () => {
    const found = await lstat(path);
    const kinds = [
      ['file', found.isFile()],
      ['folder', found.isDirectory()],
      ['socket', found.isSocket()],
      ['link', found.isSymbolicLink()],
    ] as const;
    const kind = kinds.find(([, isSo]) => isSo)?.[0] ?? 'other';
    const { mode, uid, gid, mtimeMs, ctimeMs } = found;
    return { kind, mode: mode & 0o7777, uid, gid, mtimeMs, ctimeMs };
  });
}

export function listFolder(folder: string): Promise<Answer<readonly string[]>> {
  return asAnswer(() => readdir(folder));
}

/** Whatever goes wrong is part of the answer. */
export async function asAnswer<T>(ask: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { is: 'known', value: await ask() };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT' || code === 'ENOTDIR') return { is: 'absent' };
    if (code === 'EACCES' || code === 'EPERM') return { is: 'unknown', why: 'permission denied' };
    return { is: 'unknown', why: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * In folders of the service a link could lead root anywhere, and so could a second name of somebody else's file:
 * neither is followed, and what is changed is what was opened.
 */
export async function setRights(path: string, { mode, uid, gid }: Rights): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (!found.isDirectory() && !(found.isFile() && found.nlink === 1)) {
      throw new Error(`${path} is neither a folder nor a file of one name, and was left alone`);
    }
    if (uid !== undefined || gid !== undefined) await file.chown(uid ?? found.uid, gid ?? found.gid);
    if (mode !== undefined) await file.chmod(mode);
  } finally {
    await file.close();
  }
}

/** Not made in its folder: libvirt runs everything that stands there, also what is only half there. */
export async function placeProgram(from: string, to: string, staged: string): Promise<void> {
  const content = await readOfRoot(from);
  await mkdir(dirname(to), { recursive: true, mode: 0o755 });
  await rm(staged, { force: true });
  const file = await open(staged, 'wx', 0o755);
  try {
    await file.writeFile(content);
    // Whatever the umask is.
    await file.chmod(0o755);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(staged, to);
}

/** Root runs what is placed: nobody else may have been able to write it. */
async function readOfRoot(path: string): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { uid, mode } = await file.stat();
    if ([0, process.getuid?.()].includes(uid) && (mode & 0o022) === 0) return await file.readFile();
    throw new Error(`${path} can be written by others than root, and was not used`);
  } finally {
    await file.close();
  }
}
