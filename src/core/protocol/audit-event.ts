/** Who did what: one event for each request and each effect, kept so that it can be proved later. Never a secret. */
import { z } from 'zod';

/** Under which the journal has them. */
export const AUDIT_IDENTIFIER = 'libvirt-volume-provisioner-audit';

const text = z.string().max(4096);

export const AuditEvent = z.object({
  /** RFC 3339, with milliseconds. */
  at: text,
  /**
   * `certificate:SUBJECT`, `token:NAME`, `uid:NUMBER` (a local caller), `domain:UUID` (what its annotation asked for),
   * `job:UUID` (what follows from a job), `daemon` (of its own accord), or `unknown` (whoever could not be told).
   */
  who: text,
  /** The verb: `provision`, `cancel`, `publish`, `gate`, … */
  what: text,
  /** `VG/LV`. */
  volume: text.optional(),
  /** UUID; `job:UUID` where a job stands for a domain that has not asked yet. */
  domain: text.optional(),
  /** Which key, as the annotation names it; never the key itself. */
  key: text.optional(),
  /** `unauthorized`: nobody that this host knows; `denied`: somebody that may not. */
  decision: z.enum(['allowed', 'denied', 'unauthorized']),
  outcome: z.enum(['begun', 'done', 'failed', 'refused']),
  /** One for all that follows from one request; the fill's where there is one. */
  correlationId: text,
  /** What went wrong. */
  problem: z.object({ code: text, message: text }).optional(),
});
export type AuditEvent = z.infer<typeof AuditEvent>;
