/** What the audit trail is told, counted. */
import type { Registry } from 'prom-client';
import { Counter } from 'prom-client';
import type { AuditTrail } from '../../provision/ports/audit.ts';

export class AuditMetrics {
  readonly #events;

  constructor(registry: Registry) {
    this.#events = new Counter({
      name: 'lvp_audit_events_total',
      help: 'Events of the audit trail, by decision and outcome.',
      labelNames: ['decision', 'outcome'],
      registers: [registry],
    });
    // So that the first one is an increase.
    this.#events.inc({ decision: 'unauthorized', outcome: 'refused' }, 0);
  }

  counted(trail: AuditTrail): AuditTrail {
    return {
      record: (event) => {
        this.#events.inc({ decision: event.decision, outcome: event.outcome });
        trail.record(event);
      },
    };
  }
}
