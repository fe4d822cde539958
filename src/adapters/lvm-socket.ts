/**
 * The root helper's socket: one connection, one request line and one answer line a call. Keys follow the line as they
 * are, each way; every copy of one that is made here is overwritten.
 */
import type { Socket } from 'node:net';
import { createConnection } from 'node:net';
import { ProvisionError } from '../core/errors.ts';
import { KEY_BYTES_MAX } from '../core/key/key-reference.ts';
import type { HelperRequest, HelperResult, HelperVerb } from '../core/protocol/helper-protocol.ts';
import { HELPER_RESULTS, HelperResponse, RESPONSE_BYTES_MAX } from '../core/protocol/helper-protocol.ts';
import type { VolumeKey } from '../provision/ports/keys.ts';
import type { PrivateVolume } from '../provision/ports/volumes.ts';

const HELPER_SOCKET = '/run/libvirt-volume-provisioner-helper.socket';

/** Longer than the helper needs for its own time limits on one request with two before it. */
const ANSWER_TIME_MAX_MS = 300_000;

const HINT =
  'See systemctl status libvirt-volume-provisioner-helper.socket and journalctl -u libvirt-volume-provisioner-helper.';

/** Read at once. */
const READ_BYTES_MAX = 16_384;

const NEWLINE = 0x0a;

export class HelperSocket {
  readonly #path: string;
  readonly #answerTimeMaxMs: number;
  /** The helper works on one request at a time: more connections would only wait there. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(path = HELPER_SOCKET, answerTimeMaxMs = ANSWER_TIME_MAX_MS) {
    this.#path = path;
    this.#answerTimeMaxMs = answerTimeMaxMs;
  }

  /** The result of that request, once those before it have ended. */
  async ask<Verb extends HelperVerb>(
    verb: Verb,
    request: HelperRequest,
    onBegin: () => void = () => undefined,
    keys: readonly VolumeKey[] = [],
  ): Promise<HelperResult<Verb>> {
    const { result } = await this.#inTurn(verb, request, onBegin, keys);
    return result;
  }

  /** The key that the helper answers with. */
  async askForKey(request: Extract<HelperRequest, { verb: 'readKey' }>): Promise<VolumeKey> {
    const { verb } = request;
    const { result, behind } = await this.#inTurn(verb, request, () => undefined, []);
    if (behind.length === result.keyLength) return { bytes: behind, wipe: () => behind.fill(0) };
    behind.fill(0);
    throw unexpected(verb, `a key of ${result.keyLength} bytes and ${behind.length} bytes behind it`);
  }

  async #inTurn<Verb extends HelperVerb>(
    verb: Verb,
    request: HelperRequest,
    onBegin: () => void,
    keys: readonly VolumeKey[],
  ): Promise<{ readonly result: HelperResult<Verb>; readonly behind: Buffer }> {
    const answered = this.#last.then(() => {
      onBegin();
      const message = { verb, line: JSON.stringify(request), keys };
      return exchange(this.#path, message, this.#answerTimeMaxMs);
    });
    this.#last = answered.catch(() => undefined);
    const { line, behind } = await answered;
    try {
      const response = HelperResponse.safeParse(parseJson(line));
      if (response.success && !response.data.ok) throw new ProvisionError(response.data.problem);
      if (response.success && response.data.ok) {
        const result = HELPER_RESULTS[verb].safeParse(response.data.result);
        // The compiler does not see that the schema under this verb is the one of its result.
        if (result.success) return { result: result.data as HelperResult<Verb>, behind };
      }
      throw unexpected(verb, line.slice(0, 200));
    } catch (error) {
      behind.fill(0);
      throw error;
    }
  }
}

/** The helper refuses fields it does not know, and a caller's record may well have more. */
export function plainVolume({ vg, fillId, target, domainUuid, encryption }: PrivateVolume): PrivateVolume {
  return { vg, fillId, target, domainUuid, ...(encryption === undefined ? {} : { encryption }) };
}

