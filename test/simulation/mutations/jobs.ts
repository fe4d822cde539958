/** Volumes that are asked for without a domain: who gets them, and what becomes of jobs that are cut off. */
import type { Mutant } from './mutant.ts';

export const JOBS: readonly Mutant[] = [
  {
    name: 'what a job has filled is claimed whatever its digest',
    killedBy: 'exact-bytes',
    changes: [
      {
        file: 'core/plan/claim.ts',
        from: 'if (sha256 !== undefined) return sha256 === seal.sha256;',
        to: 'if (sha256 !== undefined) return true;',
      },
    ],
  },
  {
    name: 'what a job has filled is claimed whatever its image',
    killedBy: 'exact-bytes',
    changes: [
      { file: 'core/plan/claim.ts', from: '[seal.image === imageTag(request.image), ', to: '[true, ' },
    ],
  },
  {
    name: 'a job is not gone on with after a restart',
    killedBy: 'ready-in-the-end',
    changes: [
      {
        file: 'provision/reconcile.ts',
        from: 'for (const { id } of ledger.unfinishedJobs()) this.#queue.add(ownerOfJob(id));',
        to: '',
      },
    ],
  },
  {
    name: 'the row of a job that has ended is kept',
    killedBy: 'in-agreement',
    changes: [
      {
        file: 'provision/reconcile.ts',
        from: 'for (const { domainUuid } of ledger.fills()) if (isJob(domainUuid)) this.#queue.add(domainUuid);',
        to: '',
      },
    ],
  },
  {
    name: 'a job that was cancelled while everything was read is begun again',
    killedBy: 'in-agreement',
    changes: [
      {
        file: 'provision/reconcile/domain-actions.ts',
        from: 'if (jobs.unfinished(domain.uuid) !== undefined) disks.act(planned, undefined);',
        to: 'disks.act(planned, undefined);',
      },
    ],
  },
];
