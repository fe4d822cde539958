/** What a failed request to the bucket store means to the people who have to mend it. */
import { ProvisionError } from '../../core/errors.ts';
import { AddressRefused } from './addresses.ts';
import { RefusedAnswer } from './transport.ts';

/** Names for messages; nothing in here is secret. */
export interface Asked {
  /** `BUCKET/KEY`. */
  readonly name: string;
  readonly endpoint: string;
  /** The version that somebody asked for by name. */
  readonly version?: string | undefined;
  /** What the policy of the key has to allow; without it, reading the object. */
  readonly action?: string | undefined;
}

const MISSING = new Set(['NoSuchKey', 'NoSuchBucket', 'NoSuchVersion', 'NotFound', 'MethodNotAllowed']);
const DENIED = new Set([
  'AccessDenied',
  'SignatureDoesNotMatch',
  'InvalidAccessKeyId',
  'AuthorizationHeaderMalformed',
  'RequestTimeTooSkewed',
  'ExpiredToken',
  'InvalidToken',
]);

const DENIED_HINTS: Readonly<Record<string, string>> = {
  SignatureDoesNotMatch: 'The secret key is not the one of this access key.',
  InvalidAccessKeyId: 'The store does not know the access key.',
  AuthorizationHeaderMalformed: 'The region in the configuration is not the one of the store.',
  RequestTimeTooSkewed: 'The clocks of this host and of the store differ: check NTP on both.',
};

/** Turns whatever a request threw into an error of ours. */
export function storeError(error: unknown, asked: Asked): ProvisionError {
  if (error instanceof ProvisionError) return error;
  return error instanceof RefusedAnswer ? refused(error, asked) : unreachable(error, asked);
}

function refused(error: RefusedAnswer, asked: Asked): ProvisionError {
  const { status, s3Code = '' } = error;
  if (status === 412 || status === 416) return changed(asked, `the store answered with ${error.message}`);
  if (DENIED.has(s3Code) || status === 401 || status === 403) {
    return new ProvisionError({
      code: 'STORE_ACCESS_DENIED',
      message: `The store ${asked.endpoint} does not let us read ${asked.name}: ${error.message}.`,
      hint:
        DENIED_HINTS[s3Code] ??
        `Check the credentials, and that their policy allows ${asked.action ?? 's3:GetObject'} there.`,
      cause: error,
    });
  }
  // What cannot be the id of any version there is a bad request (S3, versitygw); HEAD has no body to say more.
  const isNoVersion = status === 400 && asked.version !== undefined;
  if (status === 404 || status === 405 || isNoVersion || MISSING.has(s3Code)) {
    return new ProvisionError({
      code: 'IMAGE_NOT_FOUND',
      message: `There is no ${asked.name} at ${asked.endpoint}: ${error.message}.`,
      hint: 'Check bucket, key and version in the annotation; capital letters count.',
      cause: error,
    });
  }
  const redirect = status >= 300 && status < 400;
  return new ProvisionError({
    code: 'STORE_UNREACHABLE',
    message: `The store ${asked.endpoint} did not give ${asked.name}: ${error.message}.`,
    hint: redirect
      ? 'It redirects elsewhere, which is never followed: put the address of the store itself into the configuration.'
      : 'Look at the store, and at any proxy before it.',
    cause: error,
    retryAfterMs: error.retryAfterMs,
  });
}

function unreachable(error: unknown, asked: Asked): ProvisionError {
  const text = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new ProvisionError({
    code: 'STORE_UNREACHABLE',
    message: `The store ${asked.endpoint} cannot be read (${asked.name}): ${text === '' ? code : text}.`,
    hint:
      error instanceof AddressRefused
        ? `Nothing was sent. Correct what ${asked.endpoint} stands for (DNS, /etc/hosts), or minio.addresses in the configuration.`
        : unreachableHint(code, asked.endpoint),
    cause: error,
  });
}

function unreachableHint(code: string, endpoint: string): string {
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return `Its name cannot be looked up: check the endpoint ${endpoint} in the configuration, and DNS.`;
  }
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED') {
    return `By the clock of this host the certificate of ${endpoint} is not valid now: check the clock (timedatectl), and the certificate's dates.`;
  }
  if (/CERT|TLS|SSL|SELF_SIGNED|ISSUER|SIGNATURE/.test(code)) {
    return `The certificate of ${endpoint} is not trusted: check the CA file in the configuration, and that the endpoint's name is in the certificate.`;
  }
  return `Check that ${endpoint} runs and can be reached from this host.`;
}

/** The pinned object is not there any more; another one may be. */
export function changed(asked: Asked, how: string): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_CHANGED',
    message: `${asked.name} was changed at ${asked.endpoint} while it was read: ${how}.`,
    hint: 'The next attempt reads the new object. Upload images under new keys, or enable versioning of the bucket.',
  });
}

/** An answer that breaks the rules of HTTP ranges. */
export function wrongAnswer(asked: Asked, how: string): ProvisionError {
  return new ProvisionError({
    code: 'STORE_UNREACHABLE',
    message: `The store ${asked.endpoint} did not give the range of ${asked.name} that was asked for: ${how}.`,
    hint: 'Look at the store, and at any proxy or cache before it: it has to support range requests.',
  });
}
