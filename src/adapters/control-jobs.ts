/** The routes of the control socket about jobs; core/protocol/job-protocol.ts names them. */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { JobFilter, JobRequest } from '../core/protocol/job-protocol.ts';
import type { JobVerbs } from '../provision/ports/verbs.ts';
import { readBody, readQuery, usage } from './control-body.ts';

const NO_BODY = z.strictObject({});

export function isAboutJobs({ url = '' }: IncomingMessage): boolean {
  return /^\/v1\/jobs(?:[/?]|$)/.test(url);
}

/** `by` is who calls, see AuditEvent.who. */
export async function routeJobs(request: IncomingMessage, verbs: JobVerbs, by: string): Promise<unknown> {
  const { method = '', url = '' } = request;
  const unknown = usage(`There is no ${method} ${url}.`);
  const { pathname } = new URL(url, 'http://control');
  const [, , , id, verb, ...rest] = pathname.split('/');
  if (rest.length > 0 || id === '') throw unknown;
  if (id === undefined && method === 'POST') return verbs.start(await readBody(request, JobRequest), by);
  if (id === undefined && method === 'GET') return verbs.jobs(readQuery(request, JobFilter));
  if (id === undefined) throw unknown;
  switch (`${method} ${verb ?? ''}`) {
    case 'GET ':
      return verbs.job(id);
    case 'POST cancel':
      await readBody(request, NO_BODY);
      return verbs.cancel(id);
    case 'POST retry':
      await readBody(request, NO_BODY);
      return verbs.retry(id);
    default:
      throw unknown;
  }
}
