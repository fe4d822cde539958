/**
 * When a job is over, and what is written down of it. Until then the row of its fill says how far it is; that row
 * goes with the end, so that what follows (a claim, another job) finds no trace of it but the seal.
 */
import type { ErrorCode, Problem } from '../../core/errors.ts';
import { isPassing } from '../../core/errors.ts';
import { JOB_TARGET } from '../../core/job.ts';
import { jobIdOf, ownerOfJob } from '../../core/owner.ts';
import type { Plan } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { FillProgress } from '../fill/fill-progress.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { FillRecord, JobEnd, JobRecord, Ledger } from '../ports/ledger.ts';

export interface JobEndsNeeds {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
}

/** What may pass, but is more likely a mistake of whoever asked, who waits for an answer and not for that. */
const TOLD_AT_ONCE: ReadonlySet<ErrorCode> = new Set([
  'IMAGE_NOT_FOUND',
  'IMAGE_CHANGED',
  'STORE_ACCESS_DENIED',
  'POOL_UNSUITABLE',
  'VG_FULL',
]);

/** Whether the job has failed with this; what else passes by itself is tried again within the same job. */
function endsJob(problem: Problem): boolean {
  return !isPassing(problem) || TOLD_AT_ONCE.has(problem.code);
}

export class JobEnds {
  readonly #needs: JobEndsNeeds;

  constructor(needs: JobEndsNeeds) {
    this.#needs = needs;
  }

  /** The job of this owner, if there is one that goes on. */
  unfinished(owner: string): JobRecord | undefined {
    const job = this.#needs.ledger.jobOf(jobIdOf(owner) ?? '');
    return job?.end === undefined ? job : undefined;
  }

  /** A fill has ended, and its row says how; it may be of a job that goes on. */
  settled(record: FillRecord, progress: FillProgress): void {
    const job = this.unfinished(record.domainUuid);
    if (job === undefined) return;
    const { bytesDone, bytesTotal, from } = progress;
    const counted = {
      ...(bytesTotal > 0 ? { bytesTotal } : {}),
      ...(from === undefined ? {} : { cacheHit: from === 'cache' }),
    };
    // Its row is not the ledger's any more if it was dropped.
    const row = this.#needs.ledger.fillOf(record.domainUuid, JOB_TARGET);
    if (row?.state === 'ready') {
      this.#end(job, { state: 'completed', ...sealedBy(row), ...counted, bytesDone: bytesTotal });
    } else if (row !== undefined) this.#endAs(job, row, { ...counted, bytesDone });
  }

  /** What is planned for a job that no fill runs for, once that was acted on. */
  planned({ domain, disks, problems }: Plan): void {
    const job = this.unfinished(domain.uuid);
    const [disk] = disks;
    if (job === undefined || disk === undefined || problems.length > 0) return;
    const row = this.#needs.ledger.fillOf(domain.uuid, JOB_TARGET);
    if (disk.action === 'none' || row?.state === 'ready') this.#complete(job, row, disk);
    else if (disk.action === 'refuse')
      this.#end(job, { state: 'failed', problem: disk.problem, bytesDone: 0 });
    else if (disk.action === 'hold' && row !== undefined) this.#endAs(job, row, { bytesDone: 0 });
  }

  /** A domain claims what the job has filled, which the job may not know to be finished yet. */
  claimed(owner: string, seal: { readonly fillId: string; readonly sha256: string }): void {
    const job = this.unfinished(owner);
    if (job === undefined) this.#needs.ledger.removeFill(owner, JOB_TARGET);
    else this.#end(job, { state: 'completed', fillId: seal.fillId, sha256: seal.sha256, bytesDone: 0 });
  }

  /** Nothing of it runs any more. */
  cancelled(job: JobRecord): void {
    const problem: Problem = {
      code: 'CANCELLED',
      message: 'The job was cancelled.',
      hint: 'Run `lvp job retry` to begin it again.',
    };
    this.#end(job, { state: 'cancelled', problem, bytesDone: 0 });
  }

  /** A row that a crash, or a full disk, has kept from going with the end. */
  tidy(owner: string, running: ReadonlySet<string>): void {
    const { ledger } = this.#needs;
    const row = ledger.fillOf(owner, JOB_TARGET);
    if (row !== undefined && !running.has(row.fillId)) ledger.removeFill(owner, JOB_TARGET);
  }

  #complete(job: JobRecord, row: FillRecord | undefined, disk: Plan['disks'][number]): void {
    const sealed = disk.action === 'none' ? { fillId: disk.fillId, sha256: disk.sha256 } : sealedBy(row);
    this.#end(job, { state: 'completed', ...sealed, bytesDone: 0 });
  }

  #endAs(job: JobRecord, row: FillRecord, counted: Omit<JobEnd, 'state'>): void {
    const { state, problem, fillId } = row;
    if (state === 'cancelled') this.#end(job, { state, problem, ...counted });
    if (state !== 'failed' || problem === undefined || !endsJob(problem)) return;
    this.#end(job, { state, problem, fillId, ...counted });
  }

  /** First the end, then the row goes: of a job that has ended, a row is nothing. */
  #end(job: JobRecord, end: JobEnd): void {
    const { ledger, clock, log } = this.#needs;
    ledger.putJob({ ...job, end, updatedAtMs: clock.nowMs() });
    ledger.removeFill(ownerOfJob(job.id), JOB_TARGET);
    const { state, problem } = end;
    const fields = { job: job.id, volume: volumeKey(job.location), by: job.by };
    if (problem === undefined) log.info({ ...fields, state }, 'a job has ended');
    else log.warn({ ...fields, state, problem }, 'a job has ended');
  }
}

function sealedBy(row: FillRecord | undefined): Pick<JobEnd, 'fillId' | 'sha256'> {
  return row === undefined ? {} : { fillId: row.fillId, sha256: row.sha256 };
}
