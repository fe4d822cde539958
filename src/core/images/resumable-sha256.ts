/**
 * SHA-256 that can be interrupted: its state can be taken out, kept in a file, and gone on with after a
 * restart. node:crypto cannot do that, and implementations in WebAssembly reach a tenth of its speed. But
 * the OpenSSL inside Node has the calls that can (SHA256_Init, _Update, _Final on a struct of 112 bytes,
 * unchanged since 2004), and node:ffi reaches them at full speed. That module is experimental: it is only
 * believed after it has passed a test against node:crypto, and without it everything works but this.
 */
import { createHash } from 'node:crypto';
import { nativeFunctions } from '../native.ts';

/** The eight words of the state after a whole number of blocks, as 64 hex digits. */
export type Sha256State = string;

/** Where an earlier one stood: after a whole number of blocks. */
export interface HashFrom {
  readonly state: Sha256State;
  readonly doneBytes: number;
}

export interface Sha256 {
  update(bytes: Uint8Array): void;
  /** 64 lower-case hex digits; ends it. */
  digest(): string;
  /** Undefined unless a multiple of SHA256_BLOCK_BYTES has come, and where it cannot be had. */
  state(): Sha256State | undefined;
}

const SHA256_BLOCK_BYTES = 64;

/** openssl/sha.h: h[8], Nl, Nh, data[16], num, md_len; all 32 bits wide, in the machine's order. */
const CONTEXT_BYTES = 112;
const STATE_BYTES = 32;
const COUNT_AT = 32;
const DIGEST_BYTES = 32;

interface Calls {
  SHA256_Init(context: Uint8Array): number;
  SHA256_Update(context: Uint8Array, bytes: Uint8Array, lengthBytes: bigint): number;
  SHA256_Final(digest: Uint8Array, context: Uint8Array): number;
}

let calls: Calls | false | undefined;

/** Whether states can be taken out and put in on this Node. */
export function canResumeSha256(): boolean {
  return openssl() !== undefined;
}

/** A new SHA-256; or one that goes on where `from` was taken, after `doneBytes`. */
export function resumableSha256(from?: HashFrom): Sha256 {
  const functions = openssl();
  if (functions !== undefined) return new OpensslSha256(functions, from);
  if (from !== undefined) throw new TypeError('this Node cannot go on with a SHA-256');
  return new NodeSha256();
}

class NodeSha256 implements Sha256 {
  readonly #hash = createHash('sha256');

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  digest(): string {
    return this.#hash.digest('hex');
  }

  state(): undefined {
    return undefined;
  }
}

class OpensslSha256 implements Sha256 {
  readonly #calls: Calls;
  readonly #context = Buffer.alloc(CONTEXT_BYTES);
  #doneBytes = 0;

  constructor(functions: Calls, from: HashFrom | undefined) {
    this.#calls = functions;
    functions.SHA256_Init(this.#context);
    if (from === undefined) return;
    // Only whole blocks: a context that says otherwise would make OpenSSL write past its end.
    const isState = /^[0-9a-f]{64}$/.test(from.state);
    const isWhole = Number.isSafeInteger(from.doneBytes) && from.doneBytes % SHA256_BLOCK_BYTES === 0;
    if (!isState || !isWhole || from.doneBytes < 0) throw new TypeError('not the state of a SHA-256');
    this.#doneBytes = from.doneBytes;
    const words = Buffer.from(from.state, 'hex');
    const target = new Uint32Array(this.#context.buffer, this.#context.byteOffset, CONTEXT_BYTES / 4);
    for (let word = 0; word < STATE_BYTES / 4; word++) target[word] = words.readUInt32BE(word * 4);
    const bits = BigInt(from.doneBytes) * 8n;
    target[COUNT_AT / 4] = Number(bits & 0xffffffffn);
    target[COUNT_AT / 4 + 1] = Number(bits >> 32n);
  }

  update(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#calls.SHA256_Update(this.#context, bytes, BigInt(bytes.length));
    this.#doneBytes += bytes.length;
  }

  digest(): string {
    const digest = Buffer.alloc(DIGEST_BYTES);
    this.#calls.SHA256_Final(digest, this.#context);
    return digest.toString('hex');
  }

  state(): Sha256State | undefined {
    if (this.#doneBytes % SHA256_BLOCK_BYTES !== 0) return undefined;
    const source = new Uint32Array(this.#context.buffer, this.#context.byteOffset, STATE_BYTES / 4);
    const words = Buffer.alloc(STATE_BYTES);
    for (const [index, word] of source.entries()) words.writeUInt32BE(word, index * 4);
    return words.toString('hex');
  }
}

function openssl(): Calls | undefined {
  calls ??= loadOpenssl();
  return calls === false ? undefined : calls;
}

function loadOpenssl(): Calls | false {
  const found = nativeFunctions({
    SHA256_Init: { arguments: ['buffer'], return: 'i32' },
    SHA256_Update: { arguments: ['buffer', 'buffer', 'u64'], return: 'i32' },
    SHA256_Final: { arguments: ['buffer', 'buffer'], return: 'i32' },
  }) as Calls | undefined;
  try {
    return found !== undefined && isRight(found) ? found : false;
  } catch {
    return false;
  }
}

/** Takes a state out and puts it in again, with counts beyond 32 bits, before any image relies on it. */
function isRight(functions: Calls): boolean {
  const bytes = Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 31) & 0xff));
  const first = new OpensslSha256(functions, undefined);
  first.update(bytes.subarray(0, 512));
  const state = first.state();
  if (state === undefined) return false;
  const second = new OpensslSha256(functions, { state, doneBytes: 512 });
  second.update(bytes.subarray(512, 777));
  second.update(bytes.subarray(777));
  return second.digest() === createHash('sha256').update(bytes).digest('hex');
}
