/** What callers ask for, written down: the same verbs for one caller, with an event for each that changes something. */
import { randomBytes } from 'node:crypto';
import type { AuditEvent } from '../core/audit-event.ts';
import type { ErrorCode } from '../core/errors.ts';
import { toProblem } from '../core/errors.ts';
import type { Job } from '../core/job-protocol.ts';
import { isUuid } from '../core/uuid.ts';
import type {
  AdmitAnswer,
  AuditTrail,
  ControlVerbs,
  GarbageVerbs,
  GateOperation,
  ImageVerbs,
  JobVerbs,
} from './ports.ts';

type About = Omit<AuditEvent, 'at' | 'decision' | 'outcome' | 'problem'>;

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
  const { code, message } = toProblem(error);
  return {
    decision: code === 'POLICY_REFUSED' ? 'denied' : 'allowed',
    outcome: REFUSALS.has(code) ? 'refused' : 'failed',
    problem: { code, message },
  };
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

export interface CallerVerbs {
  readonly verbs: ControlVerbs;
  readonly images: ImageVerbs;
  readonly garbage: GarbageVerbs;
  readonly jobs: JobVerbs;
}

/** The same verbs for the caller `who`. Asking and dry runs change nothing and leave no event. */
export function auditedVerbs(
  { verbs, images, garbage, jobs }: CallerVerbs,
  trail: AuditTrail,
  who: string,
): CallerVerbs {
  const about = (what: string, nameOrUuid = ''): About => ({
    ...{ who, what, correlationId: newCorrelationId() },
    ...(isUuid(nameOrUuid) ? { domain: nameOrUuid } : {}),
  });
  // A job stands where a domain does: its seal names it.
  const ofJob = ({ id, location }: Job): Partial<About> => ({ domain: id, volume: location });
  const domainOf = ({ uuid }: { readonly uuid: string }): Partial<About> => ({ domain: uuid });
  return {
    verbs: {
      domains: () => verbs.domains(),
      domain: (name) => verbs.domain(name),
      explain: (name) => verbs.explain(name),
      handover: (name) => verbs.handover(name),
      // Asked for when the host has just been frozen or thawed.
      look: () =>
        recorded(
          trail,
          about('look'),
          () => verbs.look(),
          ({ frozen }) => ({
            what: frozen === undefined ? 'incident thaw' : 'incident freeze',
          }),
        ),
      annotate: (name, request) => {
        const work = () => verbs.annotate(name, request);
        return request.dryRun === true ? work() : recorded(trail, about('annotate', name), work);
      },
      cancel: (name, target) =>
        recorded(trail, about('cancel', name), () => verbs.cancel(name, target), domainOf),
      retry: (name, target) =>
        recorded(trail, about('retry', name), () => verbs.retry(name, target), domainOf),
      reprovision: (name, request) => {
        const work = () => verbs.reprovision(name, request);
        if (request.dryRun === true) return work();
        return recorded(trail, about('reprovision', name), work, ({ uuid, volume }) => ({
          domain: uuid,
          volume,
        }));
      },
      provision: (xml) => recorded(trail, about('provision'), () => verbs.provision(xml), domainOf),
      receive: (handover) =>
        recorded(trail, about('receive', handover.uuid), () => verbs.receive(handover), domainOf),
    },
    images: {
      images: () => images.images(),
      inspect: (request, signal) => images.inspect(request, signal),
      verify: (request, signal, onProgress) => images.verify(request, signal, onProgress),
      prefetch: (request, signal, onProgress) =>
        recorded(trail, about('image prefetch'), () => images.prefetch(request, signal, onProgress)),
      gc: (all) => recorded(trail, about('image gc'), () => images.gc(all)),
    },
    garbage: {
      collect: (request) => {
        const work = () => garbage.collect(request);
        return request.dryRun === true ? work() : recorded(trail, about('gc'), work);
      },
    },
    jobs: {
      start: (request, by) => recorded(trail, about('job create'), () => jobs.start(request, by), ofJob),
      job: (id) => jobs.job(id),
      jobs: (filter) => jobs.jobs(filter),
      cancel: (id) => recorded(trail, about('job cancel', id), () => jobs.cancel(id), ofJob),
      retry: (id) => recorded(trail, about('job retry', id), () => jobs.retry(id), ofJob),
    },
  };
}

type Admit = (operation: GateOperation, xml: string) => Promise<AdmitAnswer>;

/** The gate, with an event for each decision on a domain. Where it cannot tell, the hook decides by the seals. */
export function auditedGate(admit: Admit, trail: AuditTrail): Admit {
  return async (operation, xml) => {
    const about = (uuid: string | undefined): About => ({
      ...{ what: `gate ${operation}`, correlationId: newCorrelationId() },
      ...(uuid === undefined ? { who: 'unknown' } : { who: `domain:${uuid}`, domain: uuid }),
    });
    try {
      const answer = await admit(operation, xml);
      const [problem] = answer.problems;
      trail.record({
        ...about(answer.domainUuid),
        ...(answer.allowed
          ? { decision: 'allowed', outcome: 'done' }
          : { decision: 'denied', outcome: 'refused' }),
        ...(problem === undefined ? {} : { problem: { code: problem.code, message: problem.message } }),
      });
      return answer;
    } catch (error) {
      const { code, message } = toProblem(error);
      trail.record({
        ...about(undefined),
        decision: 'denied',
        outcome: 'failed',
        problem: { code, message },
      });
      throw error;
    }
  };
}
