/**
 * The HTTP API for the network: the routes of the Go provisioner and more, over TLS, for callers that the
 * configuration names. It can do nothing that an annotation could not. What is offered: docs/http-api.md.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import type { FastifyServerOptions } from 'fastify';
import { fastify } from 'fastify';
import {
  jsonSchemaTransform,
  jsonSchemaTransformObject,
  serializerCompiler,
  validatorCompiler,
} from 'fastify-type-provider-zod';
import { ProvisionError } from '../core/errors.ts';
import type { HttpSettings } from '../core/settings/http-settings.ts';
import { admitRequests } from './http-api/admission.ts';
import { auditRequests } from './http-api/audit-hook.ts';
import { Callers } from './http-api/callers.ts';
import { addCompatibleRoutes, addHealthRoutes } from './http-api/compatible-routes.ts';
import { addAnnotationRoutes } from './http-api/annotation-routes.ts';
import { addAuditRoute } from './http-api/audit-route.ts';
import { addDomainRoutes } from './http-api/domain-routes.ts';
import type { Api } from './http-api/fastify-types.ts';
import { IdempotentRequests } from './http-api/idempotency.ts';
import { addImageRoutes } from './http-api/image-routes.ts';
import { addJobRoutes } from './http-api/job-routes.ts';
import type { KeyFiles } from './http-api/key-files.ts';
import { readKeyFiles } from './http-api/key-files.ts';
import { watchKeyFiles } from './http-api/key-watch.ts';
import { withOtherMethodsRefused } from './http-api/other-methods.ts';
import { addMetricsRoute } from './http-api/metrics-route.ts';
import { answerRefused, Refusal } from './http-api/refusal.ts';
import type { HttpApiOptions, RouteNeeds } from './http-api/routes.ts';
import { addUiRoutes } from './http-api/ui-routes.ts';
import { TokenCheck } from './http-api/token-check.ts';

const BODY_BYTES_MAX = 65_536;
const HEADER_BYTES_MAX = 16_384;
const REQUEST_DEADLINE_MS = 15_000;
const HANDSHAKE_DEADLINE_MS = 10_000;
const KEEP_ALIVE_MS = 60_000;
/** A verb may call libvirt, which may be slow. */
const VERB_DEADLINE_MS = 60_000;
/** A domain's name or a UUID, percent-encoded. */
const PARAMETER_LENGTH_MAX = 1_024;

const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

export interface HttpApi {
  /** Where it listens. */
  readonly url: URL;
  /** Reads certificates and tokens again; broken ones are not taken over. */
  reload(): void;
  close(): Promise<void>;
}

/** CONFIG_INVALID if it could not be offered safely. */
export async function openHttpApi(options: HttpApiOptions): Promise<HttpApi> {
  const { settings, clock, log } = options;
  const files = readKeyFiles(settings, clock.nowMs());
  for (const warning of files.warnings) log.warn({}, warning);
  const tokens = new TokenCheck();
  tokens.replace(files.tokens);
  tellExpiry(options, files);
  const app = fastify(serverOptions(settings, files)) as unknown as Api;
  const connections = new Connections(app);
  await prepare(app, options, tokens);
  addRoutes(app, {
    ...options,
    idempotent: new IdempotentRequests(() => clock.monotonicMs()),
    untilChanged: () => connections.untilChanged,
  });
  const url = await listen(app, settings);
  const watch = watchKeyFiles({
    ...{ settings, clock, log, lookMs: options.lookMs },
    take: (changed) => {
      tokens.replace(changed.tokens);
      tellExpiry(options, changed);
      if (changed.tls !== undefined) (app.server as TlsServer).setSecureContext(tlsOf(changed.tls));
      connections.change();
    },
  });
  log.info({ url: url.href, tokens: files.tokens.size }, 'the HTTP API listens');
  return {
    url,
    reload: () => {
      watch.reload();
    },
    close: async () => {
      watch.stop();
      connections.change();
      // fastify does so only if it has listened itself.
      (app.server as TlsServer).closeAllConnections();
      await app.close();
    },
  };
}

function tellExpiry({ onExpiry }: HttpApiOptions, { expiresAtMs }: KeyFiles): void {
  onExpiry?.('server-certificate', expiresAtMs['server-certificate']);
  onExpiry?.('ca-certificate', expiresAtMs['ca-certificate']);
}

