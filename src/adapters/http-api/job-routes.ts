/** /api/v1/jobs: what was asked for without a domain. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Job } from '../../core/protocol/job-protocol.ts';
import { Job as JobSchema, JobFilter, JobRequest, Jobs } from '../../core/protocol/job-protocol.ts';
import { requireVolume } from './callers.ts';
import { nameJob } from './compatible-routes.ts';
import type { Api } from './fastify-types.ts';
import { JobEvents } from './job-events.ts';
import type { RouteNeeds } from './routes.ts';
import { IdempotencyHeader, inPool, OR_PROBLEM } from './routes.ts';

/** What is none is no job either. */
const Id = z.object({ id: z.string().min(1).max(255).meta({ format: 'uuid' }) });
const tags = ['Jobs'];
/** One event of the stream. */
const JobEvent = z.object({ event: z.string().optional(), data: z.string().optional() });

export function addJobRoutes(app: Api, needs: RouteNeeds): void {
  const { jobs, settings, idempotent } = needs;
  app.post(
    '/api/v1/jobs',
    {
      config: { rights: ['provision'], changes: 'provision' },
      schema: {
        ...{
          summary: 'Begin to make a volume from an image',
          tags,
          headers: IdempotencyHeader,
          body: JobRequest,
        },
        response: { 202: JobSchema, ...OR_PROBLEM },
      },
    },
    async (request, reply) => {
      const wanted = inPool(request.body, settings);
      request.about = { volume: wanted.volume };
      requireVolume(request, wanted.volume);
      const job = await idempotent.once(request, () => jobs.start(wanted, request.caller?.who ?? 'unknown'));
      nameJob(request, job);
      return reply.code(202).header('location', `/api/v1/jobs/${job.id}`).send(job);
    },
  );
  app.get(
    '/api/v1/jobs',
    {
      config: { rights: ['read'] },
      schema: {
        ...{ summary: 'Jobs, newest first', tags, querystring: JobFilter },
        response: { 200: Jobs, ...OR_PROBLEM },
      },
    },
    ({ query }) => jobs.jobs(query),
  );
  app.get(
    '/api/v1/jobs/:id',
    {
      config: { rights: ['read'] },
      schema: {
        ...{ summary: 'One job, with its place in the queue while it waits', tags, params: Id },
        response: { 200: JobSchema, ...OR_PROBLEM },
      },
    },
    ({ params }) => jobs.job(params.id),
  );
  addChanges(app, needs);
  addEvents(app, needs);
}

function addChanges(app: Api, { jobs, idempotent }: RouteNeeds): void {
  const change = async (request: FastifyRequest, id: string, work: () => Promise<Job>) => {
    const job = await jobs.job(id);
    nameJob(request, job);
    requireVolume(request, job.request.volume);
    return idempotent.once(request, work);
  };
  for (const verb of ['cancel', 'retry'] as const) {
    app.post(
      `/api/v1/jobs/:id/${verb}`,
      {
        config: { rights: [verb], changes: verb },
        schema: {
          summary:
            verb === 'cancel' ? 'End a job that waits or runs' : 'Begin a failed or cancelled job again',
          ...{ tags, params: Id, headers: IdempotencyHeader },
          response: { 200: JobSchema, ...OR_PROBLEM },
        },
      },
      (request) => change(request, request.params.id, () => jobs[verb](request.params.id)),
    );
  }
}

function addEvents(app: Api, needs: RouteNeeds): void {
  const events = new JobEvents(needs);
  app.get(
    '/api/v1/jobs/:id/events',
    {
      config: { rights: ['read'] },
      schema: {
        summary: 'The job again whenever it changes, as server-sent events, until it has ended',
        ...{ tags, params: Id },
        response: {
          200: {
            description: 'Events named job, each with a job as JSON; the last one has ended',
            content: { 'text/event-stream': { schema: JobEvent } },
          },
          ...OR_PROBLEM,
        },
      },
    },
    async (request, reply) => {
      const first = await needs.jobs.job(request.params.id);
      return reply.type('text/event-stream').send(events.follow(first, request.raw) as never);
    },
  );
}
