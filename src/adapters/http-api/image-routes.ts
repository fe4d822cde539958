/** /api/v1/images: what is in the store, and what this host keeps of it. */
import { PassThrough } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { readInSteps } from '../../core/images/image-steps.ts';
import {
  CachedImages,
  GcRequest,
  GcResult,
  ImageFacts,
  ImageRequest,
  ImageStep,
  PrefetchRequest,
  RmRequest,
  RmResult,
  StoredImages,
} from '../../core/protocol/image-protocol.ts';
import { statusOf } from '../../core/protocol/problem-status.ts';
import type { Api } from './fastify-types.ts';
import { Refusal } from './refusal.ts';
import type { RouteNeeds } from './routes.ts';
import { IdempotencyHeader, OR_PROBLEM } from './routes.ts';

const tags = ['Images'];
/** Each is told line by line, for as long as it takes; the daemon itself reads fewer at a time. */
const READS_MAX = 8;
/** Lines that nobody takes; with as many, more progress is not told. */
const UNREAD_BYTES_MAX = 65_536;

export function addImageRoutes(app: Api, needs: RouteNeeds): void {
  const { images, idempotent } = needs;
  app.get(
    '/api/v1/images',
    {
      config: { rights: ['read'] },
      schema: {
        summary: 'What this host keeps of the store',
        tags,
        response: { 200: CachedImages, ...OR_PROBLEM },
      },
    },
    () => images.images(),
  );
  app.get(
    '/api/v1/images/stored',
    {
      config: { rights: ['read'] },
      schema: { summary: 'What is in the buckets', tags, response: { 200: StoredImages, ...OR_PROBLEM } },
    },
    () => images.stored(),
  );
  app.post(
    '/api/v1/images/inspect',
    {
      config: { rights: ['read'] },
      schema: {
        ...{ summary: 'What an image is, from its metadata', tags, body: ImageRequest },
        response: { 200: ImageFacts, ...OR_PROBLEM },
      },
    },
    (request) => images.inspect(request.body, untilEnded(request, needs)),
  );
  app.post(
    '/api/v1/images/gc',
    {
      config: { rights: ['images'], changes: 'image gc' },
      schema: {
        summary: 'Remove from what this host keeps what is too much, or all that is not in use',
        ...{ tags, headers: IdempotencyHeader, body: GcRequest },
        response: { 200: GcResult, ...OR_PROBLEM },
      },
    },
    (request) => idempotent.once(request, () => images.gc(request.body.all ?? false)),
  );
  addRemoval(app, needs);
  addReads(app, needs);
}

function addRemoval(app: Api, { images, idempotent }: RouteNeeds): void {
  app.post(
    '/api/v1/images/rm',
    {
      config: { rights: ['images'], changes: 'image rm' },
      schema: {
        summary: 'Remove images from this host; never one in use, and never one that the configuration pins',
        ...{ tags, headers: IdempotencyHeader, body: RmRequest },
        response: { 200: RmResult, ...OR_PROBLEM },
      },
    },
    (request) => idempotent.once(request, () => images.rm(request.body.images)),
  );
}

function addReads(app: Api, needs: RouteNeeds): void {
  let reads = 0;
  for (const verb of ['verify', 'prefetch'] as const) {
    app.post(
      `/api/v1/images/${verb}`,
      {
        config: { rights: ['images'], ...(verb === 'prefetch' ? { changes: 'image prefetch' } : {}) },
        schema: {
          summary:
            verb === 'verify'
              ? 'Read all of an image from the store and compare its digest'
              : 'Put an image into what this host keeps, before it is needed',
          ...{ tags, body: verb === 'verify' ? ImageRequest : PrefetchRequest },
          response: {
            200: {
              description: 'A line of JSON for each step; the last is the result, or an error',
              content: { 'application/x-ndjson': { schema: ImageStep } },
            },
            ...OR_PROBLEM,
          },
        },
      },
      async (request, reply) => {
        if (reads >= READS_MAX) throw tooMany();
        reads += 1;
        const signal = untilEnded(request, needs);
        const lines = new PassThrough();
        void readInSteps(
          (onProgress) =>
            needs.images[verb](request.body, signal, (...progress) => {
              if (lines.writableLength + lines.readableLength < UNREAD_BYTES_MAX) onProgress(...progress);
            }),
          (line) => lines.write(line),
        ).then((problem) => {
          reads -= 1;
          // The status has been sent long since; the audit trail tells how it has ended.
          if (problem !== undefined) request.refused = { status: statusOf(problem.code), ...problem };
          lines.end();
        });
        return reply.type('application/x-ndjson').send(lines as never);
      },
    );
  }
}

function tooMany(): Refusal {
  return new Refusal({
    ...{ status: 503, code: 'BUSY', message: `${READS_MAX} images are being read for others already.` },
    hint: 'Try again when one of them is done.',
  });
}

/** Aborted when the caller goes, and when it may no longer be this caller's. */
function untilEnded({ raw }: FastifyRequest, { untilChanged }: RouteNeeds): AbortSignal {
  const gone = new AbortController();
  raw.socket.once('close', () => {
    gone.abort();
  });
  return AbortSignal.any([gone.signal, untilChanged()]);
}
