/**
 * The control socket: HTTP on a unix socket of mode 0660, for `lvp` and nobody else. Who may open it is
 * decided by its group; there is no other authentication. Routes: core/protocol/control-protocol.ts, and what it names.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { rm } from 'node:fs/promises';
import { once } from 'node:events';
import {
  AnnotateRequest,
  DisksQuery,
  ProvisionRequest,
  ReprovisionRequest,
  TargetRequest,
  XML_BYTES_MAX,
} from '../core/protocol/control-protocol.ts';
import { GarbageRequest } from '../core/protocol/garbage-protocol.ts';
import { ProvisionError, toProblem } from '../core/errors.ts';
import { Handover } from '../core/handover.ts';
import { statusOf } from '../core/protocol/problem-status.ts';
import type { Log } from '../provision/ports/host.ts';
import type { ControlVerbs, GarbageVerbs, ImageVerbs, JobVerbs, KeyVerbs } from '../provision/ports/verbs.ts';
import { readBody, readQuery, usage } from './control-body.ts';
import { isImageRead, readImage, routeImages } from './control-images.ts';
import { isAboutJobs, routeJobs } from './control-jobs.ts';
import { isAboutKeys, routeKeys } from './control-keys.ts';
import { peerOf } from './control-peer.ts';
import type { Seeing } from './control-seeing.ts';
import { isOfMetrics, routeAudit, sendMetrics } from './control-seeing.ts';

const HEADER_BYTES_MAX = 16_384;
const CONNECTIONS_MAX = 64;
const REQUEST_DEADLINE_MS = 10_000;
/** A verb may call libvirt, which may be slow. */
const VERB_DEADLINE_MS = 60_000;

export interface ControlSocket {
  close(): Promise<void>;
}

export interface ControlSocketOptions extends Seeing {
  readonly path: string;
  readonly verbs: ControlVerbs;
  readonly images: ImageVerbs;
  readonly garbage: GarbageVerbs;
  readonly jobs: JobVerbs;
  /** Absent: this daemon changes no keys. */
  readonly keys?: KeyVerbs | undefined;
  /** The same for one caller (AuditEvent.who), with what it asks for written down. */
  readonly audited?:
    | ((who: string) => Pick<ControlSocketOptions, 'verbs' | 'images' | 'garbage' | 'jobs' | 'keys'>)
    | undefined;
  readonly log: Log;
}

export async function serveControl(options: ControlSocketOptions): Promise<ControlSocket> {
  const { path } = options;
  await removeStale(path);
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, (request, response) => {
    void reply(request, response, options);
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.headersTimeout = REQUEST_DEADLINE_MS;
  server.requestTimeout = REQUEST_DEADLINE_MS;
  await listen(server, path);
  return {
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A daemon that was killed leaves its socket behind; one that still answers must not lose it. */
async function removeStale(path: string): Promise<void> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } catch {
    await rm(path, { force: true });
    return;
  } finally {
    socket.destroy();
  }
  throw new ProvisionError({
    code: 'INTERNAL',
    message: `Another provisioner answers on ${path} already.`,
    hint: 'Only one may run: systemctl status libvirt-volume-provisioner',
  });
}

async function listen(server: Server, path: string): Promise<void> {
  const listening = once(server, 'listening');
  // The socket is made within listen(): so it never exists with more rights than these.
  const before = process.umask(0o117);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  await listening;
}

async function reply(
  request: IncomingMessage,
  response: ServerResponse,
  all: ControlSocketOptions,
): Promise<void> {
  const { log } = all;
  try {
    if (isOfMetrics(request)) {
      await sendMetrics(response, all);
      return;
    }
    const who = peerOf(request.socket);
    const callable = { ...all, ...all.audited?.(who) };
    if (isImageRead(request)) {
      await readImage(request, response, callable.images);
      return;
    }
    send(response, 200, await withinDeadline(route(request, response, callable, who)));
  } catch (error) {
    const problem = toProblem(error);
    if (problem.code === 'INTERNAL') log.error({ err: error, url: request.url }, 'a control request failed');
    send(response, statusOf(problem.code), { error: problem });
  }
}

async function route(
  request: IncomingMessage,
  response: ServerResponse,
  { verbs, images, jobs, garbage, keys, audit }: ControlSocketOptions,
  who: string,
): Promise<unknown> {
  const { method = '', url = '' } = request;
  if (url.startsWith('/v1/images')) return routeImages(request, response, images);
  if (isAboutJobs(request)) return routeJobs(request, jobs, who);
  if (isAboutKeys(request)) return routeKeys(request, keys);
  if (/^\/v1\/audit(\?|$)/.test(url)) return routeAudit(request, audit);
  if (/^\/v1\/disks(\?|$)/.test(url) && method === 'GET')
    return verbs.disks(readQuery(request, DisksQuery).domain);
  switch (`${method} ${url}`) {
    case 'POST /v1/receive':
      return verbs.receive(await readBody(request, Handover));
    case 'POST /v1/look':
      return verbs.look();
    case 'POST /v1/gc':
      return garbage.collect(await readBody(request, GarbageRequest));
    default:
      return routeDomains(request, verbs);
  }
}

async function routeDomains(request: IncomingMessage, verbs: ControlVerbs): Promise<unknown> {
  const { method = '', url = '' } = request;
  const [, version, noun, escapedName, verb, ...rest] = url.split('/');
  const unknown = usage(`There is no ${method} ${url}.`);
  if (version !== 'v1' || noun !== 'domains' || rest.length > 0) throw unknown;
  const name = decodeName(escapedName);
  switch (`${method} ${name === undefined ? '' : '{}'}${verb === undefined ? '' : `/${verb}`}`) {
    case 'GET ':
      return verbs.domains();
    case 'POST ':
      return verbs.provision((await readBody(request, ProvisionRequest, 2 * XML_BYTES_MAX)).xml);
    case 'GET {}':
      return verbs.domain(name ?? '');
    case 'GET {}/plan':
      return verbs.explain(name ?? '');
    case 'GET {}/handover':
      return verbs.handover(name ?? '');
    case 'POST {}/annotate':
      return verbs.annotate(name ?? '', await readBody(request, AnnotateRequest));
    case 'POST {}/cancel':
      return verbs.cancel(name ?? '', (await readBody(request, TargetRequest)).target);
    case 'POST {}/retry':
      return verbs.retry(name ?? '', (await readBody(request, TargetRequest)).target);
    case 'POST {}/reprovision':
      return verbs.reprovision(name ?? '', await readBody(request, ReprovisionRequest));
    default:
      throw unknown;
  }
}

function decodeName(escaped: string | undefined): string | undefined {
  if (escaped === undefined || escaped === '') return undefined;
  try {
    return decodeURIComponent(escaped);
  } catch {
    throw usage('The domain name in the request is not properly escaped.');
  }
}

async function withinDeadline<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const message = `The provisioner did not finish within ${VERB_DEADLINE_MS / 1000} s.`;
    late.reject(new ProvisionError({ code: 'TIMEOUT', message, hint: 'Look again with: lvp list' }));
  }, VERB_DEADLINE_MS);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  // Answered without having read a body that is too long: nothing more is read from this caller.
  if (!response.req.complete) response.setHeader('connection', 'close');
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(body)}\n`);
}
