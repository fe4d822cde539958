/** How far a job is, from what is written down of it, the row of its fill and the fill itself. */
import { isJob, ownerOfJob } from '../../core/owner.ts';
import { JOB_TARGET } from '../../core/job.ts';
import type { Job } from '../../core/protocol/job-protocol.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import { plainProblem } from '../../core/errors.ts';
import type { Fills } from '../fill/fills.ts';
import type { JobEnd, JobRecord, Ledger } from '../ports/ledger.ts';

interface StatusNeeds {
  readonly ledger: Ledger;
  readonly fills: Fills;
}

type Progress = Omit<Job, 'id' | 'request' | 'location' | 'by' | 'createdAt'>;

export function statusOfJob(needs: StatusNeeds, job: JobRecord): Job {
  const { id, request, location, by, createdAtMs } = job;
  return {
    ...{ id, request, location: volumeKey(location), by },
    createdAt: new Date(createdAtMs).toISOString(),
    ...(job.end === undefined ? unfinished(needs, job) : ended(needs, job, job.end)),
  };
}

function ended({ ledger }: StatusNeeds, { location, updatedAtMs }: JobRecord, end: JobEnd): Progress {
  const { state, fillId, sha256, problem, bytesDone, bytesTotal, cacheHit } = end;
  const claim = ledger
    .fillsAt(location)
    .find((fill) => fill.fillId === fillId && fill.state === 'ready' && !isJob(fill.domainUuid));
  return {
    ...{ state, bytesDone, updatedAt: new Date(updatedAtMs).toISOString() },
    ...known({ fillId, sha256, bytesTotal, cacheHit, claimedBy: claim?.domainUuid }),
    ...(problem === undefined ? {} : { problem: plainProblem(problem) }),
  };
}

/** One that has failed for a reason that passes waits to be tried again. */
function unfinished({ ledger, fills }: StatusNeeds, { id, updatedAtMs }: JobRecord): Progress {
  const row = ledger.fillOf(ownerOfJob(id), JOB_TARGET);
  const progress = row === undefined ? undefined : fills.progressOf(row.fillId);
  const isRunning = progress !== undefined && progress.phase !== 'waiting';
  const { phase, bytesTotal = 0, bytesDone = 0, from } = progress ?? {};
  return {
    ...{ state: isRunning ? 'running' : 'pending', bytesDone },
    updatedAt: new Date(row?.updatedAtMs ?? updatedAtMs).toISOString(),
    ...known({
      ...{ fillId: row?.fillId, phase: isRunning ? phase : undefined },
      queuePosition: row === undefined ? undefined : fills.queuePositionOf(row.fillId),
      bytesTotal: bytesTotal > 0 ? bytesTotal : undefined,
      cacheHit: from === undefined ? undefined : from === 'cache',
    }),
    ...(row?.problem === undefined || isRunning ? {} : { problem: plainProblem(row.problem) }),
  };
}

/** Without what is undefined. */
function known(fields: { readonly [Key in keyof Progress]?: Progress[Key] | undefined }): Partial<Progress> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
