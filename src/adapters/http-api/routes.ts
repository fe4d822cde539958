/** What the routes of the HTTP API are made of. */
import { z } from 'zod';
import type { HttpCredential, HttpSettings } from '../../core/settings/http-settings.ts';
import type { AuditTrail } from '../../provision/ports/audit.ts';
import type { Clock, Log } from '../../provision/ports/host.ts';
import type {
  AuditVerbs,
  ControlVerbs,
  ImageVerbs,
  JobVerbs,
  SpaceVerbs,
} from '../../provision/ports/verbs.ts';
import type { MetricsText } from '../../provision/ports/watches.ts';
import type { IdempotentRequests } from './idempotency.ts';
import { CompatibleError, PROBLEM_TYPE, ProblemDetails } from './refusal.ts';

export interface HttpApiOptions {
  readonly settings: HttpSettings;
  /** Of the store, for requests that name images by URL. */
  readonly endpoint: URL;
  readonly version: string;
  readonly jobs: JobVerbs;
  /** Without those that are for the host itself. */
  readonly domains: Omit<ControlVerbs, 'handover' | 'receive' | 'look'>;
  readonly images: ImageVerbs;
  readonly audit: AuditTrail;
  /** What it has written down. */
  readonly events: AuditVerbs;
  readonly space: SpaceVerbs;
  readonly clock: Clock;
  readonly log: Log;
  /** As people know this host; absent: as it knows itself. */
  readonly hostName?: string | undefined;
  /** Absent: there is no /metrics. */
  readonly metrics?: MetricsText | undefined;
  /** Called once for each request that was answered; `route` is the pattern, so there are few of them. */
  readonly onRequest?:
    ((method: string, route: string, status: number, durationS: number) => void) | undefined;
  /** Told at the beginning and after each change of the files; undefined: there is none of that kind. */
  readonly onExpiry?: ((credential: HttpCredential, expiresAtMs: number | undefined) => void) | undefined;
  /** How often certificates and tokens are looked at, in ms. */
  readonly lookMs?: number | undefined;
}

/** What the routes work with. */
export interface RouteNeeds extends HttpApiOptions {
  readonly idempotent: IdempotentRequests;
  /** Aborted when whatever goes on must end: the daemon stops, or who may call has changed. */
  readonly untilChanged: () => AbortSignal;
}

const problem = {
  description: 'Not done; why, and what to do next',
  content: { [PROBLEM_TYPE]: { schema: ProblemDetails } },
};

/** What any route may answer instead, by RFC 9457. */
export const OR_PROBLEM = { '4xx': problem, '5xx': problem };

const compatibleError = {
  description: 'Not done; why',
  content: { 'application/json': { schema: CompatibleError } },
};

/** The same in the words of the Go provisioner. */
export const OR_COMPATIBLE_ERROR = { '4xx': compatibleError, '5xx': compatibleError };

export const IdempotencyHeader = z.looseObject({
  'idempotency-key': z
    .string()
    .min(1)
    .max(255)
    .optional()
    .meta({ description: 'The same key and request within 24 hours give the same answer, done once' }),
});

/** For routes that anybody may call. */
export const OPEN = { security: [] };

/** The pool for callers that name none. */
export function inPool<T extends { readonly pool?: string | undefined }>(
  request: T,
  { pool }: HttpSettings,
): T {
  return request.pool === undefined && pool !== undefined ? { ...request, pool } : request;
}
