/** What every request passes before its route: how often, who, and whether they may. */
import { isIPv6 } from 'node:net';
import type { FastifyRequest } from 'fastify';
import type { HttpSettings } from '../../core/settings/http-settings.ts';
import type { Clock } from '../../provision/ports/host.ts';
import type { Caller, Callers } from './callers.ts';
import { requireRight } from './callers.ts';
import type { Api } from './fastify-types.ts';
import { Refusal } from './refusal.ts';
import type { TokenCheck } from './token-check.ts';

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
/** Whoever goes on failing waits so long for the refusal: every try is a handshake, which costs more than the answer. */
const FAILURES_PAUSE_MS = 250;

export interface Admission {
  readonly settings: HttpSettings;
  readonly callers: Callers;
  readonly tokens: TokenCheck;
  readonly clock: Pick<Clock, 'sleep'>;
}

/** Whether one more may come; counts it. */
type Brake = (request: FastifyRequest) => Promise<void>;

/** Needs @fastify/rate-limit. */
export function admitRequests(app: Api, { settings, callers, tokens, clock }: Admission): void {
  const told = app.createRateLimit({ max: 1, timeWindow: MINUTE_MS, keyGenerator: keyOf });
  const brake = (
    max: number,
    timeWindow: number,
    of: (request: FastifyRequest) => string,
    what: string,
    pauseMs = 0,
  ): Brake => {
    const limit = app.createRateLimit({ max, timeWindow, keyGenerator: of });
    return async (request) => {
      const found = await limit(request);
      if (found.isAllowed || !found.isExceeded) return;
      if (pauseMs > 0) await clock.sleep(pauseMs);
      const first = await told(request);
      throw new Refusal({
        ...{
          status: 429,
          code: 'RATE_LIMITED',
          message: `Too many ${what}: ${max} in ${timeWindow / 1_000} s.`,
        },
        ...{ retryAfterS: found.ttlInSeconds, isQuiet: !first.isAllowed && first.isExceeded },
      });
    };
  };
  const requests = brake(settings.requestsPerSecondMax, SECOND_MS, keyOf, 'requests');
  const failures = brake(
    settings.failuresPerMinuteMax,
    MINUTE_MS,
    addressOf,
    'failed authentications',
    FAILURES_PAUSE_MS,
  );

  app.addHook('onRequest', async (request) => {
    addressOf(request);
    const { rights, isOpenTo, changes } = request.routeOptions.config;
    if (rights !== undefined && isOpenTo?.(request.ip) !== true) {
      request.caller = await whoCalls(request, { callers, tokens }, failures);
      await requests(request);
      requireRight(request.caller, rights);
      if (changes !== undefined) refuseOtherSites(request);
    } else await requests(request);
  });
}

async function whoCalls(
  request: FastifyRequest,
  { callers, tokens }: Pick<Admission, 'callers' | 'tokens'>,
  failures: Brake,
): Promise<Caller> {
  const token = tokenIn(request);
  const known = token === undefined ? undefined : tokens.recall(token);
  if (known !== undefined) return callers.ofToken(known);
  if (token === undefined) {
    const caller = await orElse(failures, request, () => callers.ofConnection(request.socket));
    if (caller !== undefined) return caller;
  }
  // A client that opens all its connections at once shows its token on all of them before it is known.
  const joined = token === undefined ? undefined : await tokens.underWay(token);
  if (typeof joined === 'object') return callers.ofToken(joined.name);
  // Before the hash is worked out, which costs more than all else.
  await failures(request);
  const verdict = token === undefined ? 'unknown' : (joined ?? (await tokens.check(token)));
  if (verdict === 'busy') {
    throw new Refusal({
      ...{ status: 503, code: 'BUSY', message: 'Too many unknown tokens are waiting to be checked.' },
      ...{ hint: 'Try again.', retryAfterS: 1 },
    });
  }
  if (verdict !== 'unknown') return callers.ofToken(verdict.name);
  throw new Refusal({
    status: 401,
    code: 'UNAUTHORIZED',
    message:
      token === undefined
        ? 'Neither a token nor a client certificate came with the request.'
        : 'The token is not one of this host.',
    hint: 'Send a token as X-API-Token or as Authorization: Bearer, or call with a client certificate.',
  });
}

async function orElse<T>(failures: Brake, request: FastifyRequest, find: () => T): Promise<T> {
  try {
    return find();
  } catch (error) {
    await failures(request);
    throw error;
  }
}

/** A browser shows its client certificate whoever's page asks, but says when that page is not ours (Fetch Metadata). */
function refuseOtherSites({ headers }: FastifyRequest): void {
  const site = headers['sec-fetch-site'];
  if (site === undefined || site === 'same-origin' || site === 'none') return;
  throw new Refusal({
    ...{ status: 403, code: 'FORBIDDEN', message: 'A page of another site has asked for this.' },
    hint: 'Ask for it with a program, such as lvp or curl.',
  });
}

function tokenIn({ headers, routeOptions }: FastifyRequest): string | undefined {
  const { authorization = '' } = headers;
  const [, bearer] = /^Bearer +(.+)$/i.exec(authorization) ?? [];
  const own = headers['x-api-token'];
  const password = routeOptions.config.page?.takesBasic === true ? passwordIn(authorization) : undefined;
  return bearer ?? password ?? (typeof own === 'string' && own !== '' ? own : undefined);
}

/** Of HTTP Basic. Browsers send it by themselves, whoever's page asks: never where anything could be changed. */
function passwordIn(authorization: string): string | undefined {
  const [, encoded] = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(authorization) ?? [];
  const [, password] = /^[^:]*:(.+)$/s.exec(Buffer.from(encoded ?? '', 'base64').toString()) ?? [];
  return password;
}

function keyOf(request: FastifyRequest): string {
  return request.caller?.who ?? addressOf(request);
}

/** A socket forgets the address of whoever hangs up, which may be while a token is checked. */
const ADDRESSES = new WeakMap<FastifyRequest, string>();

function addressOf(request: FastifyRequest): string {
  const known = ADDRESSES.get(request);
  if (known !== undefined) return known;
  // Its type does not know that.
  const { ip } = request as { readonly ip: string | undefined };
  const address = householdOf(ip ?? 'gone');
  ADDRESSES.set(request, address);
  return address;
}

/** One household, as the network sees it: an IPv6 customer has 2^64 addresses. */
function householdOf(ip: string): string {
  const plain = ip.replace(/^::ffff:(?=\d+\.)/, '');
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  return [...groups, ...Array<string>(missing).fill('0')].slice(0, 4).join(':');
}
