/** Keys for MinIO out of files: systemd's credentials, or files nobody else can read. */
import type { Stats } from 'node:fs';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Secret } from './secret.ts';

const SECRET_BYTES_MAX = 4096;
const SERVICE_USER = 'libvirt-volume-provisioner';

export type SecretResult = { readonly secret: Secret } | { readonly mistake: string };

/**
 * The key from `file` if the configuration names one, else from systemd's credential `credential`.
 * Undefined when neither is there.
 */
export function readSecret(
  key: string,
  file: string | undefined,
  credential: string,
  credentialsDirectory: string | undefined,
): SecretResult | undefined {
  if (file !== undefined) return readSecretFile(key, file, true);
  if (credentialsDirectory === undefined) return undefined;
  // The unit loads a whole folder under the id `secret`, and systemd puts that in front of the names.
  const path = [credential, `secret_${credential}`]
    .map((name) => join(credentialsDirectory, name))
    .find((candidate) => statOf(candidate) !== undefined);
  // systemd keeps that folder from everybody else; the mode of the files in it says nothing.
  return path === undefined ? undefined : readSecretFile(key, path, false);
}

function readSecretFile(key: string, path: string, checkRights: boolean): SecretResult {
  try {
    const found = statSync(path);
    const wrong = checkRights ? wrongRights(found) : undefined;
    if (!found.isFile()) return { mistake: `${key}: ${path} is not a file` };
    if (wrong !== undefined) return { mistake: `${key}: ${path} ${wrong}` };
    if (found.size > SECRET_BYTES_MAX) return { mistake: `${key}: ${path} is larger than 4 KiB: not a key` };
    const text = readFileSync(path, 'utf8').trim();
    return text === '' ? { mistake: `${key}: ${path} is empty` } : { secret: new Secret(text) };
  } catch (error) {
    return { mistake: `${key}: ${path} cannot be read: ${codeOf(error)}` };
  }
}

function wrongRights(found: Stats): string | undefined {
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  if ((found.mode & 0o177) !== 0) return `has mode ${mode}; allowed is 0600 or 0400 (chmod 600)`;
  const owners = [0, process.getuid?.(), serviceUserId()];
  if (!owners.includes(found.uid)) return `belongs to user ${found.uid}; allowed is root or ${SERVICE_USER}`;
  return undefined;
}

/** So that root's `lvp config check` judges as the service will. */
export function serviceUserId(): number | undefined {
  try {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith(`${SERVICE_USER}:`));
    return line === undefined ? undefined : Number(line.split(':')[2]);
  } catch {
    return undefined;
  }
}

/** Undefined also for who may not look: a credential out of reach is none. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
