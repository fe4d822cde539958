/** Takes secrets out of texts: those that are known, wherever they stand, and what a setting's name says is one. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

const REDACTED = '[redacted]';
/** Shorter ones would be found in every second word. */
const SECRET_CHARS_MIN = 4;
const FILE_BYTES_MAX = 64 * 1024;
const NAMED =
  /(["']?[\w-]*(?:secret|password|passphrase|token|access_?key|private_?key|authorization)[\w-]*["']?\s*[:=]\s*)(?!["']?\/)("[^"\n]*"|'[^'\n]*'|[^\s,}\n]+)/gi;

/** What stands in the folder of keys, whatever it is called, and in files of keys that are named besides. */
export function knownSecrets(configPath: string, files: readonly string[]): readonly string[] {
  const folder = join(dirname(configPath), 'credentials');
  const inFolder = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  return [...inFolder, ...files].flatMap((path) => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isFile() !== true || found.size > FILE_BYTES_MAX) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line.length >= SECRET_CHARS_MIN);
  });
}

export function redact(text: string, secrets: readonly string[]): string {
  const known = [...new Set(secrets.flatMap((secret) => [secret, encodeURIComponent(secret)]))];
  const without = known
    .sort((a, b) => b.length - a.length)
    .reduce((left, secret) => left.replaceAll(secret, REDACTED), text);
  return without.replace(NAMED, `$1${REDACTED}`);
}
