/** Events of the audit trail. */
import type { AuditEvent } from '../../core/protocol/audit-event.ts';
import type { AuditEvents, AuditQuery } from '../../core/protocol/audit-protocol.ts';

/** Where it is written down who did what. Must not throw, and not keep its caller waiting. */
export interface AuditTrail {
  record(event: Omit<AuditEvent, 'at'>): void;
}

/** Where audit events stay, the oldest of them not for ever. */
export interface AuditStore {
  /** All of them or, if it throws, none. */
  append(events: readonly AuditEvent[]): void;
  /** `query.domain` is a UUID here, of a domain or of a job. */
  find(query: AuditQuery): AuditEvents;
}
