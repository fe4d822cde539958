/** Jobs: how many there are, by state. */
import type { Registry } from 'prom-client';
import { Gauge } from 'prom-client';
import { isJob } from '../../core/owner.ts';
import type { Ledger } from '../../provision/ports/ledger.ts';

export interface JobSources {
  readonly ledger: Pick<Ledger, 'fills' | 'jobCounts'>;
}

const RUNNING: ReadonlySet<string> = new Set(['filling', 'publishing']);

export class JobMetrics {
  readonly #jobs;
  #sources: JobSources | undefined;

  constructor(registry: Registry) {
    this.#jobs = new Gauge({
      name: 'lvp_jobs',
      help: 'Jobs that are remembered, by state, and by error code where they failed.',
      labelNames: ['state', 'reason'],
      registers: [registry],
      collect: () => {
        this.#read();
      },
    });
  }

  ask(sources: JobSources): void {
    this.#sources = sources;
  }

  #read(): void {
    this.#jobs.reset();
    if (this.#sources === undefined) return;
    const { ledger } = this.#sources;
    const running = ledger
      .fills()
      .filter(({ domainUuid, state }) => isJob(domainUuid) && RUNNING.has(state)).length;
    let unfinished = 0;
    for (const { end, reason, count } of ledger.jobCounts()) {
      if (end === 'none') unfinished = count;
      else this.#jobs.set({ state: end, reason }, count);
    }
    this.#jobs.set({ state: 'running', reason: '' }, running);
    // The row of a job's fill may be a moment older than its end.
    this.#jobs.set({ state: 'pending', reason: '' }, Math.max(0, unfinished - running));
  }
}
