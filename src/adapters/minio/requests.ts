/**
 * What the minio client would send: it names hosts and paths and signs; the requests are then sent here,
 * over connections of our own. The region is always given, so the client never asks for a bucket's region
 * (an extra request, and the one place where it would follow what a store says about another).
 */
import type http from 'node:http';
import type { ClientOptions } from 'minio';
import { Client } from 'minio';
import type { ImageReference } from '../../core/request.ts';

const REGION = 'us-east-1';

export interface StoreAccess {
  readonly endpoint: URL;
  /** Both empty for anonymous access. */
  readonly accessKey: string;
  readonly secretKey: string;
  /** MinIO's own default is `us-east-1`. */
  readonly region?: string | undefined;
  /** False for stores that want the bucket in the host name. */
  readonly pathStyle?: boolean | undefined;
}

export interface Ask {
  readonly method: 'GET' | 'HEAD';
  readonly image: ImageReference;
  readonly version?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Without an image it is asked of the store itself. */
export type StoreAsk = Omit<Ask, 'image'> & Partial<Pick<Ask, 'image'>>;

/** A request with its signature, ready to be sent. */
export interface SignedRequest {
  readonly host: string;
  readonly port: number;
  readonly text: string;
}

export function isSecure(access: StoreAccess): boolean {
  return access.endpoint.protocol === 'https:';
}

/** Without the brackets that a URL puts around an IPv6 address. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '');
}

/** A client that sends its requests through `transport`. */
export function minioClient(access: StoreAccess, transport: ClientOptions['transport']): Client {
  const { endpoint, accessKey, secretKey, region, pathStyle } = access;
  const secure = isSecure(access);
  return new Client({
    endPoint: hostOf(endpoint),
    port: Number(endpoint.port) || (secure ? 443 : 80),
    useSSL: secure,
    accessKey,
    secretKey,
    region: region ?? REGION,
    pathStyle: pathStyle ?? true,
    ...(transport === undefined ? {} : { transport }),
    retryOptions: { disableRetry: true },
  });
}

/** The client's words for a request. */
export function clientRequest(ask: StoreAsk): Parameters<Client['makeRequestAsync']>[0] {
  return {
    method: ask.method,
    ...(ask.image === undefined ? {} : { bucketName: ask.image.bucket, objectName: ask.image.key }),
    headers: { 'accept-encoding': 'identity', ...ask.headers },
    query: ask.version === undefined ? '' : `versionId=${encodeURIComponent(ask.version)}`,
  };
}

/** Carries a signed request out of the client, whose signer cannot be called by itself. */
class Signed extends Error {
  readonly options: http.RequestOptions;

  constructor(options: http.RequestOptions) {
    super('signed, not sent');
    this.options = options;
  }
}

export class RequestSigner {
  readonly #client: Client;
  readonly #region: string;

  constructor(access: StoreAccess) {
    const request = (options: http.RequestOptions): never => {
      throw new Signed(options);
    };
    this.#region = access.region ?? REGION;
    this.#client = minioClient(access, { request } as unknown as ClientOptions['transport']);
  }

  /** The region is said here, too: the client wants a bucket to know its own by. */
  async sign(ask: StoreAsk): Promise<SignedRequest> {
    try {
      await this.#client.makeRequestAsync(clientRequest(ask), '', [206], this.#region);
    } catch (error) {
      if (error instanceof Signed) return requestText(error.options);
      throw error;
    }
    throw new Error('the minio client sent a request by a way of its own');
  }
}

function requestText({ method, path, host, port, headers }: http.RequestOptions): SignedRequest {
  const lines = [`${method ?? 'GET'} ${path ?? '/'} HTTP/1.1`];
  for (const [name, value] of Object.entries(headers ?? {})) lines.push(`${name}: ${String(value)}`);
  // A line break in a key or version would begin a header field of its own.
  if (!lines.every((line) => /^[\x20-\x7e]+$/.test(line))) throw new Error('the request is not plain ASCII');
  return { host: host ?? '', port: Number(port), text: `${lines.join('\r\n')}\r\n\r\n` };
}
