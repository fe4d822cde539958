/** What asks for volumes of domains: annotations, and domains that libvirt does not know yet. */
import type { FastifyRequest } from 'fastify';
import {
  AnnotateRequest,
  AnnotateResult,
  DisksQuery,
  DomainDisks,
  DomainStatus,
  ProvisionRequest,
} from '../../core/protocol/control-protocol.ts';
import { parseDomainXml } from '../../core/xml/domain-xml.ts';
import { requireVolume } from './callers.ts';
import { Name } from './domain-routes.ts';
import type { Api } from './fastify-types.ts';
import { Refusal } from './refusal.ts';
import type { RouteNeeds } from './routes.ts';
import { IdempotencyHeader, OR_PROBLEM } from './routes.ts';

const tags = ['Domains'];
/** As long as core/xml/xml.ts takes it, and room for what JSON escapes. */
const XML_BODY_BYTES_MAX = 2 * 2 ** 20;

export function addAnnotationRoutes(app: Api, needs: RouteNeeds): void {
  const { domains, idempotent } = needs;
  app.get(
    '/api/v1/disks',
    {
      config: { rights: ['read'] },
      schema: {
        summary: 'The disks of all domains, annotated or not, or of one',
        ...{ tags, querystring: DisksQuery },
        response: { 200: DomainDisks, ...OR_PROBLEM },
      },
    },
    ({ query }) => domains.disks(query.domain),
  );
  app.post(
    '/api/v1/domains/:name/annotate',
    {
      config: { rights: ['annotate'], changes: 'annotate' },
      schema: {
        summary: "Write into a domain's metadata which image a disk of it is to hold",
        ...{ tags, params: Name, headers: IdempotencyHeader, body: AnnotateRequest },
        response: { 200: AnnotateResult, ...OR_PROBLEM },
      },
    },
    async (request) => {
      const { name } = request.params;
      await claimDisk(request, needs, name, request.body.target);
      const result = await idempotent.once(request, () => domains.annotate(name, request.body));
      request.isQuiet = !result.applied;
      return result;
    },
  );
  app.post(
    '/api/v1/domains',
    {
      config: { rights: ['provision'], changes: 'provision' },
      bodyLimit: XML_BODY_BYTES_MAX,
      schema: {
        summary: 'Fill the volumes of a domain before libvirt knows it, from its XML',
        ...{ tags, headers: IdempotencyHeader, body: ProvisionRequest },
        response: { 200: DomainStatus, ...OR_PROBLEM },
      },
    },
    async (request) => {
      claimAnnotated(request, request.body.xml);
      const status = await idempotent.once(request, () => domains.provision(request.body.xml));
      request.about = aboutOf(status);
      return status;
    },
  );
}

/** The volume behind the disk, whether it is annotated or not. */
async function claimDisk(
  request: FastifyRequest,
  { domains }: RouteNeeds,
  name: string,
  target: string,
): Promise<void> {
  const [domain] = (await domains.disks(name)).domains;
  const disk = domain?.disks.find((one) => one.target === target);
  if (domain !== undefined) request.about = { domain: domain.uuid };
  // What there is no volume for is refused by the verb, in its own words.
  if (disk?.volume === undefined) return;
  request.about = { ...request.about, volume: `${disk.pool ?? ''}/${disk.volume}` };
  requireVolume(request, disk.volume);
}

/** Before anything is done: the daemon's own answer would come too late to refuse it. */
function claimAnnotated(request: FastifyRequest, xml: string): void {
  const { uuid, disks, annotation } = parseDomainXml(xml);
  request.about = { domain: uuid };
  for (const { target } of annotation?.volumes ?? []) {
    const source = disks.find((disk) => disk.target === target)?.source;
    const volume =
      source?.type === 'volume' ? source.volume : source?.type === 'block' ? lvIn(source.path) : undefined;
    if (volume !== undefined) requireVolume(request, volume);
    else if (request.caller?.volumePrefixes.length !== 0) throw unnamed(target);
  }
}

/** As plainly as a prefix can be compared with: `/dev/VG/LV`. */
function lvIn(path: string): string | undefined {
  return /^\/dev\/(?!mapper\/)[^/]+\/([^/]+)$/.exec(path)?.[1];
}

function unnamed(target: string): Refusal {
  return new Refusal({
    status: 403,
    code: 'FORBIDDEN',
    message: `Disk ${target} names no volume by which it could be told whether it may be changed.`,
    hint: 'Name it as <source pool="…" volume="…"/> or <source dev="/dev/VG/LV"/>.',
  });
}

function aboutOf({ uuid, volumes }: DomainStatus): FastifyRequest['about'] {
  return { domain: uuid, volume: volumes.map(({ pool, volume }) => `${pool}/${volume}`).join(' ') };
}
