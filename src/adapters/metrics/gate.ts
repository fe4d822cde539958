/** The gate: what it decides, and how long whoever pressed start waits for that. */
import type { Registry } from 'prom-client';
import { Counter, Histogram } from 'prom-client';
import type { AdmitAnswer, GateOperation } from '../../provision/ports/verbs.ts';
import { secondsSince } from './since.ts';

type Admit = (operation: GateOperation, xml: string) => Promise<AdmitAnswer>;

const OPERATIONS: readonly GateOperation[] = ['prepare', 'migrate', 'restore'];
const DECISIONS = ['allowed', 'denied', 'unknown'] as const;
/** Up to the longest grace, and the margin behind it. */
const BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30];

export class GateMetrics {
  readonly #decisions;
  readonly #durations;

  constructor(registry: Registry) {
    this.#decisions = new Counter({
      name: 'lvp_gate_decisions_total',
      help: 'Answers to the hook; unknown: it could not be told, and the hook went by the seals.',
      labelNames: ['operation', 'decision'],
      registers: [registry],
    });
    this.#durations = new Histogram({
      name: 'lvp_gate_duration_seconds',
      help: 'Time to the answer to the hook, the grace in it.',
      labelNames: ['operation'],
      buckets: BUCKETS_SECONDS,
      registers: [registry],
    });
    for (const operation of OPERATIONS)
      for (const decision of DECISIONS) this.#decisions.inc({ operation, decision }, 0);
  }

  measured(admit: Admit): Admit {
    return async (operation, xml) => {
      const sinceMs = performance.now();
      let decision: (typeof DECISIONS)[number] = 'unknown';
      try {
        const answer = await admit(operation, xml);
        decision = answer.allowed ? 'allowed' : 'denied';
        return answer;
      } finally {
        this.#decisions.inc({ operation, decision });
        this.#durations.observe({ operation }, secondsSince(sinceMs));
      }
    };
  }
}
