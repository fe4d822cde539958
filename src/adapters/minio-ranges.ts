/** Ranges of pinned objects, over a few kept connections, straight into the memory they are for. */
import type { ImageObject, ReadOptions } from '../provision/ports.ts';
import type { ConnectionOptions } from './minio-connection.ts';
import { Connection, StaleConnection } from './minio-connection.ts';
import type { Asked } from './minio-errors.ts';
import { changed, wrongAnswer } from './minio-errors.ts';
import type { AnswerHead } from './minio-head.ts';
import type { RequestSigner, SignedRequest } from './minio-requests.ts';

/** Kept while nobody uses them; stores close theirs after a while, so more would only grow stale. */
const IDLE_MAX = 8;
/** Each try takes one dead connection out of the idle ones. */
const STALE_TRIES_MAX = IDLE_MAX + 1;

interface Idle {
  /** `HOST:PORT`; with the bucket in the host name there are several. */
  readonly place: string;
  readonly connection: Connection;
}

export class RangeReader {
  readonly #signer: RequestSigner;
  readonly #limits: Omit<ConnectionOptions, 'host' | 'port'>;
  #idle: Idle[] = [];

  constructor(signer: RequestSigner, limits: Omit<ConnectionOptions, 'host' | 'port'>) {
    this.#signer = signer;
    this.#limits = limits;
  }

  /** Fills `target`; throws what the connection threw, or what is wrong with the answer. */
  async readInto(
    object: ImageObject,
    offsetBytes: number,
    target: Uint8Array,
    options: ReadOptions,
    asked: Asked,
  ): Promise<void> {
    const lastBytes = offsetBytes + target.length - 1;
    const signed = await this.#signer.sign({
      method: 'GET',
      image: object.image,
      version: object.version,
      headers: { range: `bytes=${offsetBytes}-${lastBytes}`, 'if-match': `"${object.etag}"` },
    });
    const request = {
      text: signed.text,
      target,
      signal: options.signal,
      accept: (head: AnswerHead) => {
        checkRange(head, object, asked, offsetBytes, lastBytes);
      },
      onBytes: (countBytes: number) => options.onBytes?.(countBytes),
    };
    for (let tries = 1; ; tries++) {
      const connection = this.#take(signed);
      try {
        await connection.fetch(request);
        this.#keep(signed, connection);
        return;
      } catch (error) {
        connection.close();
        if (!(error instanceof StaleConnection) || tries === STALE_TRIES_MAX) throw error;
      }
    }
  }

  /** Closes idle connections. */
  close(): void {
    for (const { connection } of this.#idle) connection.close();
    this.#idle = [];
  }

  #take({ host, port }: SignedRequest): Connection {
    this.#idle = this.#idle.filter(({ connection }) => connection.isUsable);
    const at = this.#idle.findLastIndex(({ place }) => place === `${host}:${port}`);
    const [idle] = at < 0 ? [] : this.#idle.splice(at, 1);
    return idle?.connection ?? new Connection({ ...this.#limits, host, port });
  }

  #keep({ host, port }: SignedRequest, connection: Connection): void {
    if (!connection.isUsable) return;
    connection.rest();
    this.#idle.push({ place: `${host}:${port}`, connection });
    if (this.#idle.length > IDLE_MAX) this.#idle.shift()?.connection.close();
  }
}

/** Exactly the bytes asked for, of exactly the object that was pinned. */
function checkRange(
  { status, fields }: AnswerHead,
  object: ImageObject,
  asked: Asked,
  firstBytes: number,
  lastBytes: number,
): void {
  const etag = (fields.get('etag') ?? '').replace(/^"|"$/g, '');
  if (etag !== object.etag) throw changed(asked, `its ETag was ${object.etag} and is ${etag || 'missing'}`);
  const version = fields.get('x-amz-version-id') ?? '';
  if (object.version !== undefined && version !== '' && version !== object.version) {
    throw changed(asked, `its version was ${object.version} and is ${version}`);
  }
  if (status !== 206) throw wrongAnswer(asked, `status ${status} came instead of 206`);
  const encoding = fields.get('transfer-encoding') ?? fields.get('content-encoding');
  if (encoding !== undefined && encoding !== 'identity') {
    throw wrongAnswer(asked, `it came encoded (${encoding}), without Content-Length of its own`);
  }
  const range = fields.get('content-range') ?? '';
  const expected = `bytes ${firstBytes}-${lastBytes}/${object.sizeBytes}`;
  if (range !== expected) throw wrongAnswer(asked, `Content-Range is "${range}" instead of "${expected}"`);
  const length = fields.get('content-length') ?? '';
  const expectedLength = String(lastBytes - firstBytes + 1);
  if (length !== expectedLength) {
    throw wrongAnswer(asked, `Content-Length is "${length}" instead of "${expectedLength}"`);
  }
}
