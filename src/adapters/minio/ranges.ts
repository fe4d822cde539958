/** Ranges of pinned objects, over a few kept connections, straight into the memory they are for. */
import type { ImageObject, ReadOptions } from '../../provision/ports/images.ts';
import type { Answer } from './answer.ts';
import { StaleConnection } from './answer.ts';
import type { ConnectionOptions } from './connection.ts';
import { Connection } from './connection.ts';
import type { Asked } from './errors.ts';
import { changed, wrongAnswer } from './errors.ts';
import type { AnswerHead } from './head.ts';
import type { RequestSigner, SignedRequest } from './requests.ts';

/** Kept while nobody uses them; stores close theirs after a while, so more would only grow stale. */
const IDLE_MAX = 8;
/** Each try takes one dead connection out of the idle ones. */
const STALE_TRIES_MAX = IDLE_MAX + 1;
/**
 * Whoever reads an object front to back is sent as much with one request, and takes it in pieces: each request
 * costs MinIO 2 ms of processor, as much as 3 MiB of data. At its end the store is asked anew whether the
 * object is still the same.
 */
const REQUEST_MAX_BYTES = 64 * 1024 * 1024;
/** Answers that are being read; more are those of readers who went away without a word. */
const OPEN_MAX = 32;

const SHOWN_MAX = 100;

interface Idle {
  /** `HOST:PORT`; with the bucket in the host name there are several. */
  readonly place: string;
  readonly connection: Connection;
}

/** An answer, and the bytes of the object that are still to be read from it. */
interface Open {
  readonly object: ImageObject;
  nextBytes: number;
  readonly endBytes: number;
  readonly asked: Promise<{
    readonly answer: Answer;
    readonly connection: Connection;
    readonly place: string;
  }>;
}

export class RangeReader {
  readonly #signer: RequestSigner;
  readonly #limits: Omit<ConnectionOptions, 'host' | 'port'>;
  #idle: Idle[] = [];
  #open: Open[] = [];
  /** Takes off what listens for the abort of whoever began it. */
  readonly #stopWatching = new WeakMap<Open, () => void>();

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
    const endBytes = offsetBytes + target.length;
    // What came before a connection was lost stays, and has been told of.
    let gotBytes = 0;
    for (let tries = 1; ; tries++) {
      const nextBytes = offsetBytes + gotBytes;
      const open =
        this.#find(object, nextBytes, endBytes) ?? this.#begin(object, nextBytes, endBytes, options, asked);
      // Claimed at once: whoever reads on behind this one may ask before the answer is there.
      open.nextBytes = endBytes;
      try {
        const { answer, connection, place } = await open.asked;
        await answer.read(nextBytes, target.subarray(gotBytes), {
          signal: options.signal,
          onBytes: (countBytes) => {
            gotBytes += countBytes;
            options.onBytes?.(countBytes);
          },
        });
        if (connection.finish(answer)) this.#keep(place, connection);
        if (open.nextBytes === open.endBytes) this.#forget(open);
        return;
      } catch (error) {
        this.#forget(open);
        void open.asked.then(
          ({ connection }) => {
            connection.close();
          },
          () => undefined,
        );
        if (!(error instanceof StaleConnection) || options.signal.aborted || tries === STALE_TRIES_MAX)
          throw error;
      }
    }
  }

  /** Closes all connections. */
  close(): void {
    for (const { connection } of this.#idle) connection.close();
    this.#idle = [];
    for (const open of this.#open) drop(open);
    this.#open = [];
  }

  /** An answer whose next bytes are these. */
  #find(object: ImageObject, offsetBytes: number, endBytes: number): Open | undefined {
    return this.#open.find(
      (open) =>
        isSameObject(open.object, object) && open.nextBytes === offsetBytes && endBytes <= open.endBytes,
    );
  }

  #begin(
    object: ImageObject,
    offsetBytes: number,
    endBytes: number,
    options: ReadOptions,
    asked: Asked,
  ): Open {
    const untilBytes = options.goesOn === true ? this.#requestEnd(object, offsetBytes, endBytes) : endBytes;
    const open: Open = {
      ...{ object, nextBytes: offsetBytes, endBytes: untilBytes },
      asked: this.#ask(object, offsetBytes, untilBytes, asked),
    };
    // Whoever stops reading does not leave the store waiting.
    const aborted = () => {
      this.#forget(open);
      drop(open);
    };
    options.signal.addEventListener('abort', aborted);
    this.#stopWatching.set(open, () => {
      options.signal.removeEventListener('abort', aborted);
    });
    this.#open.push(open);
    if (this.#open.length > OPEN_MAX) for (const old of this.#open.splice(0, 1)) drop(old);
    return open;
  }

  /** Ends on round numbers, so that what is read in equal pieces from the begin on is never cut; before what others read. */
  #requestEnd(object: ImageObject, offsetBytes: number, endBytes: number): number {
    const roundBytes = (Math.floor(offsetBytes / REQUEST_MAX_BYTES) + 1) * REQUEST_MAX_BYTES;
    const others = this.#open.filter(
      (open) => isSameObject(open.object, object) && open.nextBytes > offsetBytes,
    );
    return Math.max(
      endBytes,
      Math.min(object.sizeBytes, roundBytes, ...others.map(({ nextBytes }) => nextBytes)),
    );
  }

  async #ask(object: ImageObject, beginBytes: number, endBytes: number, asked: Asked) {
    const lastBytes = endBytes - 1;
    const signed = await this.#signer.sign({
      method: 'GET',
      image: object.image,
      version: object.version,
      headers: { range: `bytes=${beginBytes}-${lastBytes}`, 'if-match': `"${object.etag}"` },
    });
    const connection = this.#take(signed);
    const answer = connection.ask({
      ...{ text: signed.text, beginBytes, endBytes },
      accept: (head: AnswerHead) => {
        checkRange(head, object, asked, beginBytes, lastBytes);
      },
    });
    return { answer, connection, place: placeOf(signed) };
  }

  #forget(open: Open): void {
    this.#stopWatching.get(open)?.();
    const at = this.#open.indexOf(open);
    if (at >= 0) this.#open.splice(at, 1);
  }

  #take(signed: SignedRequest): Connection {
    const { host, port } = signed;
    this.#idle = this.#idle.filter(({ connection }) => connection.isUsable);
    const at = this.#idle.findLastIndex(({ place }) => place === placeOf(signed));
    const [idle] = at < 0 ? [] : this.#idle.splice(at, 1);
    return idle?.connection ?? new Connection({ ...this.#limits, host, port });
  }

  #keep(place: string, connection: Connection): void {
    this.#idle.push({ place, connection });
    if (this.#idle.length > IDLE_MAX) this.#idle.shift()?.connection.close();
  }
}

