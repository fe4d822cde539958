/** /api/v1/audit: who did what. */
import { AuditEvents, AuditQuery } from '../../core/protocol/audit-protocol.ts';
import type { AuditVerbs } from '../../provision/ports/verbs.ts';
import type { Api } from './fastify-types.ts';
import { OR_PROBLEM } from './routes.ts';

export function addAuditRoute(app: Api, events: AuditVerbs): void {
  app.get(
    '/api/v1/audit',
    {
      config: { rights: ['audit'] },
      schema: {
        ...{ summary: 'Who did what, oldest first', tags: ['Audit'], querystring: AuditQuery },
        response: { 200: AuditEvents, ...OR_PROBLEM },
      },
    },
    ({ query }) => events.audit(query),
  );
}
