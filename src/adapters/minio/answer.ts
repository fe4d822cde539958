/**
 * One answer of the store, taken in pieces: its head is judged, and its body goes, in order, straight into the
 * memory of whoever reads on. While nobody does, the connection rests and the store waits.
 */
import type { AnswerHead } from './head.ts';
import { BadAnswer, HEAD_MAX_BYTES, headLength, parseHead, retryAfterMs } from './head.ts';
import { RefusedAnswer, RequestTimeout } from './transport.ts';

/** What ended the connection says nothing about the store: another one may be tried at once. */
export class StaleConnection extends Error {
  override readonly name = 'StaleConnection';
}

export interface AnswerLimits {
  /** From the request to the end of the answer's head, and between two pieces of its body. */
  readonly idleTimeoutMs: number;
  /** Fewer bytes in `rateWindowMs` than this rate allows end the request. */
  readonly rateMinBytesPerS: number;
  readonly rateWindowMs: number;
}

export interface RangeRequest {
  /** The request as it goes out, with the empty line. */
  readonly text: string;
  /** The bytes of the object that are asked for. */
  readonly beginBytes: number;
  readonly endBytes: number;
  /** Judges the head of a 200 or 206; throws if the body is not the range that was asked for. */
  accept(head: AnswerHead): void;
}

/** What an answer may do with the connection it comes over. */
export interface Wire {
  /** The socket was told to pause, and is to go on. */
  resume(): void;
  /** Nothing more is to come over it. */
  fail(error: Error): void;
}

interface Reading {
  readonly target: Uint8Array;
  readonly onBytes: (countBytes: number) => void;
  readonly done: () => void;
  readonly fail: (error: Error) => void;
  gotBytes: number;
}

const REFUSAL_MAX_BYTES = 64 * 1024;
const CHUNKED_END = '0\r\n\r\n';
/** `100 Continue` and its like before the answer. */
const INTERIM_MAX = 8;
/**
 * What may come when nobody reads: node:tls decrypts what it has already taken from the socket, which is at most
 * 64 KiB; and the first bytes after a pause come to where the socket was told before it.
 */
const STASH_BYTES = 256 * 1024;
const STASH_READ_BYTES = 64 * 1024;

export class Answer {
  readonly #request: RangeRequest;
  readonly #limits: AnswerLimits;
  readonly #wire: Wire;
  /** Its head, and what a refusal says. */
  readonly #scratch: Buffer;
  readonly #readings: Reading[] = [];
  /** Bytes that came when nobody was reading: those of [from, end). Only room() moves them. */
  readonly #stash = { from: 0, end: 0, memory: undefined as Buffer | undefined };
  #room: 'scratch' | 'stash' | 'target' = 'scratch';
  #nextBytes: number;
  #cameBytes = 0;
  #headBytes = 0;
  #interims = 0;
  #refusal = '';
  #head: AnswerHead | undefined;
  #error: Error | undefined;
  #timers: NodeJS.Timeout[] = [];
  #isPaused = false;

  constructor(request: RangeRequest, limits: AnswerLimits, scratch: Buffer, wire: Wire) {
    this.#request = request;
    this.#limits = limits;
    this.#scratch = scratch;
    this.#wire = wire;
    this.#nextBytes = request.beginBytes;
    this.#timers = [this.#limit('no answer')];
  }

  /** True until the first byte of an answer. */
  get isUnheard(): boolean {
    return this.#headBytes === 0 && this.#head === undefined;
  }

  /** All of its body has been handed out; undefined until then, and when it failed. */
  get completed(): AnswerHead | undefined {
    const isWhole = this.#hasCome && this.#stash.from === this.#stash.end;
    return isWhole && this.#error === undefined ? this.#head : undefined;
  }

