/**
 * Volumes that are asked for without a domain. A job is planned, filled and published like a disk of a domain that
 * libvirt does not know, so it can do nothing that an annotation could not.
 */
import { randomUUID } from 'node:crypto';
import type { Problem } from '../../core/errors.ts';
import { ProvisionError } from '../../core/errors.ts';
import { domainOfJob, JOB_TARGET } from '../../core/job.ts';
import type { Job, JobFilter, JobRequest, Jobs } from '../../core/protocol/job-protocol.ts';
import { ownerOfJob } from '../../core/owner.ts';
import type { Plan } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { LogicalVolume } from '../../core/volume/volume.ts';
import { readMark } from '../../core/volume/volume.ts';
import { statusOfJob } from './job-status.ts';
import { observe } from '../observe.ts';
import { placeOfJob } from './place-of-job.ts';
import type { FillRecord, JobRecord } from '../ports/ledger.ts';
import type { JobVerbs } from '../ports/verbs.ts';
import { reclaim } from '../ends/reclaim.ts';
import type { ReconcileNeeds, Reconciler } from '../reconcile.ts';

/** So many may wait or run, far more than fills may wait for their turn. */
const UNFINISHED_MAX = 10_000;
/** Ending a fill, finding it being published, finding it begun again: more turns than that are no progress. */
const CANCEL_TURNS_MAX = 8;

export type JobNeeds = ReconcileNeeds & { readonly reconciler: Reconciler };

export class VolumeJobs implements JobVerbs {
  readonly #needs: JobNeeds;

  constructor(needs: JobNeeds) {
    this.#needs = needs;
  }

