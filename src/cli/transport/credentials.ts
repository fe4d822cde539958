/** Where the HTTP API is and who calls it. Secrets come from files: everybody can read the command line of a process. */
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { ProvisionError } from '../../core/errors.ts';

/** As files, by the options and variables of the same names. */
export interface CredentialFiles {
  readonly serverCa?: string | undefined;
  readonly clientCert?: string | undefined;
  readonly clientKey?: string | undefined;
  readonly tokenFile?: string | undefined;
}

export interface Credentials {
  readonly token?: string | undefined;
  /** PEM; absent: the authorities of the system. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

const FILE_BYTES_MAX = 2 ** 20;
/** What a header may hold, and no more than a token has. */
const TOKEN = /^[\x21-\x7e]{1,1024}$/;

/** USAGE unless it is `https://HOST[:PORT]`, or `http://` with an address of this host. What is wrong is not repeated. */
export function serverUrl(text: string): URL {
  const url = URL.parse(text);
  const isPlace =
    url !== null &&
    (url.protocol === 'https:' || url.protocol === 'http:') &&
    [url.username, url.password, url.search, url.hash].every((part) => part === '') &&
    url.pathname === '/';
  if (!isPlace) {
    throw usage(
      'The address of the server is not https://HOST[:PORT] with nothing else in it.',
      'Write it like https://host1.example.net:8080; who calls is said by --token-file, or --client-cert and --client-key.',
    );
  }
  if (url.protocol === 'https:' || isLoopback(url.hostname)) return url;
  throw usage(
    `http:// is for this host alone, and ${url.hostname} is not: a token would be there for all to read.`,
    'Use https://',
  );
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** USAGE for a file that cannot be read, is not what it should be, or that others may read. */
export function readCredentials({
  serverCa,
  clientCert,
  clientKey,
  tokenFile,
}: CredentialFiles): Credentials {
  if ((clientCert === undefined) !== (clientKey === undefined)) {
    throw usage(
      `--client-${clientCert === undefined ? 'key' : 'cert'} is of no use without --client-${clientCert === undefined ? 'cert' : 'key'}.`,
      'A client certificate needs both: the certificate and its key.',
    );
  }
  const ca = serverCa === undefined ? undefined : readFile('--server-ca', serverCa);
  if (ca !== undefined) requirePem('--server-ca', serverCa, () => new X509Certificate(ca));
  const cert = clientCert === undefined ? undefined : readFile('--client-cert', clientCert);
  if (cert !== undefined) requirePem('--client-cert', clientCert, () => new X509Certificate(cert));
  const key = clientKey === undefined ? undefined : readSecret('--client-key', clientKey);
  if (key !== undefined) requirePem('--client-key', clientKey, () => createPrivateKey(key));
  return { ca, cert, key, token: tokenFile === undefined ? undefined : readToken(tokenFile) };
}

function readToken(path: string): string {
  const token = readSecret('--token-file', path).trim();
  if (TOKEN.test(token)) return token;
  throw usage(
    `--token-file: ${path} does not hold a token, and nothing else.`,
    'It is the one line that lvp token create prints.',
  );
}

function readSecret(option: string, path: string): string {
  const text = readFile(option, path);
  const { mode } = statSync(path);
  // What /dev/fd and the like are, nobody else can open.
  if ((mode & 0o007) === 0 || (mode & 0o170000) !== 0o100000) return text;
  throw usage(`${option}: everybody may read or write ${path}.`, `Take that right away: chmod 600 ${path}`);
}

function readFile(option: string, path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length <= FILE_BYTES_MAX) return text;
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw usage(`${option}: ${path} cannot be read: ${why}.`);
  }
  throw usage(`${option}: ${path} is longer than ${FILE_BYTES_MAX} bytes.`);
}

function requirePem(option: string, path: string | undefined, understand: () => unknown): void {
  try {
    understand();
  } catch {
    const what = option === '--client-key' ? 'a private key without a passphrase' : 'a certificate';
    throw usage(`${option}: ${path ?? ''} does not hold ${what} in PEM.`);
  }
}

function usage(message: string, hint?: string): ProvisionError {
  return new ProvisionError({ code: 'USAGE', message, hint });
}
