/** Whoever is told what happens: log, metrics, and the audit trail in the journal and the ledger. */
import { RecordedAudit } from '../adapters/audit-trail.ts';
import { JournalStream } from '../adapters/audit/journal-stream.ts';
import { systemClock } from '../adapters/clock.ts';
import type { Config } from '../adapters/config-file.ts';
import type { Metrics } from '../adapters/metrics.ts';
import type { Problem } from '../core/errors.ts';
import { AUDIT_IDENTIFIER } from '../core/protocol/audit-event.ts';
import { briefly, newCorrelationId } from '../provision/audit/recorded.ts';
import type { AuditStore, AuditTrail } from '../provision/ports/audit.ts';
import type { FillTrace } from '../provision/ports/fill-trace.ts';
import type { Log } from '../provision/ports/host.ts';

export interface Seeing {
  readonly metrics: Metrics;
  readonly trail: AuditTrail;
  readonly log: Log;
  /** Undefined where the configuration wants no traces. */
  readonly trace: FillTrace | undefined;
}

export function openAudit({ minio, keys, tracing }: Config, store: AuditStore, log: Log): RecordedAudit {
  const journal = new JournalStream({ identifier: AUDIT_IDENTIFIER, log });
  const identity = keys.barbican?.applicationCredentialSecret;
  const secrets = [minio.accessKey, minio.secretKey, tracing?.authorization, identity].map(
    (one) => one?.reveal() ?? '',
  );
  return new RecordedAudit({ journal, store, clock: systemClock, log, secrets });
}

export function recordDaemon(trail: AuditTrail, what: 'start' | 'stop'): void {
  const event = { who: 'daemon', what: `daemon ${what}`, correlationId: newCorrelationId() };
  trail.record({ ...event, decision: 'allowed', outcome: 'done' });
}

/** Without a configuration there is no ledger: the journal alone is told. */
export async function recordRefusedConfig(problem: Problem, log: Log): Promise<void> {
  const journal = new JournalStream({ identifier: AUDIT_IDENTIFIER, log });
  const trail = new RecordedAudit({ journal, clock: systemClock, log });
  const event = { who: 'daemon', what: 'configuration', correlationId: newCorrelationId() };
  trail.record({ ...event, decision: 'denied', outcome: 'refused', problem: briefly(problem) });
  await trail.close();
}