  /**
   * Fills `target` with the bytes of the object from `offsetBytes` on, which must be those behind the read
   * before it. However it ends, nothing writes to `target` afterwards. An abort ends the whole answer.
   */
  async read(
    offsetBytes: number,
    target: Uint8Array,
    options: { readonly signal: AbortSignal; readonly onBytes: (countBytes: number) => void },
  ): Promise<void> {
    options.signal.throwIfAborted();
    if (this.#error !== undefined) {
      // It ended while nobody was reading: whoever reads now asks anew.
      throw new StaleConnection(this.#error.message, { cause: this.#error });
    }
    if (offsetBytes !== this.#nextBytes || offsetBytes + target.length > this.#request.endBytes) {
      throw new RangeError(`bytes from ${offsetBytes} on are not the next of this answer`);
    }
    this.#nextBytes += target.length;
    const aborted = () => {
      this.#wire.fail(new StaleConnection('somebody stopped reading from it'));
    };
    options.signal.addEventListener('abort', aborted);
    try {
      await new Promise<void>((done, fail) => {
        this.#readings.push({ target, onBytes: options.onBytes, gotBytes: 0, done, fail });
        this.#handOut();
        if (this.#isPaused && this.#readings.length > 0) this.#goOn();
      });
    } finally {
      options.signal.removeEventListener('abort', aborted);
    }
  }

  /** Where the next bytes are to be put. To be asked once before each piece: the answer may be another one. */
  room(): Uint8Array {
    const { memory } = this.#compactStash();
    if (this.#head === undefined || this.#isRefused() || this.#hasCome) {
      this.#room = 'scratch';
      return this.#scratch.subarray(this.#head === undefined ? this.#headBytes : 0);
    }
    const [reading] = this.#readings;
    if (reading !== undefined && this.#stash.end === 0) {
      this.#room = 'target';
      return reading.target.subarray(reading.gotBytes);
    }
    this.#room = 'stash';
    this.#stash.memory = memory ?? Buffer.allocUnsafe(STASH_BYTES);
    return this.#stash.memory.subarray(this.#stash.end, this.#stash.end + STASH_READ_BYTES);
  }

  /** Takes what stands in room(); false if the socket is to pause. */
  received(countBytes: number): boolean {
    if (this.#head === undefined) this.#receivedHead(countBytes);
    else if (this.#isRefused()) this.#receivedRefusal(countBytes);
    else this.#receivedBody(countBytes);
    const wantsMore = this.#readings.length > 0 || this.#head === undefined || this.#isRefused();
    if (!wantsMore && this.completed === undefined) this.#rest();
    return !this.#isPaused;
  }

  /** The connection has ended, or is to; `error` says why. */
  failed(error: Error): void {
    this.#stopTimers();
    // The status is known, and says more than that its body broke off.
    this.#error = this.#isRefused() ? this.#refused() : error;
    for (const { fail } of this.#readings.splice(0)) fail(this.#error);
  }

  get #lengthBytes(): number {
    return this.#request.endBytes - this.#request.beginBytes;
  }

  /** The whole body is here, though perhaps not handed out. */
  get #hasCome(): boolean {
    return this.#head !== undefined && this.#cameBytes === this.#lengthBytes;
  }

  #receivedHead(countBytes: number): void {
    this.#headBytes += countBytes;
    for (;;) {
      const lengthBytes = headLength(this.#scratch, this.#headBytes);
      if (lengthBytes === 0) {
        if (this.#headBytes < HEAD_MAX_BYTES) return;
        throw new BadAnswer(`the answer's head is longer than ${HEAD_MAX_BYTES} bytes`);
      }
      const head = parseHead(this.#scratch.subarray(0, lengthBytes));
      const restBytes = this.#headBytes - lengthBytes;
      if (head.status >= 200) {
        this.#answered(head, lengthBytes, restBytes);
        return;
      }
      if (head.status === 101 || ++this.#interims > INTERIM_MAX) {
        throw new BadAnswer(`the store answered with status ${head.status}`);
      }
      this.#scratch.copyWithin(0, lengthBytes, this.#headBytes);
      this.#headBytes = restBytes;
    }
  }

  /** The head is there, and perhaps the first bytes of the body behind it. */
  #answered(head: AnswerHead, headBytes: number, restBytes: number): void {
    this.#head = head;
    this.#stopTimers();
    this.#startTimers();
    if (this.#isRefused()) {
      this.#scratch.copyWithin(0, headBytes, headBytes + restBytes);
      this.#receivedRefusal(restBytes);
      return;
    }
    this.#request.accept(head);
    if (restBytes === 0) return;
    this.#stash.memory = Buffer.allocUnsafe(STASH_BYTES);
    this.#stash.memory.set(this.#scratch.subarray(headBytes, headBytes + restBytes));
    this.#room = 'stash';
    this.#receivedBody(restBytes);
  }

  #receivedBody(countBytes: number): void {
    this.#timers[0]?.refresh();
    this.#cameBytes += countBytes;
    if (this.#cameBytes > this.#lengthBytes) {
      throw new BadAnswer('the store sent more bytes than it had announced');
    }
    const [reading] = this.#readings;
    if (this.#room === 'target' && reading !== undefined) {
      this.#advance(reading, countBytes);
    } else {
      this.#stash.end += countBytes;
      this.#handOut();
      if (this.#stash.end - this.#stash.from > STASH_BYTES - STASH_READ_BYTES) {
        throw new BadAnswer('bytes come though the connection was told to pause');
      }
    }
    if (this.completed !== undefined) this.#stopTimers();
  }

  /** Gives what has been put aside to those who read on. */
  #handOut(): void {
    const { memory } = this.#stash;
    for (let [reading] = this.#readings; reading !== undefined; [reading] = this.#readings) {
      const { from, end } = this.#stash;
      const countBytes = Math.min(end - from, reading.target.length - reading.gotBytes);
      if (countBytes === 0 || memory === undefined) break;
      reading.target.set(memory.subarray(from, from + countBytes), reading.gotBytes);
      this.#stash.from += countBytes;
      this.#advance(reading, countBytes);
    }
    if (this.completed === undefined) return;
    this.#stopTimers();
    this.#stash.memory = undefined;
  }

  /** Moves what is put aside to the front. The socket must not have been told of a place behind it. */
  #compactStash(): { readonly memory: Buffer | undefined } {
    const { from, end, memory } = this.#stash;
    if (from > 0) memory?.copyWithin(0, from, end);
    this.#stash.from = 0;
    this.#stash.end = end - from;
    return { memory };
  }

  #advance(reading: Reading, countBytes: number): void {
    reading.gotBytes += countBytes;
    reading.onBytes(countBytes);
    if (reading.gotBytes < reading.target.length) return;
    this.#readings.shift();
    reading.done();
  }

