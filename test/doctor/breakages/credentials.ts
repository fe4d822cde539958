import type { FakeHost } from '../fake-host.ts';
import { ACCESS_KEY, DAY_MS, ETC, NOW_MS, SECRET_KEY } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage, withKeys } from './breakage.ts';

const KEY_FILE = `${ETC}/credentials/minio-secret-key`;

/** As docs/operate.md has it. */
export function encryptKeys(host: FakeHost): void {
  const root = { uid: 0, gid: 0 };
  host.folder(`${ETC}/credentials.encrypted`, 0o700, root);
  for (const name of ['minio-access-key', 'minio-secret-key']) {
    host.files.delete(`${ETC}/credentials/${name}`);
    host.file(`${ETC}/credentials.encrypted/${name}`, 0o600, root, 'Whxqht+dQJax');
  }
}

export const CREDENTIALS: readonly Breakage[] = [
  breakage(
    'credentials.folder',
    (host) => {
      encryptKeys(host);
      host.alter(`${ETC}/credentials.encrypted`, { mode: 0o755 });
    },
    'fail',
    /encrypted has mode 0755/,
    true,
  ),
  breakage(
    'credentials.files',
    (host) => {
      encryptKeys(host);
      host.alter(`${ETC}/credentials.encrypted/minio-secret-key`, { mode: 0o644 });
    },
    'fail',
    /encrypted\/minio-secret-key has mode 0644/,
    true,
  ),
  breakage(
    'credentials.rotated',
    (host) => {
      encryptKeys(host);
      host.alter(`${ETC}/credentials.encrypted/minio-secret-key`, { mtimeMs: NOW_MS - 200 * DAY_MS });
    },
    'warn',
    /200 days/,
  ),
  breakage(
    'credentials.folder',
    (host) => {
      host.alter(`${ETC}/credentials`, { mode: 0o755 });
    },
    'fail',
    /0755/,
    true,
  ),
  breakage(
    'credentials.files',
    (host) => {
      host.alter(KEY_FILE, { mode: 0o644 });
    },
    'fail',
    /0644/,
    true,
  ),
  breakage(
    'credentials.files',
    (host) => {
      host.alter(KEY_FILE, { uid: 1000 });
    },
    'fail',
    /user 1000/,
  ),
  breakage(
    'credentials.files',
    (host) => {
      host.append(host.configPath, '  secret_key_file: "/srv/key"\n');
      host.file('/srv/key', 0o640, { uid: 0, gid: 0 }, 'x');
    },
    'fail',
    /\/srv\/key has mode 0640/,
    true,
  ),
  breakage(
    'credentials.not-default',
    (host) => {
      withKeys(host, 'minioadmin', SECRET_KEY);
    },
    'fail',
    /minioadmin/,
  ),
  breakage(
    'credentials.length',
    (host) => {
      withKeys(host, ACCESS_KEY, 'short-secret');
    },
    'warn',
    /shorter than 32/,
  ),
  breakage(
    'credentials.rotated',
    (host) => {
      host.alter(KEY_FILE, { mtimeMs: NOW_MS - 200 * DAY_MS });
    },
    'warn',
    /200 days/,
  ),
  breakage(
    'credentials.not-in-configuration',
    (host) => {
      host.append(host.configPath, `  # ${SECRET_KEY}\n`);
    },
    'fail',
    /one of the keys/,
  ),
  breakage(
    'credentials.not-in-configuration',
    (host) => {
      host.append(host.configPath, '  secret_key: abc\n');
    },
    'fail',
    /a key of that name/,
  ),
  breakage(
    'credentials.not-in-environment',
    (host) => {
      host.units.daemon['Environment'] = `MINIO_SECRET_KEY=${SECRET_KEY}`;
    },
    'warn',
    /found: MINIO_SECRET_KEY$/,
  ),
  breakage(
    'credentials.not-in-environment',
    (host) => {
      host.units.daemon['EnvironmentFiles'] = ['/etc/default/provisioner (ignore_errors=no)'];
      host.file('/etc/default/provisioner', 0o600, { uid: 0, gid: 0 }, `MINIO_ACCESS_KEY="${ACCESS_KEY}"\n`);
    },
    'warn',
    /found: MINIO_ACCESS_KEY$/,
  ),
  breakage(
    'credentials.not-in-environment',
    (host) => {
      host.append('/proc/4711/environ', `MINIO_SECRET_KEY=${SECRET_KEY}\0`);
    },
    'warn',
    /MINIO_SECRET_KEY/,
  ),
];
