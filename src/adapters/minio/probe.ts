/**
 * What can be learnt of the store without changing anything there: its certificate, its clock, whether it knows the
 * key, and what the key may do. The last is known from MinIO's own word about an account; nothing is tried out.
 */
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { z } from 'zod';
import type { ImageReference } from '../../core/request.ts';
import type { Subnet } from '../../core/settings/subnet.ts';
import type { StoreFacts } from '../../doctor/host.ts';
import { StoreAddresses } from './addresses.ts';
import type { StoreAccess } from './requests.ts';
import { hostOf, isSecure, RequestSigner } from './requests.ts';

const TIME_MAX_MS = 5_000;
const BODY_BYTES_MAX = 2 ** 20;

export interface ProbeAccess extends StoreAccess {
  readonly ca: string | undefined;
  /** Connections are made with these alone, as those of fills are. */
  readonly addresses?: readonly Subnet[] | undefined;
}

/** Throws if nobody answers. */
export async function probeStore(access: ProbeAccess): Promise<StoreFacts> {
  const certificate = isSecure(access) ? await shakeHands(access) : undefined;
  // Not even a signature goes to somebody who cannot prove to be the store.
  if (certificate?.mistake !== undefined) {
    return { certificate, answer: undefined, buckets: undefined, writableBuckets: undefined };
  }
  const listing = await ask(access);
  const account = await ask(access, { bucket: 'minio', key: 'admin/v3/accountinfo' }).catch(() => undefined);
  return {
    certificate,
    answer: {
      status: listing.status,
      code: /<Code>([A-Za-z0-9.]{1,64})<\/Code>/.exec(listing.body)?.[1],
      clockAheadMs: clockAheadOf(listing),
    },
    buckets: listing.status === 200 ? bucketsOf(listing.body) : undefined,
    writableBuckets: account?.status === 200 ? writableBucketsOf(account.body) : undefined,
  };
}

/** A handshake and nothing else; the certificate is looked at whether it is accepted or not. */
async function shakeHands(access: ProbeAccess): Promise<NonNullable<StoreFacts['certificate']>> {
  const { endpoint, ca } = access;
  const { promise, resolve, reject } = Promise.withResolvers<NonNullable<StoreFacts['certificate']>>();
  const host = hostOf(endpoint);
  const socket = tls.connect({
    ...{ host, port: Number(endpoint.port) || 443, minVersion: 'TLSv1.2', rejectUnauthorized: false },
    ...lookupWithin(access, host),
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
  });
  socket.setTimeout(TIME_MAX_MS, () =>
    socket.destroy(new Error(`no connection within ${TIME_MAX_MS / 1000} s`)),
  );
  socket.once('error', reject);
  socket.once('secureConnect', () => {
    const certificate = socket.getPeerCertificate();
    const mistake = socket.authorized
      ? undefined
      : (tls.checkServerIdentity(host, certificate)?.message ?? String(socket.authorizationError));
    resolve({ mistake, protocol: socket.getProtocol() ?? '', expiresMs: Date.parse(certificate.valid_to) });
    socket.destroy();
  });
  return promise;
}

/** For a socket to that host; throws AddressRefused for an address outside. */
function lookupWithin({ addresses }: ProbeAccess, host: string): { readonly lookup?: net.LookupFunction } {
  if (addresses === undefined) return {};
  const allowed = new StoreAddresses(addresses);
  allowed.check(host);
  return { lookup: allowed.lookup };
}

interface Told {
  readonly status: number;
  readonly body: string;
  readonly date: string | undefined;
  /** In the middle between request and answer, by this host's clock. */
  readonly atMs: number;
}

/** Without a name: for the list of buckets. */
async function ask(access: ProbeAccess, image?: ImageReference): Promise<Told> {
  const { text, host, port } = await new RequestSigner(access).sign({
    method: 'GET',
    ...(image === undefined ? {} : { image }),
  });
  const [first = '', ...fields] = text.trimEnd().split('\r\n');
  const headers = Object.fromEntries(
    fields.map((field) => [field.slice(0, field.indexOf(':')), field.slice(field.indexOf(':') + 2)]),
  );
  const startedMs = Date.now();
  const { promise, resolve, reject } = Promise.withResolvers<Told>();
  const options: https.RequestOptions = {
    ...{ host, port, path: first.split(' ')[1], headers, agent: false, minVersion: 'TLSv1.2' },
    ...(access.ca === undefined ? {} : { ca: access.ca }),
    ...lookupWithin(access, host),
    signal: AbortSignal.timeout(TIME_MAX_MS),
  };
  const sent = (isSecure(access) ? https : http).request(options, (answer) => {
    const atMs = (startedMs + Date.now()) / 2;
    readBody(answer).then((body) => {
      resolve({ status: answer.statusCode ?? 0, body, date: answer.headers.date, atMs });
    }, reject);
  });
  sent.on('error', reject);
  sent.end();
  return promise;
}

async function readBody(answer: http.IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    body += chunk.toString('utf8');
    if (body.length > BODY_BYTES_MAX) break;
  }
  return body;
}

/** The header counts whole seconds. */
function clockAheadOf({ date, atMs }: Told): number | undefined {
  const storeMs = Date.parse(date ?? '');
  return Number.isNaN(storeMs) ? undefined : storeMs + 500 - atMs;
}

function bucketsOf(body: string): readonly string[] {
  return [...body.matchAll(/<Bucket>[\s\S]*?<Name>([a-z0-9.-]{3,63})<\/Name>/g)].map(([, name = '']) => name);
}

/** https://pkg.go.dev/github.com/minio/madmin-go#AccountInfo, as far as it is of use. */
const AccountInfo = z.object({
  Buckets: z.array(z.object({ name: z.string(), access: z.object({ write: z.boolean() }) })).nullable(),
});

function writableBucketsOf(body: string): readonly string[] | undefined {
  try {
    const { Buckets } = AccountInfo.parse(JSON.parse(body));
    return (Buckets ?? []).filter(({ access }) => access.write).map(({ name }) => name);
  } catch {
    return undefined;
  }
}
