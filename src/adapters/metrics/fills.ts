/** Fills: how many there are, how they end, and how long their parts take. */
import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';
import type { FillRecord, Ledger } from '../../provision/ports/ledger.ts';
import type { FillEnd, FillWatch } from '../../provision/ports/watches.ts';
import { secondsSince } from './since.ts';

/** From a small image in the cache to a large one over a slow line. */
const DURATION_BUCKETS_SECONDS = [0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600];

export interface FillSources {
  readonly ledger: Pick<Ledger, 'fills'>;
  readonly fills: { readonly queuedCount: number; readonly activeCount: number };
}

interface Phase {
  readonly phase: string;
  readonly sinceMs: number;
}

/** The Go provisioner's word for each end. */
const JOB_STATUS = { published: 'completed', failed: 'failed', cancelled: 'cancelled' } as const;

export class FillMetrics implements FillWatch {
  readonly #begun;
  readonly #ended;
  readonly #durations;
  readonly #phases;
  readonly #jobs;
  readonly #states;
  readonly #queued;
  readonly #active;
  readonly #jobsActive;
  readonly #running = new Map<string, { readonly sinceMs: number; current: Phase }>();
  #sources: FillSources | undefined;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#begun = new Counter({ name: 'lvp_fills_begun_total', help: 'Fills that began to run.', registers });
    this.#ended = new Counter({
      name: 'lvp_fills_ended_total',
      help: 'Fills that ended, by outcome, and by error code where there is one.',
      labelNames: ['outcome', 'reason'],
      registers,
    });
    this.#durations = new Histogram({
      name: 'lvp_fill_duration_seconds',
      help: 'Time from the beginning of a fill to its end, by outcome.',
      labelNames: ['outcome'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers,
    });
    this.#phases = new Histogram({
      name: 'lvp_fill_phase_duration_seconds',
      help: 'Time that a fill spent in one of its phases.',
      labelNames: ['phase'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers,
    });
    this.#jobs = new Counter({
      name: 'libvirt_volume_provisioner_jobs_total',
      help: 'Fills by status, as the Go provisioner called it.',
      labelNames: ['status'],
      registers,
    });
    // Asked once for all of them, at a reading of the first.
    this.#states = new Gauge({
      name: 'lvp_fills',
      help: 'Disks of annotated domains by the state of their latest fill, and by error code where it has one.',
      labelNames: ['state', 'reason'],
      registers,
      collect: () => {
        this.#read();
      },
    });
    this.#queued = new Gauge({
      name: 'lvp_fills_queued',
      help: 'Fills that wait for their turn.',
      registers,
    });
    this.#active = new Gauge({ name: 'lvp_fills_active', help: 'Fills that run.', registers });
    this.#jobsActive = new Gauge({
      name: 'libvirt_volume_provisioner_active_jobs',
      help: 'Fills that run, as the Go provisioner called it.',
      registers,
    });
    for (const status of ['started', ...Object.values(JOB_STATUS)]) this.#jobs.inc({ status }, 0);
    for (const outcome of Object.keys(JOB_STATUS)) this.#ended.inc({ outcome, reason: '' }, 0);
  }

  ask(sources: FillSources): void {
    this.#sources = sources;
  }

  begun({ fillId }: FillRecord, writes: boolean): void {
    if (!writes) return;
    const sinceMs = performance.now();
    this.#running.set(fillId, { sinceMs, current: { phase: 'resolving', sinceMs } });
    this.#begun.inc();
    this.#jobs.inc({ status: 'started' });
  }

  entered({ fillId }: FillRecord, phase: string): void {
    const running = this.#running.get(fillId);
    if (running === undefined || running.current.phase === phase) return;
    this.#endPhase(running.current);
    running.current = { phase, sinceMs: performance.now() };
  }

  ended({ fillId }: FillRecord, writes: boolean, end: FillEnd): void {
    const running = this.#running.get(fillId);
    this.#running.delete(fillId);
    if (!writes && end.how === 'published') return;
    const reason = 'problem' in end ? end.problem.code : '';
    this.#ended.inc({ outcome: end.how, reason });
    if (end.how !== 'stopped') this.#jobs.inc({ status: JOB_STATUS[end.how] });
    if (running === undefined) return;
    this.#endPhase(running.current);
    this.#durations.observe({ outcome: end.how }, secondsSince(running.sinceMs));
  }

  #endPhase({ phase, sinceMs }: Phase): void {
    this.#phases.observe({ phase }, secondsSince(sinceMs));
  }

  #read(): void {
    this.#states.reset();
    if (this.#sources === undefined) return;
    const { ledger, fills } = this.#sources;
    for (const { state, problem } of ledger.fills()) {
      const reason = state === 'failed' || state === 'cancelled' ? (problem?.code ?? '') : '';
      this.#states.inc({ state, reason });
    }
    this.#queued.set(fills.queuedCount);
    this.#active.set(fills.activeCount);
    this.#jobsActive.set(fills.activeCount);
  }
}
