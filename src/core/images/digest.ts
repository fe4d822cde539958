/**
 * The digest of an image: hex digits, or the text that stands beside the object (`KEY.sha256`,
 * `SHA256SUMS`, and the same with 512). It is always that of the object as stored.
 */
import { ProvisionError } from '../errors.ts';

export type DigestAlgorithm = 'sha256' | 'sha512';

const HEX_DIGITS: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };
/** `sha256sum` writes two spaces for text and ` *` for binary, and a `\\` first if it escaped the name. */
const SUM_LINE = /^(?<escaped>\\?)(?<hex>[0-9a-f]+) [ *](?<name>.+)$/i;
/** `sha256sum --tag` and the BSDs. */
const TAGGED_LINE = /^(?<tag>SHA256|SHA512) \((?<name>.+)\) ?= ?(?<hex>[0-9a-f]+)$/i;

/** An object that may hold the digest of another one. */
export interface Sidecar {
  readonly algorithm: DigestAlgorithm;
  readonly key: string;
  /** For one object alone, or a list for all of a folder, in which ours need not be. */
  readonly kind: 'one' | 'list';
}

/** The digest in lower case, or undefined if that is none. */
function parseDigest(text: string, algorithm: DigestAlgorithm): string | undefined {
  return text.length === HEX_DIGITS[algorithm] && /^[0-9a-f]+$/i.test(text) ? text.toLowerCase() : undefined;
}

export function parseSha256(text: string): string | undefined {
  return parseDigest(text, 'sha256');
}

/** The key of the object that holds the digest of `key`. */
export function sidecarKey(key: string): string {
  return `${key}.sha256`;
}

/** Where the digest of `key` may stand; the first that has it counts. */
export function sidecarsOf(key: string): readonly Sidecar[] {
  const folder = key.slice(0, key.length - baseName(key).length);
  return [
    { algorithm: 'sha256', key: sidecarKey(key), kind: 'one' },
    { algorithm: 'sha512', key: `${key}.sha512`, kind: 'one' },
    { algorithm: 'sha256', key: `${folder}SHA256SUMS`, kind: 'list' },
    { algorithm: 'sha512', key: `${folder}SHA512SUMS`, kind: 'list' },
  ];
}

/** The digest for the object `key` in the text of `KEY.sha256`. */
export function readSidecar(text: string, key: string): string {
  const sidecar: Sidecar = { algorithm: 'sha256', key: sidecarKey(key), kind: 'one' };
  const found = readDigest(text, key, sidecar);
  if (found === undefined) throw unusable(sidecar, `it has no line for ${baseName(key)}`);
  return found;
}

/**
 * The digest for the object `key` in the text of a sidecar: the digest alone, or lines as `sha256sum`
 * writes them, of which the one for the key's base name counts. Undefined if a list has none for it.
 */
export function readDigest(text: string, key: string, sidecar: Sidecar): string | undefined {
  const name = baseName(key);
  const lines = text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const [first] = lines;
  if (first === undefined) throw unusable(sidecar, 'it is empty');
  const alone = parseDigest(first, sidecar.algorithm);
  if (sidecar.kind === 'one' && lines.length === 1 && alone !== undefined) return alone;
  const digests = new Set<string>();
  for (const line of lines) {
    const found = readLine(line, sidecar.algorithm);
    if (found === undefined) {
      throw unusable(sidecar, `this line is not of ${sidecar.algorithm}sum: ${quote(line)}`);
    }
    if (baseName(found.name) === name) digests.add(found.digest);
  }
  const [digest, second] = digests;
  if (second !== undefined) throw unusable(sidecar, `it has two different digests for ${name}`);
  if (digest === undefined && sidecar.kind === 'one') throw unusable(sidecar, `it has no line for ${name}`);
  return digest;
}

function readLine(
  line: string,
  algorithm: DigestAlgorithm,
): { readonly name: string; readonly digest: string } | undefined {
  const groups = (SUM_LINE.exec(line) ?? TAGGED_LINE.exec(line))?.groups ?? {};
  const { name, escaped, tag = algorithm } = groups;
  const digest = parseDigest(groups['hex'] ?? '', algorithm);
  if (name === undefined || digest === undefined || tag.toLowerCase() !== algorithm) return undefined;
  return { name: escaped === '\\' ? name.replace(/\\\\/g, '\\') : name, digest };
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function quote(line: string): string {
  return JSON.stringify(line.length > 80 ? `${line.slice(0, 80)}…` : line);
}

function unusable(sidecar: Sidecar, why: string): ProvisionError {
  const { algorithm, key } = sidecar;
  const target = sidecar.kind === 'one' ? `FILE.${algorithm}` : `${algorithm.toUpperCase()}SUMS`;
  return new ProvisionError({
    code: 'DIGEST_MISSING',
    message: `The digest in ${key} cannot be used: ${why}.`,
    hint: `Write it with "${algorithm}sum FILE > ${target}" and upload it beside the image, or put ${algorithm}="…" in the annotation.`,
  });
}
