/** Every request that changes something or is refused goes into the audit trail, and all into the metrics. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AuditEvent } from '../../core/protocol/audit-event.ts';
import type { AuditTrail } from '../../provision/ports/audit.ts';
import type { Api } from './fastify-types.ts';
import type { HttpApiOptions } from './routes.ts';

/** Refusals for the caller's own sake, which say nothing of rights: not worth a line unless something was to change. */
const OF_RIGHTS = [401, 403, 429];

export function auditRequests(
  app: Api,
  { audit, onRequest }: Pick<HttpApiOptions, 'audit' | 'onRequest'>,
): void {
  app.addHook('onResponse', async (request, reply) => {
    const { url = 'unknown', config } = request.routeOptions;
    onRequest?.(request.method, url, reply.statusCode, reply.elapsedTime / 1_000);
    const isWorthIt = config.changes !== undefined || OF_RIGHTS.includes(reply.statusCode);
    if (isWorthIt && !request.isQuiet) record(audit, request, reply);
    return Promise.resolve();
  });
}

function record(audit: AuditTrail, request: FastifyRequest, { statusCode }: FastifyReply): void {
  const { about, caller, refused } = request;
  // Of an answer that came piece by piece the end counts.
  const status = refused?.status ?? statusCode;
  audit.record({
    who: caller?.who ?? 'unknown',
    what: request.routeOptions.config.changes ?? `${request.method} ${request.routeOptions.url ?? ''}`,
    ...(about.volume === undefined ? {} : { volume: about.volume }),
    ...(about.domain === undefined ? {} : { domain: about.domain }),
    decision: decisionOf(status),
    outcome: outcomeOf(status),
    correlationId: about.correlationId ?? request.id,
    ...(refused === undefined ? {} : { problem: { code: refused.code, message: refused.message } }),
  });
}

function decisionOf(status: number): AuditEvent['decision'] {
  if (status === 401) return 'unauthorized';
  return status === 403 || status === 429 ? 'denied' : 'allowed';
}

function outcomeOf(status: number): AuditEvent['outcome'] {
  if (status < 400) return status === 202 ? 'begun' : 'done';
  return status < 500 ? 'refused' : 'failed';
}