function unexpected(verb: HelperVerb, what: string): ProvisionError {
  return new ProvisionError({
    code: 'HELPER_FAILED',
    message: `The LVM helper answered ${verb} with something unexpected: ${what}`,
    hint: 'Daemon and helper must be of one version: systemctl stop libvirt-volume-provisioner-helper.service.',
  });
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

interface Message {
  readonly verb: HelperVerb;
  readonly line: string;
  readonly keys: readonly VolumeKey[];
}

interface Answered {
  readonly line: string;
  /** To be wiped. */
  readonly behind: Buffer;
}

/** Sends one line and its keys, and resolves with what answers it. */
function exchange(path: string, { verb, line, keys }: Message, timeMaxMs: number): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const heard = new Heard(verb === 'readKey');
    // Into memory of ours: Node's own it gives back as it is, with a key that was in it.
    const socket: Socket = createConnection({
      path,
      onread: {
        buffer: Buffer.alloc(READ_BYTES_MAX),
        callback: (countBytes, buffer) => {
          hear(buffer.subarray(0, countBytes));
          return true;
        },
      },
    });
    const fail = (
      code: 'HELPER_UNAVAILABLE' | 'HELPER_FAILED' | 'TIMEOUT',
      what: string,
      cause?: unknown,
    ): void => {
      clearTimeout(timer);
      socket.destroy();
      heard.wipe();
      reject(
        new ProvisionError({
          code,
          message: `The LVM helper at ${path} ${what} (${verb}).`,
          hint: HINT,
          cause,
        }),
      );
    };
    const timer = setTimeout(() => {
      fail('TIMEOUT', `has not answered within ${timeMaxMs / 1000} s`);
    }, timeMaxMs);
    socket.on('connect', () => {
      socket.write(`${line}\n`);
      for (const key of keys) socket.write(key.bytes);
    });
    socket.on('error', (error) => {
      fail('HELPER_UNAVAILABLE', `cannot be reached: ${error.message}`, error);
    });
    const hear = (bytes: Uint8Array): void => {
      const answered = heard.take(bytes);
      if (answered !== undefined) {
        clearTimeout(timer);
        socket.destroy();
        resolve(answered);
      } else if (heard.lengthBytes > RESPONSE_BYTES_MAX) {
        fail('HELPER_FAILED', `answered with more than ${RESPONSE_BYTES_MAX} bytes`);
      }
    };
    socket.on('end', () => {
      fail('HELPER_UNAVAILABLE', 'hung up without an answer');
    });
  });
}

/** What has come of an answer: a line, and a key behind it if it says so. */
class Heard {
  readonly #mayHoldKey: boolean;
  #chunks: Buffer[] = [];
  lengthBytes = 0;

  constructor(mayHoldKey: boolean) {
    this.#mayHoldKey = mayHoldKey;
  }

  /** The answer, once all of it is here. What it is given is overwritten. */
  take(bytes: Uint8Array): Answered | undefined {
    // Of its own memory, not of the pool that small buffers share.
    const chunk = Buffer.alloc(bytes.length);
    chunk.set(bytes);
    bytes.fill(0);
    this.#chunks.push(chunk);
    this.lengthBytes += chunk.length;
    if (this.#mayHoldKey) return this.#withKey();
    if (chunk.at(-1) !== NEWLINE) return undefined;
    return { line: Buffer.concat(this.#chunks).toString('utf8'), behind: Buffer.alloc(0) };
  }

  wipe(): void {
    if (this.#mayHoldKey) for (const chunk of this.#chunks) chunk.fill(0);
    this.#chunks = [];
  }

  #withKey(): Answered | undefined {
    const bytes = Buffer.alloc(this.lengthBytes);
    let at = 0;
    for (const chunk of this.#chunks) at += chunk.copy(bytes, at);
    this.wipe();
    this.#chunks = [bytes];
    const end = bytes.indexOf(NEWLINE);
    if (end < 0) return undefined;
    const line = bytes.toString('utf8', 0, end);
    const wanted = keyLengthIn(line);
    if (bytes.length < end + 1 + wanted) return undefined;
    const behind = Buffer.alloc(bytes.length - end - 1);
    bytes.copy(behind, 0, end + 1);
    this.wipe();
    return { line, behind };
  }
}

/** 0 for an answer that says of none. */
function keyLengthIn(line: string): number {
  const response = HelperResponse.safeParse(parseJson(line));
  if (!response.success || !response.data.ok) return 0;
  const result = HELPER_RESULTS.readKey.safeParse(response.data.result);
  return result.success ? Math.min(result.data.keyLength, KEY_BYTES_MAX) : 0;
}
