/** The digest of an image: 64 hex digits, or the text that stands beside the object (`KEY.sha256`). */
import { ProvisionError } from './errors.ts';

const HEX = /^[0-9a-f]{64}$/i;
/** `sha256sum` writes two spaces for text and ` *` for binary, and a `\\` first if it escaped the name. */
const SUM_LINE = /^(?<escaped>\\?)(?<hex>[0-9a-f]{64}) [ *](?<name>.+)$/i;
/** `sha256sum --tag` and the BSDs. */
const TAGGED_LINE = /^SHA256 \((?<name>.+)\) ?= ?(?<hex>[0-9a-f]{64})$/i;

/** The digest in lower case, or undefined if that is none. */
export function parseSha256(text: string): string | undefined {
  return HEX.test(text) ? text.toLowerCase() : undefined;
}

/** The key of the object that holds the digest of `key`. */
export function sidecarKey(key: string): string {
  return `${key}.sha256`;
}

/**
 * The digest for the object `key` in the text of its sidecar: the digest alone, or lines as `sha256sum`
 * writes them, of which the one for the key's base name counts.
 */
export function readSidecar(text: string, key: string): string {
  const name = baseName(key);
  const lines = text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const [first] = lines;
  if (first === undefined) throw unusable(key, 'it is empty');
  const alone = parseSha256(first);
  if (lines.length === 1 && alone !== undefined) return alone;
  const digests = new Set<string>();
  for (const line of lines) {
    const found = readLine(line);
    if (found === undefined) throw unusable(key, `this line is not of sha256sum: ${quote(line)}`);
    if (baseName(found.name) === name) digests.add(found.sha256);
  }
  const [sha256, second] = digests;
  if (sha256 === undefined) throw unusable(key, `it has no line for ${name}`);
  if (second !== undefined) throw unusable(key, `it has two different digests for ${name}`);
  return sha256;
}

function readLine(line: string): { readonly name: string; readonly sha256: string } | undefined {
  const { name, hex, escaped } = (SUM_LINE.exec(line) ?? TAGGED_LINE.exec(line))?.groups ?? {};
  if (name === undefined || hex === undefined) return undefined;
  const plain = escaped === '\\' ? name.replace(/\\\\/g, '\\') : name;
  return { name: plain, sha256: hex.toLowerCase() };
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function quote(line: string): string {
  return JSON.stringify(line.length > 80 ? `${line.slice(0, 80)}…` : line);
}

function unusable(key: string, why: string): ProvisionError {
  return new ProvisionError({
    code: 'DIGEST_MISSING',
    message: `The digest in ${sidecarKey(key)} cannot be used: ${why}.`,
    hint: 'Write it with "sha256sum FILE > FILE.sha256" and upload it beside the image, or put sha256="…" in the annotation.',
  });
}
