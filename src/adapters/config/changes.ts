/** What in a configuration is not as it was, by the names that stand in the file. */
import type { ConfigFile } from './schema.ts';

/** Taken over while the program runs; everything else when it is started. */
const TAKEN_OVER: ReadonlySet<string> = new Set([
  'minio.ca_file',
  'minio.access_key_file',
  'minio.secret_key_file',
  // It, or all of it where there was none.
  'keys.barbican',
  'keys.barbican.url',
  'keys.barbican.auth_url',
  'keys.barbican.ca_file',
  'keys.barbican.application_credential_id',
]);

/** Settings that count only after a restart, such as `fills.concurrent`. */
export function settingsForRestart(running: ConfigFile, read: ConfigFile): readonly string[] {
  return changesOf(running, read, '').filter((name) => !TAKEN_OVER.has(name));
}

function changesOf(before: unknown, after: unknown, name: string): readonly string[] {
  if (!isGroup(before) || !isGroup(after)) {
    return JSON.stringify(before) === JSON.stringify(after) ? [] : [name];
  }
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changesOf(before[key], after[key], name === '' ? key : `${name}.${key}`));
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
