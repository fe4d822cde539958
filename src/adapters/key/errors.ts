/** What a failed request to Keystone or Barbican means to the people who have to mend it. */
import { ProvisionError } from '../../core/errors.ts';
import type { KeyReference } from '../../core/key/key-reference.ts';
import { formatKeyReference } from '../../core/key/key-reference.ts';
import { AnswerTooLong } from './requests.ts';

/** As people know it: without path. */
export function nameOfServer(url: URL): string {
  return url.host;
}

/** Nobody answers, or nobody who can prove to be the one that is meant. */
export function unreachable(error: unknown, url: URL): ProvisionError {
  if (error instanceof ProvisionError) return error;
  const server = nameOfServer(url);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const text = error instanceof Error && error.message !== '' ? error.message : code || String(error);
  return new ProvisionError({
    code: 'KEY_SERVER_UNREACHABLE',
    message: `The key server ${server} cannot be asked: ${text}.`,
    hint: hintOf(code, server),
    cause: error,
  });
}

function hintOf(code: string, server: string): string {
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return `Its name cannot be looked up: check keys.barbican in the configuration, and DNS.`;
  }
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED') {
    return `By the clock of this host the certificate of ${server} is not valid now: check the clock (timedatectl), and the certificate's dates.`;
  }
  if (/CERT|TLS|SSL|SELF_SIGNED|ISSUER|SIGNATURE/.test(code)) {
    return `The certificate of ${server} is not trusted, and nothing was sent: check keys.barbican.ca_file, and that the server's name is in the certificate.`;
  }
  return `Check that ${server} runs and can be reached from this host.`;
}

/** An answer with which nothing can be begun. */
export function unexpected(status: number, url: URL): ProvisionError {
  const isRedirection = status >= 300 && status < 400;
  return new ProvisionError({
    code: 'KEY_SERVER_UNREACHABLE',
    message: `The key server ${nameOfServer(url)} answers with status ${status}.`,
    hint: isRedirection
      ? 'It redirects elsewhere, which is never followed: put the address of the server itself into keys.barbican.'
      : 'Look at the server and its log, at any proxy before it, and at the URL in keys.barbican.',
  });
}

export function unreadable(what: string, url: URL, cause?: unknown): ProvisionError {
  return new ProvisionError({
    code: 'KEY_SERVER_UNREACHABLE',
    message: `The answer of the key server ${nameOfServer(url)} is not ${what}.`,
    hint: 'See that the URL in keys.barbican leads to the right server, and at any proxy before it.',
    cause,
  });
}

export function keyNotFound(reference: KeyReference, url: URL): ProvisionError {
  return new ProvisionError({
    code: 'KEY_NOT_FOUND',
    message: `There is no key ${formatKeyReference(reference)} at ${nameOfServer(url)}.`,
    hint: 'Check the key in the annotation. If it was deleted there, what is encrypted with it is lost.',
  });
}

export function keyUnusable(reference: KeyReference, why: string): ProvisionError {
  return new ProvisionError({
    code: 'KEY_UNUSABLE',
    message: `${formatKeyReference(reference)} is no key for a volume: ${why}.`,
    hint: 'A key is 32 to 512 visible ASCII characters, without spaces and line ends; lvp key create makes one.',
  });
}

/** Says nothing of the bytes but that they are too many. */
export function tooLong(error: unknown, reference: KeyReference): unknown {
  return error instanceof AnswerTooLong ? keyUnusable(reference, 'it is too long') : error;
}
