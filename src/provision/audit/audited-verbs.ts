/** What callers ask for, written down: the same verbs for one caller, with an event for each that changes something. */
import { toProblem } from '../../core/errors.ts';
import { ownerOfJob } from '../../core/owner.ts';
import type { Job } from '../../core/protocol/job-protocol.ts';
import { isUuid } from '../../core/uuid.ts';
import type { AuditTrail } from '../ports/audit.ts';
import type {
  AdmitAnswer,
  ControlVerbs,
  GarbageVerbs,
  GateOperation,
  ImageVerbs,
  JobVerbs,
  KeyVerbs,
} from '../ports/verbs.ts';
import type { About } from './recorded.ts';
import { briefly, newCorrelationId, recorded } from './recorded.ts';

export interface CallerVerbs {
  readonly verbs: ControlVerbs;
  readonly images: ImageVerbs;
  readonly garbage: GarbageVerbs;
  readonly jobs: JobVerbs;
  readonly keys?: KeyVerbs | undefined;
}

/** The same verbs for the caller `who`. Asking and dry runs change nothing and leave no event. */
export function auditedVerbs(
  { verbs, images, garbage, jobs, keys }: CallerVerbs,
  trail: AuditTrail,
  who: string,
): CallerVerbs {
  const about = (what: string, nameOrUuid = ''): About => ({
    ...{ who, what, correlationId: newCorrelationId() },
    ...(isUuid(nameOrUuid) ? { domain: nameOrUuid } : {}),
  });
  return {
    verbs: auditedDomains(verbs, trail, about),
    images: {
      images: () => images.images(),
      stored: () => images.stored(),
      inspect: (request, signal) => images.inspect(request, signal),
      verify: (request, signal, onProgress) => images.verify(request, signal, onProgress),
      prefetch: (request, signal, onProgress) =>
        recorded(trail, about('image prefetch'), () => images.prefetch(request, signal, onProgress)),
      rm: (names) => recorded(trail, about('image rm'), () => images.rm(names)),
      gc: (all) => recorded(trail, about('image gc'), () => images.gc(all)),
    },
    garbage: {
      collect: (request) => {
        const work = () => garbage.collect(request);
        return request.dryRun === true ? work() : recorded(trail, about('gc'), work);
      },
    },
    jobs: auditedJobs(jobs, trail, about),
    ...(keys && { keys: auditedKeys(keys, trail, about) }),
  };
}

/** What an event is about: the verb, and the domain where it is named by its UUID. */
type AboutOf = (what: string, nameOrUuid?: string) => About;

function auditedDomains(verbs: ControlVerbs, trail: AuditTrail, about: AboutOf): ControlVerbs {
  const domainOf = ({ uuid }: { readonly uuid: string }): Partial<About> => ({ domain: uuid });
  return {
    domains: () => verbs.domains(),
    domain: (name) => verbs.domain(name),
    disks: (name) => verbs.disks(name),
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
    retry: (name, target) => recorded(trail, about('retry', name), () => verbs.retry(name, target), domainOf),
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
  };
}

function auditedJobs(jobs: JobVerbs, trail: AuditTrail, about: AboutOf): JobVerbs {
  const aboutJob = (what: string, id: string): About => ({
    ...about(what),
    ...(isUuid(id) ? { domain: ownerOfJob(id) } : {}),
  });
  // A job stands where a domain does: its seal names it.
  const ofJob = ({ id, location }: Job): Partial<About> => ({ domain: ownerOfJob(id), volume: location });
  return {
    start: (request, by) => recorded(trail, about('job create'), () => jobs.start(request, by), ofJob),
    job: (id) => jobs.job(id),
    jobs: (filter) => jobs.jobs(filter),
    cancel: (id) => recorded(trail, aboutJob('job cancel', id), () => jobs.cancel(id), ofJob),
    retry: (id) => recorded(trail, aboutJob('job retry', id), () => jobs.retry(id), ofJob),
  };
}

function auditedKeys(keys: KeyVerbs, trail: AuditTrail, about: AboutOf): KeyVerbs {
  return {
    rotate: (request) => {
      const work = () => keys.rotate(request);
      if (request.dryRun === true) return work();
      const asked = { ...about('key rotate', request.domain), key: request.to };
      return recorded(trail, asked, work, ({ uuid, volume }) => ({ domain: uuid, volume }));
    },
    erase: (request) => {
      const work = () => keys.erase(request);
      if (request.dryRun === true) return work();
      const { volume } = request;
      const asked = { ...about('incident crypto-erase', request.domain), ...(volume && { volume }) };
      return recorded(trail, asked, work, (done) => ({ domain: done.domain, volume: done.volume }));
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
        ...(problem === undefined ? {} : { problem: briefly(problem) }),
      });
      return answer;
    } catch (error) {
      const problem = briefly(toProblem(error));
      trail.record({ ...about(undefined), decision: 'denied', outcome: 'failed', problem });
      throw error;
    }
  };
}
