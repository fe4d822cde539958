/** How what is done, or was not to be, stands in the audit trail. */
import { randomBytes } from 'node:crypto';
import type { ErrorCode, Problem } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import type { AuditEvent } from '../../core/protocol/audit-event.ts';
import type { AuditTrail } from '../ports/audit.ts';

export type About = Omit<AuditEvent, 'at' | 'decision' | 'outcome' | 'problem'>;

/** What was not done because of what was asked for; everything else has failed. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'USAGE',
  'ANNOTATION_INVALID',
  'DOMAIN_XML_INVALID',
  'DISK_UNSUITABLE',
  'POOL_UNSUITABLE',
  'POOL_INACTIVE',
  'POLICY_REFUSED',
  'VOLUME_NOT_BLANK',
  'VOLUME_OF_OTHER_DOMAIN',
  'VOLUME_GENERATION',
  'VOLUME_MISSING',
  'VOLUME_STATE',
  'KEY_DENIED',
  'KEY_NOT_FOUND',
  'KEY_UNUSABLE',
  'KEY_WRONG',
  'KEY_IN_USE',
  'FROZEN',
  'DOMAIN_NOT_FOUND',
  'DISK_NOT_FOUND',
  'JOB_NOT_FOUND',
]);

/** An id for all that follows from one request. */
export function newCorrelationId(): string {
  return randomBytes(8).toString('hex');
}

/** Decision, outcome and problem of what has ended with an error. */
export function failureOf(error: unknown): Pick<AuditEvent, 'decision' | 'outcome' | 'problem'> {
  const problem = toProblem(error);
  return {
    decision: decisionOf(problem),
    outcome: REFUSALS.has(problem.code) ? 'refused' : 'failed',
    problem: briefly(problem),
  };
}

/** Whether it was this host's policy that did not let it be, or whoever grants keys. */
export function decisionOf({ code }: Problem): AuditEvent['decision'] {
  return code === 'POLICY_REFUSED' || code === 'KEY_DENIED' ? 'denied' : 'allowed';
}

/** Without the hint, which is for whoever is there. */
export function briefly({ code, message }: Problem): { readonly code: string; readonly message: string } {
  return { code, message };
}

/** Does it and writes down how it ended; `learned` is what only the result tells. */
export async function recorded<T>(
  trail: AuditTrail,
  about: About,
  work: () => Promise<T>,
  learned: (result: T) => Partial<About> = () => ({}),
): Promise<T> {
  try {
    const result = await work();
    trail.record({ ...about, ...learned(result), decision: 'allowed', outcome: 'done' });
    return result;
  } catch (error) {
    trail.record({ ...about, ...failureOf(error) });
    throw error;
  }
}