function placeOf({ host, port }: SignedRequest): string {
  return `${host}:${port}`;
}

function isSameObject(a: ImageObject, b: ImageObject): boolean {
  return (
    a.image.bucket === b.image.bucket &&
    a.image.key === b.image.key &&
    a.etag === b.etag &&
    a.version === b.version &&
    a.sizeBytes === b.sizeBytes
  );
}

function drop(open: Open): void {
  open.asked.then(
    ({ connection, answer }) => {
      if (answer.completed === undefined) connection.close();
    },
    () => undefined,
  );
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
  if (etag !== object.etag)
    throw changed(
      asked,
      `its ETag was ${shown(object.etag)} and is ${etag === '' ? 'missing' : shown(etag)}`,
    );
  const version = fields.get('x-amz-version-id') ?? '';
  if (object.version !== undefined && version !== '' && version !== object.version) {
    throw changed(asked, `its version was ${shown(object.version)} and is ${shown(version)}`);
  }
  if (status !== 206) throw wrongAnswer(asked, `status ${status} came instead of 206`);
  const transfer = fields.get('transfer-encoding');
  if (transfer !== undefined)
    throw wrongAnswer(asked, `it came as Transfer-Encoding ${shown(transfer)}, without Content-Length`);
  const content = fields.get('content-encoding');
  if (content !== undefined && content !== 'identity') {
    throw wrongAnswer(asked, `it came as Content-Encoding ${shown(content)}`);
  }
  const range = fields.get('content-range') ?? '';
  const expected = `bytes ${firstBytes}-${lastBytes}/${object.sizeBytes}`;
  if (range !== expected)
    throw wrongAnswer(asked, `Content-Range is "${shown(range)}" instead of "${expected}"`);
  const length = fields.get('content-length') ?? '';
  const expectedLength = String(lastBytes - firstBytes + 1);
  if (length !== expectedLength) {
    throw wrongAnswer(asked, `Content-Length is "${shown(length)}" instead of "${expectedLength}"`);
  }
}

/** What a store has said, as it can stand in a message. */
function shown(field: string): string {
  const plain = field.replace(/[^\x20-\x7e]/g, '?');
  return plain.length > SHOWN_MAX ? `${plain.slice(0, SHOWN_MAX)}…` : plain;
}
