/** The files the HTTP API lives on: certificate, key, client CA and tokens, read and judged. */
import type { KeyObject } from 'node:crypto';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { ProvisionError } from '../../core/errors.ts';
import type { HttpCredential, HttpSettings } from '../../core/settings/http-settings.ts';
import type { TokenHash } from './token-file.ts';
import { parseTokens } from './token-file.ts';

const FILE_BYTES_MAX = 2 ** 20;
const RSA_BITS_MIN = 2048;
/** Earlier than this before a certificate ends, nobody is told. */
const EXPIRY_WARNING_MS = 14 * 86_400_000;

export interface KeyFiles {
  readonly tls?:
    { readonly cert: string; readonly key: string; readonly ca?: string | undefined } | undefined;
  readonly tokens: ReadonlyMap<string, TokenHash>;
  /** Not wrong yet. */
  readonly warnings: readonly string[];
  /** When the first certificate of each kind ends, as Unix time in ms; undefined where there is none. */
  readonly expiresAtMs: Readonly<Record<HttpCredential, number | undefined>>;
}

type Mistakes = string[];

/** Throws one CONFIG_INVALID that lists everything that is weak or broken. */
export function readKeyFiles({ tls, tokensFile }: HttpSettings, nowMs: number): KeyFiles {
  const mistakes: Mistakes = [];
  const warnings: string[] = [];
  const read = (key: string, path: string, rights: 'open' | 'owner' | 'group') =>
    readKeyFile(`http.${key}`, path, rights, mistakes);
  const cert = tls && read('tls.cert_file', tls.certFile, 'open');
  const key = tls && read('tls.key_file', tls.keyFile, 'group');
  const ca = tls?.clientCaFile && read('tls.client_ca_file', tls.clientCaFile, 'open');
  const expiresAtMs: Record<HttpCredential, number | undefined> = {
    'server-certificate': undefined,
    'ca-certificate': undefined,
  };
  if (tls && cert !== undefined && key !== undefined) {
    expiresAtMs['server-certificate'] = judgePair(
      { path: tls.certFile, pem: cert },
      { path: tls.keyFile, pem: key },
      nowMs,
      mistakes,
      warnings,
    );
  }
  if (tls?.clientCaFile !== undefined && ca !== undefined) {
    expiresAtMs['ca-certificate'] = judgeAuthorities(tls.clientCaFile, ca, nowMs, mistakes);
  }
  const tokens = readTokens(
    tokensFile,
    tokensFile && read('tokens_file', tokensFile, 'owner'),
    tls?.clientCaFile !== undefined,
    mistakes,
  );
  if (mistakes.length > 0) throw weak(mistakes);
  const pair = cert !== undefined && key !== undefined ? { tls: { cert, key, ca } } : {};
  return { ...pair, tokens, warnings, expiresAtMs };
}

function weak(mistakes: readonly string[]): ProvisionError {
  return new ProvisionError({
    code: 'CONFIG_INVALID',
    message: `The HTTP API cannot be offered safely:\n${mistakes.map((mistake) => `  ${mistake}`).join('\n')}`,
    hint: '\nCorrect it, or leave http out of the configuration: docs/http-api.md says what is needed.',
  });
}

function readKeyFile(
  key: string,
  path: string,
  rights: 'open' | 'owner' | 'group',
  mistakes: Mistakes,
): string | undefined {
  try {
    const { mode, size } = statSync(path);
    const excess = mode & { open: 0o022, group: 0o137, owner: 0o177 }[rights];
    if (excess !== 0) {
      const allowed = { open: 'no writing by group and others', group: '0600 or 0640', owner: '0600' }[
        rights
      ];
      mistakes.push(`${key}: ${path} has mode ${(mode & 0o7777).toString(8)}; allowed is ${allowed}`);
      return undefined;
    }
    if (size <= FILE_BYTES_MAX) return readFileSync(path, 'utf8');
    mistakes.push(`${key}: ${path} is larger than 1 MiB`);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    mistakes.push(`${key}: ${path} cannot be read: ${code}`);
  }
  return undefined;
}

