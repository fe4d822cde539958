/**
 * Images in a bucket store, over the minio client, which builds and signs the requests. Each is one HTTP
 * exchange with limits in time, no retry and no redirect: trying again is for the caller, who knows how far
 * it got. The region is always given, so the client never asks for a bucket's region (an extra request, and
 * the one place where it would follow what a store says about another).
 */
import http from 'node:http';
import https from 'node:https';
import { Client } from 'minio';
import { ProvisionError } from '../core/errors.ts';
import type { ImageReference } from '../core/request.ts';
import { imageName } from '../core/request.ts';
import type { ImageObject, Images } from '../provision/ports.ts';
import type { Asked } from './minio-errors.ts';
import { changed, storeError, wrongAnswer } from './minio-errors.ts';
import { wasStale, watchedTransport } from './minio-transport.ts';

export interface MinioOptions {
  /** `https://minio.example:9000`; scheme, host and port only. */
  readonly endpoint: string;
  /** Both empty for anonymous access. */
  readonly accessKey: string;
  readonly secretKey: string;
  /** MinIO's own default is `us-east-1`. */
  readonly region?: string | undefined;
  /** False for stores that want the bucket in the host name. */
  readonly pathStyle?: boolean | undefined;
  /** The text of the CA file, PEM; without it the system's authorities are trusted. */
  readonly caPem?: string | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly idleTimeoutMs?: number | undefined;
}

const TEXT_MAX_BYTES = 64 * 1024;
/** Slower than this, a range is given up and asked for again from where it stood. */
const RATE_MIN_BYTES_PER_MS = 32;
const STALE_TRIES_MAX = 8;
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const KEY_MAX_BYTES = 1024;

interface Ask {
  readonly method: 'GET' | 'HEAD';
  readonly image: ImageReference;
  readonly version?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly lengthBytes?: number;
  readonly signal?: AbortSignal;
}

export class MinioImages implements Images {
  readonly #options: MinioOptions;
  readonly #endpoint: URL;
  readonly #agent: http.Agent;

  constructor(options: MinioOptions) {
    this.#options = options;
    this.#endpoint = parseEndpoint(options.endpoint);
    const { caPem } = options;
    this.#agent =
      this.#endpoint.protocol === 'https:'
        ? new https.Agent({
            keepAlive: true,
            minVersion: 'TLSv1.2',
            ...(caPem === undefined ? {} : { ca: caPem }),
          })
        : new http.Agent({ keepAlive: true });
  }

  async stat(image: ImageReference, version?: string): Promise<ImageObject> {
    const asked = this.#asked(image);
    try {
      const answer = await this.#send({ method: 'HEAD', image, version });
      answer.resume();
      const sizeBytes = Number(answer.headers['content-length'] ?? Number.NaN);
      const etag = plainEtag(answer.headers.etag);
      if (!Number.isSafeInteger(sizeBytes) || etag === '') {
        throw wrongAnswer(asked, 'the answer to HEAD has no Content-Length or no ETag');
      }
      const pinned = versionOf(answer) ?? version;
      return { image, sizeBytes, etag, ...(pinned === undefined ? {} : { version: pinned }) };
    } catch (error) {
      throw storeError(error, asked);
    }
  }

  async *read(
    object: ImageObject,
    offsetBytes: number,
    lengthBytes: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    if (lengthBytes === 0) return;
    const asked = this.#asked(object.image);
    const lastBytes = offsetBytes + lengthBytes - 1;
    let gotBytes = 0;
    try {
      const answer = await this.#send({
        method: 'GET',
        image: object.image,
        version: object.version,
        headers: { range: `bytes=${offsetBytes}-${lastBytes}`, 'if-match': `"${object.etag}"` },
        lengthBytes,
        signal,
      });
      try {
        checkRange(answer, object, asked, offsetBytes, lastBytes);
        for await (const bytes of answer as AsyncIterable<Buffer>) {
          gotBytes += bytes.length;
          yield bytes;
        }
      } finally {
        if (!answer.readableEnded) answer.destroy();
      }
    } catch (error) {
      if (signal.aborted) throw cancelled(asked, signal, error);
      throw storeError(error, asked);
    }
    if (gotBytes !== lengthBytes) throw short(asked, offsetBytes + gotBytes, object);
  }

  async readText(image: ImageReference): Promise<string | undefined> {
    const asked = this.#asked(image);
    try {
      const answer = await this.#send({ method: 'GET', image, lengthBytes: TEXT_MAX_BYTES });
      const parts: Buffer[] = [];
      let gotBytes = 0;
      for await (const bytes of answer as AsyncIterable<Buffer>) {
        gotBytes += bytes.length;
        // Leaving the loop destroys the answer: the rest is not downloaded.
        if (gotBytes > TEXT_MAX_BYTES) throw tooLong(asked);
        parts.push(bytes);
      }
      return Buffer.concat(parts).toString('utf8');
    } catch (error) {
      const known = storeError(error, asked);
      if (known.code === 'IMAGE_NOT_FOUND') return undefined;
      throw known;
    }
  }

  /** Closes idle connections. */
  close(): void {
    this.#agent.destroy();
  }

  /** One exchange; rejects unless the status is 200 or 206. */
  async #send(ask: Ask): Promise<http.IncomingMessage> {
    checkName(ask.image);
    for (let tries = 1; ; tries++) {
      try {
        return await this.#exchange(ask);
      } catch (error) {
        // Each try takes one dead connection out of the agent's pool.
        if (!wasStale(error) || tries === STALE_TRIES_MAX || ask.signal?.aborted === true) throw error;
      }
    }
  }

  #exchange(ask: Ask): Promise<http.IncomingMessage> {
    const { accessKey, secretKey, region, pathStyle } = this.#options;
    const { connectTimeoutMs = 10_000, idleTimeoutMs = 30_000 } = this.#options;
    const secure = this.#endpoint.protocol === 'https:';
    const totalTimeoutMs = 2 * idleTimeoutMs + (ask.lengthBytes ?? 0) / RATE_MIN_BYTES_PER_MS;
    const client = new Client({
      endPoint: this.#endpoint.hostname.replace(/^\[|\]$/g, ''),
      port: Number(this.#endpoint.port) || (secure ? 443 : 80),
      useSSL: secure,
      accessKey,
      secretKey,
      region: region ?? 'us-east-1',
      pathStyle: pathStyle ?? true,
      transportAgent: this.#agent,
      transport: watchedTransport(secure, {
        connectTimeoutMs,
        idleTimeoutMs,
        totalTimeoutMs,
        signal: ask.signal,
      }),
      retryOptions: { disableRetry: true },
    });
    return client.makeRequestAsync(
      {
        method: ask.method,
        bucketName: ask.image.bucket,
        objectName: ask.image.key,
        headers: { 'accept-encoding': 'identity', ...ask.headers },
        query: ask.version === undefined ? '' : `versionId=${encodeURIComponent(ask.version)}`,
      },
      '',
      [200, 206],
    );
  }

  #asked(image: ImageReference): Asked {
    return { name: imageName(image), endpoint: this.#endpoint.origin };
  }
}

