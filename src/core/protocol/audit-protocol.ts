/**
 * What has been written down of who did what, as `lvp audit` asks for it. As in control-protocol.ts, these names are
 * also those of `--json`.
 *
 *   GET /v1/audit?since=…&until=…&who=…&volume=…&domain=…&limit=…   AuditQuery → AuditEvents
 */
import { z } from 'zod';
import { AuditEvent } from './audit-event.ts';

const AUDIT_LIMIT_MAX = 5000;

const text = z.string().min(1).max(1024);
/** RFC 3339 in UTC, as AuditEvent.at. */
const time = z.iso.datetime({ precision: 3 });

export const AuditQuery = z.strictObject({
  /** The first moment that counts, and the first that does not any more. */
  since: time.optional(),
  until: time.optional(),
  /** As in the event. */
  who: text.optional(),
  /** `VG/LV`. */
  volume: text.optional(),
  /** Name or UUID; of a domain that is gone only the UUID is sure to be known. A job's id, with `job:` or without. */
  domain: text.optional(),
  /** The newest so many. */
  limit: z.coerce.number().int().min(1).max(AUDIT_LIMIT_MAX).default(1000),
});
export type AuditQuery = z.infer<typeof AuditQuery>;

/** Oldest first. */
export const AuditEvents = z.object({
  events: z.array(AuditEvent),
  /** There are older ones that were asked for too. */
  more: z.boolean(),
});
export type AuditEvents = z.infer<typeof AuditEvents>;
