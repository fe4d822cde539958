/**
 * What is in a bucket, and being told when that changes. Of what is told nothing is read but that something was:
 * the client's own listener (minio-js 8.0, src/notification.ts) keeps lines of any length, and asks again without a
 * pause when the store ends the answer.
 */
import type http from 'node:http';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { ListedObject } from '../../core/policy/prefetch-rule.ts';
import type { Element } from '../../core/xml/xml.ts';
import { elementsOf, parseXml, textOf } from '../../core/xml/xml.ts';
import type { BucketListing, Buckets, ListenEnd, Listener } from '../../provision/ports/images.ts';
import { ChangeLines } from './change-lines.ts';
import type { Asked } from './errors.ts';
import { storeError } from './errors.ts';
import type { StoreExchange } from './exchange.ts';
import { RefusedAnswer } from './transport.ts';

/** With names of the greatest length, each byte of them as `%XX`, an answer still is no longer than parseXml takes. */
const PAGE_MAX = 250;
const PAGE_BYTES_MAX = 1024 * 1024;
const TOKEN_LENGTH_MAX = 4096;
/** MinIO is asked for an empty event as often, so that a dead connection is noticed; it is in seconds. */
const PING_S = 10;
const SILENCE_MAX_MS = 30_000;
/** Not allowed, not known, or taken for another request. */
const NOT_OFFERED: ReadonlySet<number> = new Set([400, 401, 403, 404, 405, 501]);

export class MinioBuckets implements Buckets {
  readonly #exchange: StoreExchange;

  constructor(exchange: StoreExchange) {
    this.#exchange = exchange;
  }

  async list(bucket: string, prefix: string, countMax: number, signal: AbortSignal): Promise<BucketListing> {
    const objects: ListedObject[] = [];
    const tokens = new Set<string>();
    let token: string | undefined;
    do {
      signal.throwIfAborted();
      const page = await this.#page(bucket, prefix, token);
      objects.push(...page.objects);
      token = page.next;
      // Whoever says the same again and again would be asked without end.
      if (token !== undefined && (tokens.has(token) || page.objects.length === 0)) break;
      if (token !== undefined) tokens.add(token);
    } while (token !== undefined && objects.length < countMax);
    return {
      objects: objects.slice(0, countMax),
      isCutShort: token !== undefined || objects.length > countMax,
    };
  }

  async listen(bucket: string, prefix: string, listener: Listener, signal: AbortSignal): Promise<ListenEnd> {
    const asked = { ...this.#asked(bucket), action: 's3:ListenBucketNotification' };
    try {
      const query = queryOf({
        events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:*'],
        ...{ ping: [String(PING_S)], prefix: [prefix] },
      });
      const request = {
        method: 'GET',
        bucketName: bucket,
        query,
        headers: { 'accept-encoding': 'identity' },
      };
      const answer = await this.#exchange.open(request, SILENCE_MAX_MS, signal);
      if (answer.headers['content-type']?.startsWith('text/event-stream') !== true) {
        // It has listed the bucket instead.
        answer.destroy();
        return { how: 'not-offered', problem: toProblem(unknownToStore(asked)) };
      }
      listener.onOpen();
      const lines = new ChangeLines(listener.onChange);
      for await (const bytes of answer as AsyncIterable<Buffer>) lines.received(bytes);
      return { how: 'ended' };
    } catch (error) {
      if (signal.aborted) return { how: 'ended' };
      const problem = toProblem(storeError(error, asked));
      const isOffered = !(error instanceof RefusedAnswer) || !NOT_OFFERED.has(error.status);
      return isOffered ? { how: 'failed', problem } : { how: 'not-offered', problem };
    }
  }

  async #page(bucket: string, prefix: string, token: string | undefined): Promise<Page> {
    const asked = { ...this.#asked(bucket), action: 's3:ListBucket' };
    try {
      const query = queryOf({
        ...(token === undefined ? {} : { 'continuation-token': [token] }),
        // XML has no way to write some characters that keys may have.
        'encoding-type': ['url'],
        ...{ 'list-type': ['2'], 'max-keys': [String(PAGE_MAX)], prefix: [prefix] },
      });
      const headers = { 'accept-encoding': 'identity' };
      return pageOf(
        await textOfAnswer(await this.#exchange.send({ method: 'GET', bucketName: bucket, query, headers })),
      );
    } catch (error) {
      throw storeError(error, asked);
    }
  }

  #asked(bucket: string): Asked {
    return { name: `the bucket ${bucket}`, endpoint: this.#exchange.access.endpoint.origin };
  }
}

interface Page {
  readonly objects: readonly ListedObject[];
  readonly next: string | undefined;
}

/** In the order in which it is signed. */
function queryOf(values: Readonly<Record<string, readonly string[]>>): string {
  return Object.entries(values)
    .flatMap(([name, all]) => all.map((value) => `${name}=${escaped(value)}`))
    .sort()
    .join('&');
}

/** As signatures have it: RFC 3986, without the exceptions of JavaScript. */
function escaped(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

async function textOfAnswer(answer: http.IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let gotBytes = 0;
  for await (const bytes of answer as AsyncIterable<Buffer>) {
    gotBytes += bytes.length;
    if (gotBytes > PAGE_BYTES_MAX) throw new Error(`a list of more than ${PAGE_BYTES_MAX} bytes came`);
    parts.push(bytes);
  }
  return Buffer.concat(parts).toString('utf8');
}

function pageOf(xml: string): Page {
  const root = parseXml(xml, { code: 'STORE_UNREACHABLE', what: 'list of objects' });
  if (root.localName !== 'ListBucketResult') throw new Error('another answer than a list of objects came');
  const isUrl = valueOf(root, 'EncodingType') === 'url';
  const objects = elementsOf(root)
    .filter(({ localName }) => localName === 'Contents')
    .flatMap((element) => listedOf(element, isUrl));
  const next = valueOf(root, 'NextContinuationToken');
  const goesOn = valueOf(root, 'IsTruncated') === 'true' && next !== '' && next.length <= TOKEN_LENGTH_MAX;
  return { objects, next: goesOn ? next : undefined };
}

/** What has no key, size or time is no object to us. */
function listedOf(element: Element, isUrl: boolean): ListedObject[] {
  const key = keyOf(valueOf(element, 'Key'), isUrl);
  const sizeBytes = Number(valueOf(element, 'Size'));
  const modifiedAtMs = Date.parse(valueOf(element, 'LastModified'));
  const etag = valueOf(element, 'ETag').replace(/^"|"$/g, '').slice(0, 1024);
  const isObject = key !== undefined && Number.isSafeInteger(sizeBytes) && sizeBytes > 0;
  return isObject && !Number.isNaN(modifiedAtMs) ? [{ key, sizeBytes, etag, modifiedAtMs }] : [];
}

function keyOf(text: string, isUrl: boolean): string | undefined {
  try {
    return isUrl ? decodeURIComponent(text.replaceAll('+', ' ')) : text;
  } catch {
    return undefined;
  }
}

/** The elements are in a namespace with some stores, and in none with others. */
function valueOf(parent: Element, name: string): string {
  const found = elementsOf(parent).find(({ localName }) => localName === name);
  return found === undefined ? '' : textOf(found);
}

function unknownToStore({ endpoint, name }: Asked): ProvisionError {
  return new ProvisionError({
    code: 'STORE_ACCESS_DENIED',
    message: `The store ${endpoint} does not tell of changes in ${name}: it does not know the request.`,
    hint: 'Only MinIO does. Its list is read again at each prefetch.interval all the same.',
  });
}
