/** The routes of the Go provisioner, with its fields, codes and states; docs/migrating.md says what differs. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ProvisionError } from '../../core/errors.ts';
import { ownerOfJob } from '../../core/owner.ts';
import type { Job } from '../../core/protocol/job-protocol.ts';
import { requireVolume } from './callers.ts';
import type { CompatibleHealth } from './compatible-schemas.ts';
import * as compatible from './compatible-schemas.ts';
import type { Api, CompatibleTitles } from './fastify-types.ts';
import { Refusal } from './refusal.ts';
import type { RouteNeeds } from './routes.ts';
import { IdempotencyHeader, inPool, OPEN, OR_COMPATIBLE_ERROR } from './routes.ts';

/** From so many jobs on the Go provisioner calls itself degraded. */
const JOBS_DEGRADED = 3;

const START: CompatibleTitles = { failed: 'failed to start provisioning' };
const STATUS: CompatibleTitles = { 404: 'job not found', failed: 'failed to read job' };
const CANCEL: CompatibleTitles = { 400: 'failed to cancel job', failed: 'failed to cancel job' };

const JobId = z.object({ job_id: z.string().max(255).meta({ format: 'uuid' }) });

export function addCompatibleRoutes(app: Api, needs: RouteNeeds): void {
  const { jobs, settings, endpoint, idempotent } = needs;
  const hosts = { endpoint, imageHosts: settings.imageHosts };
  app.post(
    '/api/v1/provision',
    {
      config: { rights: ['provision'], changes: 'provision', compatible: START },
      schema: {
        summary: 'Begin to make a volume from an image',
        tags: ['As the Go provisioner'],
        headers: IdempotencyHeader,
        body: compatible.CompatibleRequest,
        response: { 202: compatible.CompatibleStarted, ...OR_COMPATIBLE_ERROR },
      },
    },
    async (request, reply) => {
      const wanted = inPool(compatible.toJobRequest(request.body, hosts), settings);
      request.about = { volume: wanted.volume, ...correlationOf(wanted) };
      requireVolume(request, wanted.volume);
      const job = await idempotent.once(request, () => jobs.start(wanted, request.caller?.who ?? 'unknown'));
      nameJob(request, job);
      return reply.code(202).send({ job_id: job.id });
    },
  );
  app.get(
    '/api/v1/status/:job_id',
    {
      config: { rights: ['read'], compatible: STATUS },
      schema: {
        summary: 'How far a job is',
        tags: ['As the Go provisioner'],
        params: JobId,
        response: { 200: compatible.CompatibleStatus, ...OR_COMPATIBLE_ERROR },
      },
    },
    async ({ params }) => compatible.toStatus(await jobs.job(knownId(params.job_id))),
  );
  app.delete(
    '/api/v1/cancel/:job_id',
    {
      config: { rights: ['cancel'], changes: 'cancel', compatible: CANCEL },
      schema: {
        summary: 'End a job that waits or runs',
        tags: ['As the Go provisioner'],
        params: JobId,
        response: { 200: compatible.CompatibleCancelled, ...OR_COMPATIBLE_ERROR },
      },
    },
    async (request) => {
      const id = request.params.job_id;
      await cancel(request, needs, id).catch((error: unknown) => {
        throw asBadRequest(error);
      });
      return { status: 'cancelled' as const, job_id: id };
    },
  );
}

async function cancel(request: FastifyRequest, { jobs }: RouteNeeds, id: string): Promise<void> {
  const job = await jobs.job(knownId(id));
  nameJob(request, job);
  requireVolume(request, job.request.volume);
  await jobs.cancel(job.id);
}

/** For the audit trail. */
export function nameJob(request: FastifyRequest, job: Job): void {
  const { id, location, request: asked } = job;
  request.about = { volume: location, domain: ownerOfJob(id), correlationId: asked.correlationId ?? id };
}

function correlationOf({ correlationId }: { correlationId?: string | undefined }): {
  correlationId?: string;
} {
  return correlationId === undefined ? {} : { correlationId };
}

/** What is no UUID is no job either. */
function knownId(id: string): string {
  if (z.uuid().safeParse(id).success) return id;
  throw new Refusal({ status: 404, code: 'JOB_NOT_FOUND', message: `There is no job ${id}.` });
}

/** It answered 400 to every cancel that it could not do. */
function asBadRequest(error: unknown): unknown {
  const isOf = (code: string) => code === 'JOB_NOT_FOUND' || code === 'VOLUME_STATE';
  if (!(error instanceof ProvisionError || error instanceof Refusal) || !isOf(error.code)) return error;
  return new Refusal({ status: 400, code: error.code, message: error.message });
}

export function addHealthRoutes(app: Api, { jobs, clock, version }: RouteNeeds): void {
  const sinceMs = clock.monotonicMs();
  const countUpTo = async (limit: number) => {
    const { jobs: running } = await jobs.jobs({ state: 'running', limit });
    if (running.length >= limit) return limit;
    const { jobs: pending } = await jobs.jobs({ state: 'pending', limit });
    return running.length + pending.length;
  };
  for (const path of ['/health', '/healthz', '/livez']) {
    app.get(
      path,
      {
        config: { compatible: { failed: 'unhealthy' } },
        schema: {
          summary: 'Whether the provisioner answers',
          ...{ tags: ['Health'], ...OPEN },
          response: { 200: compatible.CompatibleHealth, ...OR_COMPATIBLE_ERROR },
        },
      },
      async (): Promise<CompatibleHealth> => ({
        status: (await countUpTo(JOBS_DEGRADED)) >= JOBS_DEGRADED ? 'degraded' : 'healthy',
        timestamp: new Date(clock.nowMs()).toISOString(),
        version,
        uptime: compatible.uptimeText(clock.monotonicMs() - sinceMs),
      }),
    );
  }
}