interface Pem {
  readonly path: string;
  readonly pem: string;
}

/** Returns when the certificate ends. */
function judgePair(
  cert: Pem,
  key: Pem,
  nowMs: number,
  mistakes: Mistakes,
  warnings: string[],
): number | undefined {
  const [leaf] = certificatesIn('tls.cert_file', cert.path, cert.pem, mistakes);
  const privateKey = privateKeyIn(key, mistakes);
  if (leaf === undefined) return undefined;
  judgeDates('tls.cert_file', cert.path, leaf, nowMs, mistakes);
  judgeStrength('tls.cert_file', cert.path, leaf.publicKey, mistakes);
  if (privateKey !== undefined && !leaf.checkPrivateKey(privateKey)) {
    mistakes.push(`http.tls.key_file: ${key.path} is not the key of the certificate in ${cert.path}`);
  }
  const endsAtMs = Date.parse(leaf.validTo);
  if (endsAtMs - nowMs < EXPIRY_WARNING_MS) {
    warnings.push(`The certificate in ${cert.path} ends on ${leaf.validTo}: put a new one there.`);
  }
  return endsAtMs;
}

/** Returns when the first of them ends. */
function judgeAuthorities(path: string, pem: string, nowMs: number, mistakes: Mistakes): number | undefined {
  const authorities = certificatesIn('tls.client_ca_file', path, pem, mistakes);
  for (const authority of authorities) {
    judgeDates('tls.client_ca_file', path, authority, nowMs, mistakes);
    judgeStrength('tls.client_ca_file', path, authority.publicKey, mistakes);
    if (!authority.ca) {
      mistakes.push(`http.tls.client_ca_file: ${path} has ${nameOf(authority)}, which is no authority`);
    }
  }
  return authorities.length === 0
    ? undefined
    : Math.min(...authorities.map(({ validTo }) => Date.parse(validTo)));
}

function certificatesIn(key: string, path: string, pem: string, mistakes: Mistakes): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block));
  } catch {
    // Said below.
  }
  mistakes.push(`http.${key}: ${path} holds no certificate in PEM form, or one that is damaged`);
  return [];
}

function privateKeyIn({ path, pem }: Pem, mistakes: Mistakes): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    mistakes.push(`http.tls.key_file: ${path} holds no private key in PEM form without a passphrase`);
    return undefined;
  }
}

function judgeDates(
  key: string,
  path: string,
  certificate: X509Certificate,
  nowMs: number,
  mistakes: Mistakes,
): void {
  const { validFrom, validTo } = certificate;
  if (Date.parse(validTo) <= nowMs) {
    mistakes.push(`http.${key}: ${nameOf(certificate)} in ${path} has expired on ${validTo}`);
  }
  if (Date.parse(validFrom) > nowMs) {
    mistakes.push(`http.${key}: ${nameOf(certificate)} in ${path} is not valid before ${validFrom}`);
  }
}

function judgeStrength(key: string, path: string, publicKey: KeyObject, mistakes: Mistakes): void {
  const bits = publicKey.asymmetricKeyDetails?.modulusLength;
  if (bits === undefined || bits >= RSA_BITS_MIN) return;
  mistakes.push(`http.${key}: the key in ${path} is RSA of ${bits} bits; allowed is ${RSA_BITS_MIN} or more`);
}

function nameOf({ subject }: X509Certificate): string {
  return `the certificate of ${subject.replaceAll('\n', ', ')}`;
}

function readTokens(
  path: string | undefined,
  text: string | undefined,
  hasAuthorities: boolean,
  mistakes: Mistakes,
): ReadonlyMap<string, TokenHash> {
  if (path === undefined || text === undefined) return new Map();
  const { tokens, mistakes: wrong } = parseTokens(text);
  mistakes.push(...wrong.map((mistake) => `http.tokens_file: ${path}: ${mistake}`));
  if (tokens.size === 0 && wrong.length === 0 && !hasAuthorities) {
    mistakes.push(
      `http.tokens_file: ${path} is empty, and without http.tls.client_ca_file nobody could call; make a token with lvp token create`,
    );
  }
  return tokens;
}
