/**
 * Images in a bucket store. Each call is one HTTP exchange with limits in time, no retry and no redirect:
 * trying again is for the caller, who knows how far it got. Questions and texts go through the minio
 * client; the bytes of images come over connections of our own, by requests which that client has signed.
 */
import type http from 'node:http';
import { ProvisionError } from '../../core/errors.ts';
import type { ImageReference } from '../../core/request.ts';
import { imageName } from '../../core/request.ts';
import type { Subnet } from '../../core/settings/subnet.ts';
import type { ImageObject, Images, ReadOptions } from '../../provision/ports/images.ts';
import { MinioBuckets } from './buckets.ts';
import type { Asked } from './errors.ts';
import { storeError, wrongAnswer } from './errors.ts';
import { StoreExchange } from './exchange.ts';
import { RangeReader } from './ranges.ts';
import type { Ask } from './requests.ts';
import { RequestSigner, clientRequest, isSecure } from './requests.ts';
import { RefusedAnswer } from './transport.ts';

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
  /** Connections are made with these alone; without it, with whatever the endpoint's name stands for. */
  readonly addresses?: readonly Subnet[] | undefined;
  readonly connectTimeoutMs?: number | undefined;
  readonly idleTimeoutMs?: number | undefined;
  /** An image that comes slower than this, over `rateWindowMs`, is a failure; by default 64 KiB/s over 30 s. */
  readonly rateMinBytesPerS?: number | undefined;
  readonly rateWindowMs?: number | undefined;
}

/** No image has this name. */
const PROBE_KEY = 'lvp-asks-whether-it-may-read-here';
const TEXT_MAX_BYTES = 64 * 1024;
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const KEY_MAX_BYTES = 1024;
/** Of an ETag or version: it goes into requests, journals and messages. S3's own have at most a tenth of that. */
const PIN_LENGTH_MAX = 1024;

/** The part of the configuration that says where the store is and what it may take. */
export interface MinioSettings extends Pick<
  MinioOptions,
  'region' | 'addresses' | 'connectTimeoutMs' | 'idleTimeoutMs' | 'rateMinBytesPerS'
> {
  readonly endpoint: URL;
  readonly accessKey: { reveal(): string };
  readonly secretKey: { reveal(): string };
  readonly ca: string | undefined;
}

export function openMinio({ endpoint, accessKey, secretKey, ca, ...limits }: MinioSettings): MinioImages {
  return new MinioImages({
    ...limits,
    ...{ endpoint: endpoint.href, caPem: ca },
    accessKey: accessKey.reveal(),
    secretKey: secretKey.reveal(),
  });
}

export class MinioImages implements Images {
  /** What is in its buckets, over the same connections. */
  readonly buckets: MinioBuckets;
  readonly #exchange: StoreExchange;
  readonly #ranges: RangeReader;