  /** Never complete: the connection ends with the refusal, because its framing is not looked at. */
  #receivedRefusal(countBytes: number): void {
    this.#timers[0]?.refresh();
    this.#refusal += this.#scratch.toString('latin1', 0, countBytes);
    const announced = this.#head?.fields.get('content-length');
    const isWhole =
      this.#refusal.includes('</Error>') ||
      this.#refusal.endsWith(CHUNKED_END) ||
      this.#refusal.length > REFUSAL_MAX_BYTES ||
      (announced !== undefined && this.#refusal.length >= Number(announced));
    if (isWhole) throw this.#refused();
  }

  #isRefused(): boolean {
    return this.#head !== undefined && this.#head.status !== 200 && this.#head.status !== 206;
  }

  #refused(): RefusedAnswer {
    const { status = 0, fields } = this.#head ?? {};
    const code = /<Code>([A-Za-z0-9.]{1,64})<\/Code>/.exec(this.#refusal)?.[1];
    return new RefusedAnswer(
      status,
      code ?? fields?.get('x-minio-error-code'),
      retryAfterMs(fields?.get('retry-after'), Date.now()),
    );
  }

  /** Nobody reads. Where more is to come, the socket pauses. */
  #rest(): void {
    if (!this.#hasCome) this.#isPaused = true;
    this.#stopTimers();
    // Whoever began to read and does not go on: the store is not to wait for ever.
    this.#timers = [this.#limit('nothing was read')];
    for (const timer of this.#timers) timer.unref();
  }

  #goOn(): void {
    this.#isPaused = false;
    this.#stopTimers();
    this.#startTimers();
    this.#wire.resume();
  }

  #startTimers(): void {
    this.#timers = [this.#limit('no byte'), this.#watchRate()];
  }

  #limit(what: string): NodeJS.Timeout {
    const { idleTimeoutMs } = this.#limits;
    return setTimeout(() => {
      this.#wire.fail(new RequestTimeout(`${what} within ${idleTimeoutMs} ms`));
    }, idleTimeoutMs);
  }

  /** From one pause to the next the store alone decides how fast it goes. */
  #watchRate(): NodeJS.Timeout {
    const { rateMinBytesPerS, rateWindowMs } = this.#limits;
    let beforeBytes = this.#cameBytes;
    return setInterval(() => {
      const cameBytes = this.#cameBytes - beforeBytes;
      beforeBytes = this.#cameBytes;
      if (cameBytes >= (rateMinBytesPerS * rateWindowMs) / 1000) return;
      const allowed = `at least ${rateMinBytesPerS} bytes a second are expected`;
      this.#wire.fail(
        new RequestTimeout(`only ${cameBytes} bytes came within ${rateWindowMs} ms, ${allowed}`),
      );
    }, rateWindowMs);
  }

  #stopTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }
}
