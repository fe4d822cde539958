/** Mistakes in the configuration, each with file and line, key, the value found, and what is allowed. */
import type { Document, LineCounter } from 'yaml';
import { isMap, isNode, isPair, isScalar, isSeq } from 'yaml';
import type { z } from 'zod';

export type KeyPath = readonly PropertyKey[];

/** Keys people write here because another program has them so. */
const HINTS: Readonly<Record<string, string>> = {
  'minio.access_key': 'no secrets in this file; name a file with minio.access_key_file',
  'minio.secret_key': 'no secrets in this file; name a file with minio.secret_key_file',
  'minio.ca_cert': 'the key is minio.ca_file',
  'keys.barbican.application_credential_secret':
    'no secrets in this file; it is the systemd credential barbican-application-credential-secret',
  lvm: 'the volume groups are listed under volume_groups',
  logging: 'the key is log',
  server: 'the key is http',
  libvirt: 'libvirt is always reached as org.libvirt on the system bus',
  'policy.owners': 'libvirt keeps no owner of a domain; say which are meant with domains or uuids',
  'cache.max_bytes': 'the key is cache.size_max',
  'cache.enabled': 'the cache is on when cache.size_max is a size',
};

/** Where the settings came from, to name it in mistakes. */
export interface Origin {
  readonly file: string;
  readonly document: Document.Parsed;
  readonly lines: LineCounter;
  /** Environment variables by the key path they set. */
  readonly variables: ReadonlyMap<string, string>;
}

export function describeIssue(issue: z.core.$ZodIssue, settings: unknown, origin: Origin): readonly string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const name = nameOf([...issue.path, key]);
      // The value of an unknown key is never shown: it may be a secret in the wrong place.
      const hint =
        HINTS[name.replaceAll(/\.\d+(?=\.)/g, '')] ?? `there is no such key; see config.example.yaml`;
      return `${placeOf([...issue.path, key], origin)}: ${name}: ${hint}`;
    });
  }
  const name = nameOf(issue.path);
  const allowed =
    issue.code !== 'invalid_type'
      ? issue.message
      : issue.expected === 'array'
        ? 'a list'
        : 'a mapping of keys to values';
  const value = valueAt(settings, issue.path);
  const found = value === undefined ? 'is missing' : `is ${shown(issue.path, value)}`;
  return [`${placeOf(issue.path, origin)}: ${name} ${found}; allowed is ${allowed}`];
}

function nameOf(path: KeyPath): string {
  return path.length === 0 ? 'the file' : path.map(String).join('.');
}

function placeOf(path: KeyPath, origin: Origin): string {
  const variable = origin.variables.get(nameOf(path));
  return variable === undefined
    ? `${origin.file}:${lineOf(path, origin)}`
    : `environment variable ${variable}`;
}

/** The line of the key, or of the nearest mapping around it that the file has. */
function lineOf(path: KeyPath, { document, lines }: Origin): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent: unknown =
      length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1];
    const pair = isMap(parent)
      ? parent.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key)
      : undefined;
    const place: unknown = isSeq(parent) ? parent.items[Number(key)] : pair?.key;
    const offset = isNode(place) ? place.range?.[0] : undefined;
    if (offset !== undefined) return lines.linePos(offset).line;
  }
  return 1;
}

function valueAt(settings: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    settings,
  );
}

/** A URL may carry `user:password@`, which must not reach a terminal or a log. */
function shown(path: KeyPath, value: unknown): string {
  const text = JSON.stringify(value);
  if (/\.(endpoint|url|auth_url)$/.test(nameOf(path)) && text.includes('@')) return 'a URL with a user in it';
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