  async start(request: JobRequest, by: string): Promise<Job> {
    const location = await placeOfJob(this.#needs, request);
    const nowMs = this.#needs.clock.nowMs();
    const job = { id: randomUUID(), request, location, by, createdAtMs: nowMs, updatedAtMs: nowMs };
    await this.#begin(job, undefined);
    return this.job(job.id);
  }

  async job(id: string): Promise<Job> {
    return Promise.resolve(statusOfJob(this.#needs, this.#require(id)));
  }

  async jobs({ state, volume: lv, limit, after }: JobFilter): Promise<Jobs> {
    const { ledger } = this.#needs;
    const before = after === undefined ? undefined : this.#require(after);
    const isUnfinished = state === 'pending' || state === 'running';
    const records = isUnfinished
      ? ledger.jobs({ end: 'none', lv, before, limit: UNFINISHED_MAX })
      : ledger.jobs({ end: state, lv, before, limit });
    const jobs = records.map((record) => statusOfJob(this.#needs, record));
    const chosen = isUnfinished ? jobs.filter((job) => job.state === state).slice(0, limit) : jobs;
    return Promise.resolve({ jobs: chosen });
  }

  async cancel(id: string): Promise<Job> {
    const { reconciler } = this.#needs;
    await this.#end(this.#require(id));
    await reclaim(this.#needs, reconciler.arrivals);
    const { volumes } = await this.#needs.volumes.list();
    const left = volumes.find(({ tags }) => isFillingFor(tags, ownerOfJob(id)));
    if (left !== undefined) {
      throw new ProvisionError({
        code: 'VOLUME_STATE',
        message: `Job ${id} is cancelled, but its volume ${volumeKey(left)} could not be removed yet.`,
        hint: 'It is removed by itself; the journal says what is in the way, and lvp gc tries at once.',
      });
    }
    return this.job(id);
  }

  async retry(id: string): Promise<Job> {
    const { clock, reconciler } = this.#needs;
    const job = this.#require(id);
    if (job.end?.state === 'completed') throw hasEnded(job, 'so there is nothing to be tried again');
    if (job.end === undefined) {
      reconciler.pauses.end(ownerOfJob(id));
      reconciler.request(ownerOfJob(id));
    } else await this.#begin({ ...job, end: undefined, updatedAtMs: clock.nowMs() }, job);
    return this.job(id);
  }

  /** Plans it and begins its fill, or throws what is in the way; `before` is what was written down of it until now. */
  async #begin(job: JobRecord, before: JobRecord | undefined): Promise<void> {
    const { ledger, reconciler } = this.#needs;
    const domain = domainOfJob(job);
    const observation = await observe(this.#needs, [domain]);
    // Nothing is waited for from here on: what was read is true until it is acted on.
    if (ledger.jobOf(job.id)?.updatedAtMs !== before?.updatedAtMs) throw overtaken(job);
    const planned = observation.plan(domain);
    const obstacle = obstacleOf(planned) ?? this.#tooMany();
    if (obstacle !== undefined) throw new ProvisionError(obstacle);
    ledger.putJob(job);
    reconciler.act(planned, undefined);
    reconciler.jobs.planned(planned);
    const row = this.#rowOf(job);
    // It has not even got into the queue: whoever asked is there to be told.
    if (row?.state !== 'failed' || row.problem === undefined) return;
    ledger.removeFill(row.domainUuid, JOB_TARGET);
    if (before === undefined) ledger.removeJob(job.id);
    else ledger.putJob(before);
    throw new ProvisionError(row.problem);
  }

  /** Resolves when it is written down as cancelled; VOLUME_STATE if it has ended before, or its volume is finished. */
  async #end(job: JobRecord): Promise<void> {
    const { fills, ledger, reconciler, volumes } = this.#needs;
    const owner = ownerOfJob(job.id);
    let isEnded = false;
    for (let turn = 0; turn < CANCEL_TURNS_MAX; turn++) {
      const found = await volumes.list();
      const now = ledger.jobOf(job.id) ?? job;
      if (isEnded && now.end?.state === 'cancelled') return;
      if (now.end !== undefined) throw hasEnded(now, 'so there is nothing to be cancelled');
      if (found.volumes.some(({ tags }) => isSealedFor(tags, owner))) throw isFinished(now);
      const row = this.#rowOf(now);
      if (row === undefined || !fills.running.has(row.fillId)) {
        reconciler.jobs.cancelled(now);
        return;
      }
      // A seal that is just being set cannot be taken back.
      if (fills.progressOf(row.fillId)?.phase !== 'publishing') {
        fills.cancel(row.fillId, 'cancelled by hand', 'kept');
        isEnded = true;
      }
      await fills.settled([row.fillId]);
    }
    throw new ProvisionError({
      code: 'TIMEOUT',
      message: `Job ${job.id} was begun again and again while it was to be cancelled.`,
      hint: `Look at it with lvp job status ${job.id}, and try again.`,
    });
  }

  #rowOf({ id }: JobRecord): FillRecord | undefined {
    return this.#needs.ledger.fillOf(ownerOfJob(id), JOB_TARGET);
  }

  #require(id: string): JobRecord {
    const job = this.#needs.ledger.jobOf(id);
    if (job !== undefined) return job;
    throw new ProvisionError({
      code: 'JOB_NOT_FOUND',
      message: `There is no job ${id}, or it is so old that it was forgotten.`,
      hint: 'See `lvp job list`.',
    });
  }

  #tooMany(): Problem | undefined {
    if (this.#needs.ledger.unfinishedJobs().length < UNFINISHED_MAX) return undefined;
    return {
      code: 'QUEUE_FULL',
      message: `${UNFINISHED_MAX} jobs wait or run already, which is as many as may.`,
      hint: 'Try again when some of them have ended; lvp job list --state pending shows them.',
    };
  }
}

/** What keeps it from being begun at once. A job does not wait for that, as a domain does. */
function obstacleOf({ problems, disks }: Plan): Problem | undefined {
  const [problem] = problems;
  if (problem !== undefined) return problem;
  const [disk] = disks;
  return disk?.action === 'refuse' || disk?.action === 'hold' ? disk.problem : undefined;
}

function isSealedFor(tags: LogicalVolume['tags'], owner: string): boolean {
  const mark = readMark(tags);
  return mark.state === 'ready' && mark.domainUuid === owner;
}

function isFillingFor(tags: LogicalVolume['tags'], owner: string): boolean {
  const mark = readMark(tags);
  return mark.state === 'filling' && mark.domainUuid === owner;
}

function hasEnded({ id, end }: JobRecord, so: string): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `Job ${id} has ended (${end?.state ?? 'not yet'}), ${so}.`,
    hint: `See lvp job status ${id}.`,
  });
}

function isFinished({ id, location }: JobRecord): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `Volume ${volumeKey(location)} of job ${id} is finished, so there is nothing to be cancelled.`,
    hint: 'If nobody needs it, delete it once it is published (virsh vol-delete).',
  });
}

function overtaken({ id }: JobRecord): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `Job ${id} was begun or changed by somebody else at this moment.`,
    hint: `See lvp job status ${id}.`,
  });
}
