/**
 * The one error type of the project. Whatever goes wrong for a person to read is said in three parts:
 * what (code), where and which value (message), and what to do next (hint).
 */
export type ErrorCode =
  // The request itself
  | 'ANNOTATION_INVALID'
  | 'DOMAIN_XML_INVALID'
  | 'DISK_UNSUITABLE'
  | 'POOL_UNSUITABLE'
  | 'POOL_INACTIVE'
  | 'CONFIG_INVALID'
  | 'POLICY_REFUSED'
  | 'USAGE'
  // The image
  | 'IMAGE_NOT_FOUND'
  | 'IMAGE_IN_USE'
  | 'IMAGE_CHANGED'
  | 'IMAGE_TRUNCATED'
  | 'IMAGE_MALFORMED'
  | 'IMAGE_FORBIDDEN_FEATURE'
  | 'IMAGE_TOO_LARGE'
  | 'DIGEST_MISSING'
  | 'DIGEST_MISMATCH'
  | 'SIGNATURE_MISSING'
  | 'SIGNATURE_INVALID'
  // The world around us
  | 'STORE_UNREACHABLE'
  | 'STORE_ACCESS_DENIED'
  | 'LIBVIRT_UNAVAILABLE'
  | 'LIBVIRT_FAILED'
  | 'HELPER_UNAVAILABLE'
  | 'HELPER_FAILED'
  | 'DAEMON_UNREACHABLE'
  | 'DEVICE_FAILED'
  | 'STATE_FOLDER_FAILED'
  | 'VG_FULL'
  | 'QUEUE_FULL'
  | 'FILL_DEADLINE'
  | 'TIMEOUT'
  // The volume
  | 'VOLUME_NOT_BLANK'
  | 'VOLUME_OF_OTHER_DOMAIN'
  | 'VOLUME_GENERATION'
  | 'VOLUME_MISSING'
  | 'VOLUME_STATE'
  | 'GOLDEN_IN_USE'
  | 'GOLDEN_DAMAGED'
  // The key of an encrypted volume
  | 'KEY_DENIED'
  | 'KEY_NOT_FOUND'
  | 'KEY_SERVER_UNREACHABLE'
  | 'KEY_UNUSABLE'
  | 'KEY_WRONG'
  | 'KEY_IN_USE'
  // The host
  | 'FROZEN'
  // The request's life
  | 'DOMAIN_NOT_FOUND'
  | 'DISK_NOT_FOUND'
  | 'JOB_NOT_FOUND'
  | 'CANCELLED'
  | 'INTERNAL';

/** Errors that a later try may not meet again although nobody changed the request. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'STORE_UNREACHABLE',
  'STORE_ACCESS_DENIED',
  'LIBVIRT_UNAVAILABLE',
  'LIBVIRT_FAILED',
  'HELPER_UNAVAILABLE',
  'HELPER_FAILED',
  'DEVICE_FAILED',
  'STATE_FOLDER_FAILED',
  'VG_FULL',
  'QUEUE_FULL',
  'FILL_DEADLINE',
  'TIMEOUT',
  'IMAGE_CHANGED',
  'IMAGE_NOT_FOUND',
  'IMAGE_IN_USE',
  'POOL_UNSUITABLE',
  'POOL_INACTIVE',
  'FROZEN',
  'GOLDEN_IN_USE',
  'KEY_DENIED',
  'KEY_NOT_FOUND',
  'KEY_SERVER_UNREACHABLE',
]);

/** A failure as it is stored in the ledger and sent over sockets. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
}

export class ProvisionError extends Error implements Problem {
  override readonly name = 'ProvisionError';
  readonly code: ErrorCode;
  readonly hint?: string | undefined;
  /** The store asked not to be called again sooner. */
  readonly retryAfterMs?: number | undefined;

  constructor(problem: Problem & { readonly cause?: unknown; readonly retryAfterMs?: number | undefined }) {
    super(problem.message, problem.cause === undefined ? undefined : { cause: problem.cause });
    this.code = problem.code;
    this.hint = problem.hint;
    this.retryAfterMs = problem.retryAfterMs;
  }
}

/** True for failures worth trying again by themselves, after a pause. */
export function isPassing(problem: Problem): boolean {
  return PASSING.has(problem.code);
}

/** What went wrong, whoever threw it; an unexpected error keeps its text and becomes INTERNAL. */
export function toProblem(error: unknown): Problem {
  if (error instanceof ProvisionError) return plainProblem(error);
  return {
    code: 'INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    hint: 'This is a defect of the provisioner; the journal of libvirt-volume-provisioner has the details.',
  };
}

/** One line for a terminal, a log or libvirt's error message. */
export function describeProblem(problem: Problem): string {
  return problem.hint === undefined ? problem.message : `${problem.message} ${problem.hint}`;
}

/** Without the fields of subclasses and without undefined ones, for JSON. */
export function plainProblem({ code, message, hint }: Problem): Problem & { readonly hint?: string } {
  return { code, message, ...(hint === undefined ? {} : { hint }) };
}
