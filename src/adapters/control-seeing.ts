/** The routes of the control socket by which one sees what goes on: metrics, and who did what. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { AuditQuery } from '../core/protocol/audit-protocol.ts';
import type { AuditVerbs } from '../provision/ports/verbs.ts';
import type { MetricsText } from '../provision/ports/watches.ts';
import { readQuery, usage } from './control-body.ts';

export interface Seeing {
  readonly audit?: AuditVerbs | undefined;
  readonly metrics?: MetricsText | undefined;
}

export function isOfMetrics({ method, url }: IncomingMessage): boolean {
  return method === 'GET' && url === '/metrics';
}

export async function sendMetrics(response: ServerResponse, { metrics }: Seeing): Promise<void> {
  if (metrics === undefined) throw usage('There are no metrics here.');
  const text = await metrics.render();
  response.writeHead(200, { 'content-type': metrics.contentType });
  response.end(text);
}

export async function routeAudit(request: IncomingMessage, audit: AuditVerbs | undefined): Promise<unknown> {
  const { method = '', url = '' } = request;
  if (method !== 'GET' || audit === undefined) throw usage(`There is no ${method} ${url}.`);
  return audit.audit(readQuery(request, AuditQuery));
}
