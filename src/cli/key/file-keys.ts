/** Keys of `file:NAME` on this host: a file each, encrypted by systemd, made by root and by nobody else. */
import { timingSafeEqual } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { ProvisionError } from '../../core/errors.ts';
import { credentialNameOf, KEY_FILE_SUFFIX, KEY_FOLDER } from '../../core/key/key-file.ts';
import { KEY_FILE_PATTERN } from '../../core/key/key-reference.ts';
import { syncFolder } from '../program/sync-folder.ts';

const COMMAND_MAX_MS = 60_000;
const OUTPUT_BYTES_MAX = 64 * 1024;

/** `auto`: with the TPM2 if this host has one, and with the key of the host. */
export type WithKey = 'auto' | 'host';

export interface FileKey {
  readonly name: string;
  readonly madeAtMs: number;
}

export class FileKeyFolder {
  readonly #folder: string;

  constructor(folder = KEY_FOLDER) {
    this.#folder = folder;
  }

  /** Never in the place of one that is there. The bytes are not wiped here. */
  async add(name: string, bytes: Uint8Array, withKey: WithKey): Promise<void> {
    this.#asRoot(() => {
      this.#makeFolder();
    });
    if (this.has(name)) throw isThere(name);
    const encrypted = await systemdCreds(
      ['encrypt', `--with-key=${withKey}`, `--name=${credentialNameOf(name)}`, '-', '-'],
      bytes,
    );
    await mustDecrypt(name, encrypted, bytes);
    this.#asRoot(() => {
      this.#place(name, encrypted);
    });
  }

  has(name: string): boolean {
    return this.#asRoot(() => lstatSync(this.#pathOf(name), { throwIfNoEntry: false }) !== undefined);
  }

  /** False if there was none. What only it opens is lost. */
  remove(name: string): boolean {
    return this.#asRoot(() => {
      if (lstatSync(this.#pathOf(name), { throwIfNoEntry: false }) === undefined) return false;
      rmSync(this.#pathOf(name));
      syncFolder(this.#folder);
      return true;
    });
  }

  /** None where there is no folder yet. */
  list(): readonly FileKey[] {
    return this.#asRoot(() => {
      if (statSync(this.#folder, { throwIfNoEntry: false }) === undefined) return [];
      return readdirSync(this.#folder)
        .filter((file) => file.endsWith(KEY_FILE_SUFFIX))
        .map((file) => file.slice(0, -KEY_FILE_SUFFIX.length))
        .filter((name) => KEY_FILE_PATTERN.test(name))
        .sort()
        .map((name) => ({ name, madeAtMs: lstatSync(this.#pathOf(name)).mtimeMs }));
    });
  }

  #pathOf(name: string): string {
    return join(this.#folder, `${name}${KEY_FILE_SUFFIX}`);
  }

  /** Of nobody else's making: who could write to it could put another file into the place of a key. */
  #makeFolder(): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const found = lstatSync(this.#folder);
    if (!found.isDirectory() || found.uid !== process.getuid?.()) {
      throw new ProvisionError({
        code: 'STATE_FOLDER_FAILED',
        message: `${this.#folder} is not a folder of root's own. Nothing was changed.`,
        hint: `See who made it: ls -ld ${this.#folder}`,
      });
    }
    if ((found.mode & 0o7777) !== 0o700) chmodSync(this.#folder, 0o700);
  }

  /** Whole, or not at all; and not where another one has come meanwhile. */
  #place(name: string, encrypted: Uint8Array): void {
    // No name of a key begins so.
    const staging = join(this.#folder, `.${name}.${process.pid}.new`);
    const fd = openSync(staging, 'wx', 0o600);
    try {
      writeSync(fd, encrypted);
      fsyncSync(fd);
      linkSync(staging, this.#pathOf(name));
    } catch (error) {
      throw codeOf(error) === 'EEXIST' ? isThere(name) : error;
    } finally {
      closeSync(fd);
      rmSync(staging, { force: true });
    }
    syncFolder(this.#folder);
  }

  #asRoot<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      const code = codeOf(cause);
      if (code === '') throw cause;
      const isForRoot = code === 'EACCES' || code === 'EPERM';
      throw new ProvisionError({
        code: isForRoot ? 'USAGE' : 'STATE_FOLDER_FAILED',
        message: `${this.#folder} cannot be ${isForRoot ? 'opened' : 'used'}: ${code}.`,
        ...(isForRoot ? { hint: 'Keys of files are for root alone, on the host itself: use sudo.' } : {}),
        cause,
      });
    }
  }
}

function isThere(name: string): ProvisionError {
  return new ProvisionError({
    code: 'USAGE',
    message: `There is a key file:${name} on this host already. Nothing was changed.`,
    hint: 'A key is never replaced: a volume may need it. Choose another name.',
  });
}

/** What cannot be read again must not be taken for a key. */
async function mustDecrypt(name: string, encrypted: Uint8Array, bytes: Uint8Array): Promise<void> {
  const decrypted = await systemdCreds(['decrypt', `--name=${credentialNameOf(name)}`, '-', '-'], encrypted);
  const isSame = decrypted.length === bytes.length && timingSafeEqual(decrypted, bytes);
  decrypted.fill(0);
  if (!isSame) throw systemdFailed('decrypts something else than what it has encrypted');
}

/** The key goes in and comes out through pipes, and what came out is one piece of memory, which the caller wipes. */
async function systemdCreds(argv: readonly string[], input: Uint8Array): Promise<Uint8Array> {
  const { execa } = await import('execa');
  const result = await execa('systemd-creds', argv, {
    ...{ input, encoding: 'buffer', reject: false, timeout: COMMAND_MAX_MS, maxBuffer: OUTPUT_BYTES_MAX },
    ...{ stripFinalNewline: false, extendEnv: false },
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
  });
  if (result.exitCode === 0) return result.stdout;
  result.stdout.fill(0);
  const said = Buffer.from(result.stderr).toString('utf8').trim().split('\n').at(-1) ?? '';
  throw systemdFailed(result.exitCode === undefined ? `cannot be run (${result.code ?? 'killed'})` : said);
}

function systemdFailed(why: string): ProvisionError {
  return new ProvisionError({
    code: 'STATE_FOLDER_FAILED',
    message: `systemd-creds ${why}. Nothing was changed.`,
    hint: 'It is part of systemd, version 250 or later.',
  });
}

function codeOf(error: unknown): string {
  if (error instanceof ProvisionError) return '';
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
