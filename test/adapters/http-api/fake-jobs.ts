/** Jobs in memory: they begin at once, end when a test says so, and touch nothing. */
import { randomUUID } from 'node:crypto';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { Job, JobFilter, JobRequest, Jobs } from '../../../src/core/protocol/job-protocol.ts';
import type { JobVerbs } from '../../../src/provision/ports/verbs.ts';

export class FakeJobs implements JobVerbs {
  readonly #jobs = new Map<string, Job>();
  /** What `start` fails with. */
  refusal: ProvisionError | undefined;
  #made = 0;

  start(request: JobRequest, by: string): Promise<Job> {
    if (this.refusal !== undefined) return Promise.reject(this.refusal);
    this.#made += 1;
    const at = new Date(Date.UTC(2026, 0, 1) + this.#made * 1_000).toISOString();
    const job: Job = {
      ...{ id: randomUUID(), state: 'pending', request, location: `vg0/${request.volume}`, by },
      ...{ queuePosition: 0, bytesDone: 0, createdAt: at, updatedAt: at },
    };
    this.#jobs.set(job.id, job);
    return Promise.resolve(job);
  }

  job(id: string): Promise<Job> {
    const job = this.#jobs.get(id);
    if (job !== undefined) return Promise.resolve(job);
    const hint = 'See: GET /api/v1/jobs';
    return Promise.reject(
      new ProvisionError({ code: 'JOB_NOT_FOUND', message: `There is no job ${id}.`, hint }),
    );
  }

  jobs({ state, volume, limit, after }: JobFilter): Promise<Jobs> {
    const newest = [...this.#jobs.values()].toReversed();
    const from = after === undefined ? 0 : newest.findIndex(({ id }) => id === after) + 1;
    const jobs = newest
      .slice(from)
      .filter((job) => state === undefined || job.state === state)
      .filter((job) => volume === undefined || job.request.volume === volume)
      .slice(0, limit);
    return Promise.resolve({ jobs });
  }

  async cancel(id: string): Promise<Job> {
    const { state } = await this.job(id);
    if (!['pending', 'running'].includes(state)) throw this.#ended(state);
    return this.set(id, { state: 'cancelled' });
  }

  async retry(id: string): Promise<Job> {
    const { state } = await this.job(id);
    if (!['failed', 'cancelled'].includes(state)) throw this.#ended(state);
    return this.set(id, { state: 'pending' });
  }

  /** What becomes of a job. */
  async set(id: string, change: Partial<Job>): Promise<Job> {
    const job = { ...(await this.job(id)), ...change };
    this.#jobs.set(id, job);
    return job;
  }

  get count(): number {
    return this.#jobs.size;
  }

  #ended(state: string): ProvisionError {
    return new ProvisionError({ code: 'VOLUME_STATE', message: `The job is ${state}.` });
  }
}