  constructor(options: MinioOptions) {
    const { caPem, connectTimeoutMs = 10_000, idleTimeoutMs = 30_000 } = options;
    const { rateMinBytesPerS = 64 * 1024, rateWindowMs = 30_000 } = options;
    const access = { ...options, endpoint: parseEndpoint(options.endpoint) };
    const limits = { caPem, connectTimeoutMs, idleTimeoutMs };
    this.#exchange = new StoreExchange(access, { ...limits, addresses: options.addresses });
    this.buckets = new MinioBuckets(this.#exchange);
    const { addresses } = this.#exchange;
    this.#ranges = new RangeReader(new RequestSigner(access), {
      ...{ ...limits, secure: isSecure(access), addresses, rateMinBytesPerS, rateWindowMs },
    });
  }

  async stat(image: ImageReference, version?: string): Promise<ImageObject> {
    const asked = { ...this.#asked(image), version };
    try {
      const answer = await this.#send({
        ...{ method: 'HEAD', image, version },
        headers: { 'x-amz-checksum-mode': 'ENABLED' },
      });
      answer.resume();
      const sizeBytes = Number(answer.headers['content-length'] ?? Number.NaN);
      const etag = plainEtag(answer.headers.etag);
      if (!Number.isSafeInteger(sizeBytes) || etag === '') {
        throw wrongAnswer(asked, 'the answer to HEAD has no Content-Length or no ETag');
      }
      const pinned = versionOf(answer) ?? version;
      if (etag.length > PIN_LENGTH_MAX || (pinned?.length ?? 0) > PIN_LENGTH_MAX) {
        throw wrongAnswer(
          asked,
          `the answer to HEAD has an ETag or a version of more than ${PIN_LENGTH_MAX} characters`,
        );
      }
      const storeSha256 = checksumOf(answer);
      return {
        ...{ image, sizeBytes, etag },
        ...(pinned === undefined ? {} : { version: pinned }),
        ...(storeSha256 === undefined ? {} : { storeSha256 }),
      };
    } catch (error) {
      throw storeError(error, asked);
    }
  }

  async readInto(
    object: ImageObject,
    offsetBytes: number,
    target: Uint8Array,
    options: ReadOptions,
  ): Promise<void> {
    if (target.length === 0) return;
    const asked = this.#asked(object.image);
    try {
      checkName(object.image);
      await this.#ranges.readInto(object, offsetBytes, target, options, asked);
    } catch (error) {
      if (options.signal.aborted) throw cancelled(asked, options.signal, error);
      throw storeError(error, asked);
    }
  }

  async readText(image: ImageReference): Promise<string | undefined> {
    const asked = this.#asked(image);
    try {
      const answer = await this.#send({ method: 'GET', image });
      return await textOf(answer, TEXT_MAX_BYTES, () => tooLong(asked));
    } catch (error) {
      const known = storeError(error, asked);
      if (known.code === 'IMAGE_NOT_FOUND') return undefined;
      throw known;
    }
  }

  /**
   * Asks for an object that need not be there. `readable`: the keys are right, and may read in the bucket;
   * `unknown`: they are right, and their policy does not let the store say what is there (s3:ListBucket). Throws
   * as the others do, IMAGE_NOT_FOUND if there is no such bucket.
   */
  async probeBucket(bucket: string): Promise<'readable' | 'unknown'> {
    const image = { bucket, key: PROBE_KEY };
    const asked = this.#asked(image);
    try {
      (await this.#send({ method: 'GET', image })).destroy();
      return 'readable';
    } catch (error) {
      const s3Code = error instanceof RefusedAnswer ? error.s3Code : undefined;
      if (s3Code === 'NoSuchKey') return 'readable';
      if (s3Code === 'AccessDenied') return 'unknown';
      if (s3Code !== 'NoSuchBucket') throw storeError(error, asked);
      throw new ProvisionError({
        code: 'IMAGE_NOT_FOUND',
        message: `There is no bucket ${bucket} at ${asked.endpoint}.`,
        hint: 'Check its name, or make it.',
        cause: error,
      });
    }
  }

  /** Closes idle connections, and those that tell of changes. */
  close(): void {
    this.#exchange.close();
    this.#ranges.close();
  }

  /** One exchange; rejects unless the status is 200 or 206. */
  async #send(ask: Ask): Promise<http.IncomingMessage> {
    checkName(ask.image);
    return this.#exchange.send(clientRequest(ask));
  }

  #asked(image: ImageReference): Asked {
    return { name: imageName(image), endpoint: this.#exchange.access.endpoint.origin };
  }
}

/** Leaving the loop destroys the answer: what is too long is not downloaded. */
async function textOf(
  answer: http.IncomingMessage,
  bytesMax: number,
  tooLong: () => ProvisionError,
): Promise<string> {
  const parts: Buffer[] = [];
  let gotBytes = 0;
  for await (const bytes of answer as AsyncIterable<Buffer>) {
    gotBytes += bytes.length;
    if (gotBytes > bytesMax) throw tooLong();
    parts.push(bytes);
  }
  return Buffer.concat(parts).toString('utf8');
}

function plainEtag(etag: string | undefined): string {
  return (etag ?? '').replace(/^"|"$/g, '');
}

/** MinIO and S3 say `null` for objects from before versioning. */
function versionOf(answer: http.IncomingMessage): string | undefined {
  const version = answer.headers['x-amz-version-id'];
  return typeof version === 'string' && version !== '' ? version : undefined;
}

/** Of the whole object: one that was uploaded in parts has a checksum of their checksums, `…-PARTS`. */
function checksumOf(answer: http.IncomingMessage): string | undefined {
  const checksum = answer.headers['x-amz-checksum-sha256'];
  if (typeof checksum !== 'string' || !/^[A-Za-z0-9+/]{43}=$/.test(checksum)) return undefined;
  return Buffer.from(checksum, 'base64').toString('hex');
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

function cancelled(asked: Asked, signal: AbortSignal, cause: unknown): ProvisionError {
  if (signal.reason instanceof ProvisionError) return signal.reason;
  return new ProvisionError({ code: 'CANCELLED', message: `Reading ${asked.name} was cancelled.`, cause });
}