function serverOptions({ tls }: HttpSettings, files: KeyFiles): FastifyServerOptions {
  const http = { maxHeaderSize: HEADER_BYTES_MAX, headersTimeout: REQUEST_DEADLINE_MS };
  const https = tls && {
    ...{ ...http, ...tlsOf(files.tls), handshakeTimeout: HANDSHAKE_DEADLINE_MS },
    // Whoever comes without a certificate may have a token: judged with each request.
    ...{ requestCert: tls.clientCaFile !== undefined, rejectUnauthorized: false },
  };
  const options = {
    ...(https ? { https } : { http }),
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_DEADLINE_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    handlerTimeout: VERB_DEADLINE_MS,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    trustProxy: false,
    genReqId: () => randomUUID(),
    routerOptions: { maxParamLength: PARAMETER_LENGTH_MAX },
    // Its log would have the headers of requests within reach.
    logger: false,
  };
  return options;
}

function tlsOf(tls: KeyFiles['tls']) {
  return { ...tls, minVersion: 'TLSv1.2' as const };
}

/** Everything that a request passes on its way to its route and back. */
async function prepare(app: Api, options: HttpApiOptions, tokens: TokenCheck): Promise<void> {
  const { settings, log } = options;
  app.server.maxConnections = settings.connectionsMax;
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.removeContentTypeParser('text/plain');
  app.decorateRequest('caller', undefined);
  app.decorateRequest('refused', undefined);
  app.decorateRequest('isQuiet', false);
  app.decorateRequest('about', null as never);
  app.addHook('onRequest', (request, reply, done) => {
    request.about = {};
    void reply.headers({ ...HEADERS, 'x-request-id': request.id });
    if (settings.tls) void reply.header('strict-transport-security', 'max-age=31536000');
    done();
  });
  app.setErrorHandler((error, request, reply) => {
    answerRefused(error, request, reply, log);
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `There is no ${request.method} ${request.url.split('?')[0] ?? ''} here.`;
    const refusal = new Refusal({ status: 404, code: 'NOT_FOUND', message, hint: 'See: /openapi.json' });
    answerRefused(refusal, request, reply, log);
  });
  await app.register(rateLimit, { global: false });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'libvirt-volume-provisioner', version: options.version },
      security: [{ token: [] }, { bearer: [] }, { certificate: [] }],
      components: {
        securitySchemes: {
          token: { type: 'apiKey', in: 'header', name: 'X-API-Token' },
          bearer: { type: 'http', scheme: 'bearer' },
          certificate: { type: 'mutualTLS' } as never,
        },
      },
    },
    transform: jsonSchemaTransform,
    transformObject: jsonSchemaTransformObject,
  });
  admitRequests(app, { settings, tokens, clock: options.clock, callers: new Callers(settings.identities) });
  auditRequests(app, options);
}

function addRoutes(app: Api, needs: RouteNeeds): void {
  withOtherMethodsRefused(app, () => {
    addHealthRoutes(app, needs);
    if (needs.metrics !== undefined) addMetricsRoute(app, needs.metrics, needs.settings);
    addCompatibleRoutes(app, needs);
    addJobRoutes(app, needs);
    addDomainRoutes(app, needs);
    addAnnotationRoutes(app, needs);
    addImageRoutes(app, needs);
    addUiRoutes(app, needs);
    addAuditRoute(app, needs.events);
    app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  });
}

/**
 * Not by fastify's own listen(), which for all addresses asks which ones there are: that needs a netlink socket, and
 * the unit allows none.
 */
async function listen(app: Api, { host, port, tls }: HttpSettings): Promise<URL> {
  await app.ready();
  try {
    const listening = once(app.server, 'listening');
    app.server.listen({ host, port });
    await listening;
  } catch (cause) {
    throw new ProvisionError({
      code: 'CONFIG_INVALID',
      message: `The HTTP API cannot listen on ${host} port ${port}: ${cause instanceof Error ? cause.message : String(cause)}.`,
      hint: 'Another program may listen there, or the address may be of another host; see http.listen.',
      cause,
    });
  }
  const { address, family, port: chosen } = app.server.address() as AddressInfo;
  return new URL(`${tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${chosen}`);
}

/** Connections that were made before certificates or tokens changed serve what is under way, and nothing after. */
class Connections {
  readonly #app: Api;
  readonly #sinceChange = new WeakMap<Socket, number>();
  #changes = 0;
  #changing = new AbortController();

  constructor(app: Api) {
    this.#app = app;
    app.server.on('connection', (socket: Socket) => this.#sinceChange.set(socket, this.#changes));
    app.server.on('secureConnection', (socket: Socket) => this.#sinceChange.set(socket, this.#changes));
    app.addHook('onSend', (request, reply, _payload, done) => {
      if (this.#isOld(request.raw)) void reply.header('connection', 'close');
      done();
    });
  }

  get untilChanged(): AbortSignal {
    return this.#changing.signal;
  }

  change(): void {
    this.#changes += 1;
    this.#changing.abort();
    this.#changing = new AbortController();
    (this.#app.server as TlsServer).closeIdleConnections();
  }

  #isOld({ socket }: IncomingMessage): boolean {
    return this.#sinceChange.get(socket) !== this.#changes;
  }
}
