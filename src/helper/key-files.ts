/**
 * Keys that stand on this host: a file each that systemd-creds has encrypted to this host alone, in a folder that nobody
 * but root reads. What is decrypted is held in memory until it has been sent.
 */
import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { ProvisionError } from '../core/errors.ts';
import { credentialNameOf, KEY_FILE_SUFFIX, KEY_FOLDER } from '../core/key/key-file.ts';
import { isKeyShaped, KEY_BYTES_MAX, KEY_BYTES_MIN } from '../core/key/key-reference.ts';
import { runWithKeys } from './keyed-command.ts';
import type { KeyFiles, Tools } from './tools.ts';

/** An encrypted key of 512 bytes has some 1,100. */
const FILE_BYTES_MAX = 64 * 1024;

export const keyFiles: KeyFiles = {
  async read(name) {
    const encrypted = await readFileOf(name);
    const argv = ['decrypt', `--name=${credentialNameOf(name)}`, '-', '-'];
    const { exitCode, stdout, said } = await runWithKeys(`key ${name}`, 'systemd-creds', argv, [encrypted]);
    if (exitCode === 0) return stdout;
    stdout.fill(0);
    throw unusable(
      name,
      `systemd-creds cannot decrypt it: ${said}`,
      'It was encrypted on another host, or under another name, or this host has been given another identity since.',
    );
  },
};

/** The key of that name; KEY_UNUSABLE if it is no key. */
export async function readKey({ keyFiles: files }: Tools, name: string): Promise<Buffer> {
  const key = await files.read(name);
  if (isKeyShaped(key)) return key;
  const wrong = key.length < KEY_BYTES_MIN || key.length > KEY_BYTES_MAX;
  key.fill(0);
  throw unusable(
    name,
    wrong
      ? `it has not between ${KEY_BYTES_MIN} and ${KEY_BYTES_MAX} bytes`
      : 'it has other bytes than visible ASCII characters, perhaps a newline at its end',
    `Make another one: lvp key create file:${name}.`,
  );
}

async function readFileOf(name: string): Promise<Buffer> {
  const path = `${KEY_FOLDER}/${name}${KEY_FILE_SUFFIX}`;
  try {
    const folder = await lstat(KEY_FOLDER);
    if (!folder.isDirectory() || !isRootsAlone(folder)) {
      throw unusable(name, `${KEY_FOLDER} is not root's alone`, `chown root ${KEY_FOLDER}; chmod 0700 it.`);
    }
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const status = await file.stat();
      if (!status.isFile() || !isRootsAlone(status)) {
        throw unusable(name, `${path} is not root's alone`, `chown root ${path}; chmod 0600 it.`);
      }
      if (status.size > FILE_BYTES_MAX) {
        throw unusable(name, `${path} has ${status.size} bytes`, 'No encrypted key is that long.');
      }
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    throw new ProvisionError({
      code: 'KEY_NOT_FOUND',
      message: `There is no key file:${name} on this host.`,
      hint: `Make one: lvp key create file:${name}; those there are: lvp key list.`,
    });
  }
}

function isRootsAlone({ uid, mode }: { readonly uid: number; readonly mode: number }): boolean {
  return uid === 0 && (mode & 0o077) === 0;
}

function unusable(name: string, why: string, hint: string): ProvisionError {
  return new ProvisionError({
    code: 'KEY_UNUSABLE',
    message: `The key file:${name} cannot be used: ${why}.`,
    hint,
  });
}