/** Exactly the bytes asked for, of exactly the object that was pinned. */
function checkRange(
  answer: http.IncomingMessage,
  object: ImageObject,
  asked: Asked,
  firstBytes: number,
  lastBytes: number,
): void {
  const etag = plainEtag(answer.headers.etag);
  if (etag !== object.etag) throw changed(asked, `its ETag was ${object.etag} and is ${etag || 'missing'}`);
  const version = versionOf(answer);
  if (object.version !== undefined && version !== undefined && version !== object.version) {
    throw changed(asked, `its version was ${object.version} and is ${version}`);
  }
  if (answer.statusCode !== 206) {
    throw wrongAnswer(asked, `status ${answer.statusCode ?? 0} came instead of 206`);
  }
  const range = answer.headers['content-range'];
  const expected = `bytes ${firstBytes}-${lastBytes}/${object.sizeBytes}`;
  if (range !== expected) {
    throw wrongAnswer(asked, `Content-Range is "${range ?? ''}" instead of "${expected}"`);
  }
  const lengthBytes = lastBytes - firstBytes + 1;
  const length = answer.headers['content-length'];
  if (length !== String(lengthBytes)) {
    throw wrongAnswer(asked, `Content-Length is "${length ?? ''}" instead of "${lengthBytes}"`);
  }
}

function plainEtag(etag: string | undefined): string {
  return (etag ?? '').replace(/^"|"$/g, '');
}

/** MinIO and S3 say `null` for objects from before versioning. */
function versionOf(answer: http.IncomingMessage): string | undefined {
  const version = answer.headers['x-amz-version-id'];
  return typeof version === 'string' && version !== '' ? version : undefined;
}

function parseEndpoint(text: string): URL {
  const url = URL.parse(text);
  const plain =
    url !== null &&
    (url.protocol === 'https:' || url.protocol === 'http:') &&
    url.username === '' &&
    url.password === '' &&
    url.pathname === '/' &&
    url.search === '' &&
    url.hash === '';
  if (plain) return url;
  // Not quoted: somebody may have written credentials into it.
  throw new ProvisionError({
    code: 'CONFIG_INVALID',
    message: 'The endpoint of the bucket store is not http(s)://HOST[:PORT] with nothing else in it.',
    hint: 'Write it like https://minio.example.org:9000; credentials go into their own files.',
  });
}

function checkName(image: ImageReference): void {
  const key = Buffer.byteLength(image.key);
  if (BUCKET.test(image.bucket) && key > 0 && key <= KEY_MAX_BYTES) return;
  throw new ProvisionError({
    code: 'IMAGE_NOT_FOUND',
    message: `${JSON.stringify(imageName(image))} cannot be the name of an object.`,
    hint: `A bucket has 3 to 63 of a-z, 0-9, "." and "-"; a key has 1 to ${KEY_MAX_BYTES} bytes.`,
  });
}

function tooLong(asked: Asked): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_TOO_LARGE',
    message: `${asked.name} is longer than ${TEXT_MAX_BYTES} bytes, too long for a text.`,
    hint: 'It should hold what sha256sum writes about one image.',
  });
}

function short(asked: Asked, atBytes: number, object: ImageObject): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_TRUNCATED',
    message: `The store ${asked.endpoint} ended ${asked.name} at byte ${atBytes} of ${object.sizeBytes}.`,
    hint: 'The connection was cut, or the object is damaged: look at the store.',
  });
}

function cancelled(asked: Asked, signal: AbortSignal, cause: unknown): ProvisionError {
  if (signal.reason instanceof ProvisionError) return signal.reason;
  return new ProvisionError({ code: 'CANCELLED', message: `Reading ${asked.name} was cancelled.`, cause });
}
