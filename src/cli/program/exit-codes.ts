/** What lvp's exit codes mean; the same table stands in `lvp --help` and in docs/operate.md. */
import type { ErrorCode, Problem } from '../../core/errors.ts';
import type { DomainStatus } from '../../core/protocol/control-protocol.ts';
import type { HttpCode } from '../../core/protocol/http-code.ts';

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  unreachable: 4,
  notReady: 5,
  findings: 6,
  warnings: 7,
  unwell: 8,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** In the words of `lvp --help`, and of its manual page. */
export const EXIT_MEANINGS: readonly (readonly [ExitCode, string])[] = [
  [EXIT.ok, 'done; for status: every volume is ready, or the job is completed'],
  [EXIT.failed, 'the operation failed; for status: a volume, or the job, has failed'],
  [EXIT.usage, 'the command line is wrong, nothing was done'],
  [EXIT.notFound, 'there is no such domain, disk, job or key'],
  [EXIT.unreachable, 'the provisioner cannot be reached'],
  [EXIT.notReady, 'refused; for status: not ready yet, or held, cancelled or refused'],
  [EXIT.findings, 'for gc: something is left over that was not repaired'],
  [EXIT.warnings, 'for doctor: warnings, or checks that could not be made'],
  [EXIT.unwell, 'for doctor: a check has failed'],
];

export const EXIT_HELP = `Exit codes:\n${EXIT_MEANINGS.map(([code, meaning]) => `  ${code}  ${meaning}`).join('\n')}`;

const CODE_OF: Partial<Record<ErrorCode | HttpCode, ExitCode>> = {
  USAGE: EXIT.usage,
  ANNOTATION_INVALID: EXIT.usage,
  DOMAIN_NOT_FOUND: EXIT.notFound,
  DISK_NOT_FOUND: EXIT.notFound,
  JOB_NOT_FOUND: EXIT.notFound,
  KEY_NOT_FOUND: EXIT.notFound,
  DAEMON_UNREACHABLE: EXIT.unreachable,
  // As who may not open the control socket.
  UNAUTHORIZED: EXIT.unreachable,
  FORBIDDEN: EXIT.notReady,
  DISK_UNSUITABLE: EXIT.notReady,
  POOL_UNSUITABLE: EXIT.notReady,
  POOL_INACTIVE: EXIT.notReady,
  POLICY_REFUSED: EXIT.notReady,
  KEY_DENIED: EXIT.notReady,
  KEY_IN_USE: EXIT.notReady,
  IMAGE_IN_USE: EXIT.notReady,
  VOLUME_NOT_BLANK: EXIT.notReady,
  VOLUME_OF_OTHER_DOMAIN: EXIT.notReady,
  VOLUME_GENERATION: EXIT.notReady,
  VOLUME_MISSING: EXIT.notReady,
  VOLUME_STATE: EXIT.notReady,
  FROZEN: EXIT.notReady,
};

export function exitCodeOf(problem: Problem): ExitCode {
  return CODE_OF[problem.code] ?? EXIT.failed;
}

/** A failed volume outweighs one that is merely not ready. */
export function exitCodeOfStatus(domain: DomainStatus): ExitCode {
  if (domain.volumes.some(({ state }) => state === 'failed')) return EXIT.failed;
  const isReady = domain.volumes.every(({ state }) => state === 'ready') && domain.problems.length === 0;
  return isReady ? EXIT.ok : EXIT.notReady;
}

/** Whether the state of a volume changes without anybody doing anything. */
export function isUnderWay(domain: DomainStatus): boolean {
  if (domain.problems.some(({ code }) => code === 'FROZEN')) return false;
  return domain.volumes.some(({ state }) => ['planned', 'waiting', 'filling', 'publishing'].includes(state));
}
