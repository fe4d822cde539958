/** /api/v1/domains: what annotations ask for, and where their volumes stand. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import {
  DomainList,
  DomainStatus,
  Explanation,
  ReprovisionRequest,
  ReprovisionResult,
  TargetRequest,
} from '../../core/protocol/control-protocol.ts';
import { requireVolume } from './callers.ts';
import type { Api } from './fastify-types.ts';
import type { RouteNeeds } from './routes.ts';
import { IdempotencyHeader, OR_PROBLEM } from './routes.ts';

export const Name = z.object({
  name: z.string().min(1).max(255).meta({ description: "A domain's name or UUID" }),
});
const tags = ['Domains'];

export function addDomainRoutes(app: Api, needs: RouteNeeds): void {
  const { domains } = needs;
  app.get(
    '/api/v1/domains',
    {
      config: { rights: ['read'] },
      schema: { summary: 'Every annotated domain', tags, response: { 200: DomainList, ...OR_PROBLEM } },
    },
    async () => [...(await domains.domains())],
  );
  app.get(
    '/api/v1/domains/:name',
    {
      config: { rights: ['read'] },
      schema: {
        ...{ summary: 'One domain and its volumes', tags, params: Name },
        response: { 200: DomainStatus, ...OR_PROBLEM },
      },
    },
    ({ params }) => domains.domain(params.name),
  );
  app.get(
    '/api/v1/domains/:name/plan',
    {
      config: { rights: ['read'] },
      schema: {
        ...{ summary: 'What would be done next, and why; changes nothing', tags, params: Name },
        response: { 200: Explanation, ...OR_PROBLEM },
      },
    },
    ({ params }) => domains.explain(params.name),
  );
  addDomainChanges(app, needs);
}

function addDomainChanges(app: Api, { domains, idempotent }: RouteNeeds): void {
  /** Names the volumes that are about to change, and refuses those that the caller may not change. */
  const claim = async (request: FastifyRequest, name: string, target: string | undefined) => {
    const { uuid, volumes } = await domains.domain(name);
    const meant = volumes.filter((volume) => target === undefined || volume.target === target);
    request.about = { domain: uuid, volume: meant.map(({ pool, volume }) => `${pool}/${volume}`).join(' ') };
    for (const { volume } of meant) requireVolume(request, volume);
  };
  for (const verb of ['cancel', 'retry'] as const) {
    app.post(
      `/api/v1/domains/:name/${verb}`,
      {
        config: { rights: [verb], changes: verb },
        schema: {
          summary:
            verb === 'cancel'
              ? 'End the fills of all disks or of one, until they are tried again'
              : 'Try failed and cancelled fills again, of all disks or of one',
          ...{ tags, params: Name, headers: IdempotencyHeader, body: TargetRequest },
          response: { 200: DomainStatus, ...OR_PROBLEM },
        },
      },
      async (request) => {
        const { name } = request.params;
        const { target } = request.body;
        await claim(request, name, target);
        return idempotent.once(request, () => domains[verb](name, target));
      },
    );
  }
  app.post(
    '/api/v1/domains/:name/reprovision',
    {
      config: { rights: ['reprovision'], changes: 'reprovision' },
      schema: {
        summary: 'Make a published volume of a stopped domain again; what it holds is lost',
        ...{ tags, params: Name, headers: IdempotencyHeader, body: ReprovisionRequest },
        response: { 200: ReprovisionResult, ...OR_PROBLEM },
      },
    },
    async (request) => {
      const { name } = request.params;
      await claim(request, name, request.body.target);
      const result = await idempotent.once(request, () => domains.reprovision(name, request.body));
      // It has only been looked at.
      request.isQuiet = request.body.dryRun === true;
      return result;
    },
  );
}
