/**
 * An open volume. Where the kernel allows it, bytes go to the disk without a copy in the page cache
 * (O_DIRECT): a fill would only push everything else out of it, and its own bytes are never read back.
 */
import type { FileHandle } from 'node:fs/promises';
import { alignedMemory, isAligned } from '../core/aligned-memory.ts';
import { ProvisionError } from '../core/errors.ts';
import type { VolumeDevice } from '../provision/ports.ts';

/** Below this it is quicker to write zeros than to start a program. */
const DISCARD_MIN_BYTES = 16 * 1024 * 1024;
/** Whole pages and whole physical sectors of any disk; also what thin pools allocate at least. */
const DISCARD_ALIGNMENT_BYTES = 64 * 1024;
const PIECE_BYTES = 256 * 1024;
const ZEROS_BYTES = 1024 * 1024;

/** Zeroes a range of the device; false if that cannot be had. */
export type Discard = (offsetBytes: number, lengthBytes: number) => Promise<boolean>;

export interface OpenVolumeOptions {
  readonly path: string;
  readonly handle: FileHandle;
  readonly sizeBytes: number;
  /** For a handle opened with O_DIRECT: places, lengths and memory are multiples of this. */
  readonly directBlockBytes?: number | undefined;
  readonly discard?: Discard | undefined;
}

let zeros: Uint8Array | undefined;

export class OpenVolume implements VolumeDevice {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #handle: FileHandle;
  /** 1: any byte can be written by itself. */
  readonly #blockBytes: number;
  /** Undefined, or switched off, where zeros must be written. */
  #discard: Discard | undefined;
  /** Aligned memory for bytes that are not; used by one at a time. */
  #piece: Uint8Array | undefined;
  #pieceTurn: Promise<unknown> = Promise.resolve();
  #lost: ProvisionError | undefined;

  constructor(options: OpenVolumeOptions) {
    this.#path = options.path;
    this.#handle = options.handle;
    this.sizeBytes = options.sizeBytes;
    this.#blockBytes = options.directBlockBytes ?? 1;
    this.#discard = options.discard;
  }

  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    this.#requireInside(offsetBytes, bytes.length);
    try {
      await this.#writeAnywhere(bytes, offsetBytes);
    } catch (error) {
      throw this.#lose('write', offsetBytes, bytes.length, error);
    }
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#requireInside(offsetBytes, lengthBytes);
    const endBytes = offsetBytes + lengthBytes;
    const first = Math.ceil(offsetBytes / DISCARD_ALIGNMENT_BYTES) * DISCARD_ALIGNMENT_BYTES;
    const last = Math.floor(endBytes / DISCARD_ALIGNMENT_BYTES) * DISCARD_ALIGNMENT_BYTES;
    if (last - first >= DISCARD_MIN_BYTES && (await this.#tryDiscard(first, last - first))) {
      await this.#writeZeros(offsetBytes, first);
      await this.#writeZeros(last, endBytes);
      return;
    }
    await this.#writeZeros(offsetBytes, endBytes);
  }

  async sync(): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw this.#lose('sync', 0, this.sizeBytes, error);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Whole blocks from where they stand, if that is aligned; the rest by way of memory that is. */
  async #writeAnywhere(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    const endBytes = offsetBytes + bytes.length;
    const first = Math.ceil(offsetBytes / this.#blockBytes) * this.#blockBytes;
    const last = Math.floor(endBytes / this.#blockBytes) * this.#blockBytes;
    if (first >= last) {
      await this.#writePieces(bytes, offsetBytes);
      return;
    }
    const blocks = bytes.subarray(first - offsetBytes, last - offsetBytes);
    if (this.#blockBytes > 1 && !isAligned(blocks, this.#blockBytes)) {
      await this.#writePieces(bytes, offsetBytes);
      return;
    }
    await this.#writeAll(blocks, first);
    await this.#writePieces(bytes.subarray(0, first - offsetBytes), offsetBytes);
    await this.#writePieces(bytes.subarray(last - offsetBytes), last);
  }

  async #writePieces(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const place = offsetBytes + at;
      const room = PIECE_BYTES - (place % this.#blockBytes);
      const part = bytes.subarray(at, at + room);
      const turn = this.#pieceTurn.then(() => this.#writePiece(part, place));
      this.#pieceTurn = turn.catch(() => undefined);
      await turn;
      at += part.length;
    }
  }

  /** A block of which only a part is to be written is read first. Nobody else does so meanwhile. */
  async #writePiece(part: Uint8Array, place: number): Promise<void> {
    this.#piece ??= new Uint8Array(alignedMemory(PIECE_BYTES));
    const before = place % this.#blockBytes;
    const lengthBytes = Math.ceil((before + part.length) / this.#blockBytes) * this.#blockBytes;
    const piece = this.#piece.subarray(0, lengthBytes);
    const start = place - before;
    if (before > 0) await this.#readBlock(piece, 0, start);
    const lastBlock = lengthBytes - this.#blockBytes;
    const isLastRead = before > 0 && lastBlock === 0;
    if (before + part.length < lengthBytes && !isLastRead) await this.#readBlock(piece, lastBlock, start);
    piece.set(part, before);
    await this.#writeAll(piece, start);
  }

  async #readBlock(piece: Uint8Array, at: number, start: number): Promise<void> {
    const { bytesRead } = await this.#handle.read(piece, at, this.#blockBytes, start + at);
    if (bytesRead !== this.#blockBytes) throw new Error('a block could not be read as a whole');
  }

  async #writeAll(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const { bytesWritten } = await this.#handle.write(bytes, at, bytes.length - at, offsetBytes + at);
      if (bytesWritten === 0) throw new Error('the kernel took no bytes');
      at += bytesWritten;
    }
  }

  /** After one refusal the device is not asked again: each try costs a process. */
  async #tryDiscard(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    if (this.#discard === undefined) return false;
    if (await this.#discard(offsetBytes, lengthBytes)) return true;
    this.#discard = undefined;
    return false;
  }

  async #writeZeros(offsetBytes: number, endBytes: number): Promise<void> {
    zeros ??= new Uint8Array(alignedMemory(ZEROS_BYTES));
    // Up to a round place first: from there on whole blocks, which need no reading.
    for (let at = offsetBytes; at < endBytes;) {
      const lengthBytes = Math.min(ZEROS_BYTES - (at % ZEROS_BYTES), endBytes - at);
      // From the same place within a block as the range begins: aligned memory for aligned places.
      const from = at % this.#blockBytes;
      await this.write(zeros.subarray(from, Math.min(from + lengthBytes, ZEROS_BYTES)), at);
      at += Math.min(lengthBytes, ZEROS_BYTES - from);
    }
  }

  #requireInside(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    throw new ProvisionError({
      code: 'INTERNAL',
      message: `A write of ${lengthBytes} bytes at ${offsetBytes} would leave ${this.#path}, which has ${this.sizeBytes} bytes.`,
      hint: 'This is a defect of the provisioner; nothing was written there.',
    });
  }

  #lose(verb: string, offsetBytes: number, lengthBytes: number, cause: unknown): ProvisionError {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const text = cause instanceof Error ? cause.message : String(cause);
    this.#lost ??= new ProvisionError({
      code: code === 'ENOSPC' ? 'VG_FULL' : 'DEVICE_FAILED',
      message: `Cannot ${verb} ${lengthBytes} bytes at ${offsetBytes} of ${this.#path}: ${text}.`,
      hint: 'Look at the kernel log (dmesg) and at the physical volumes behind the volume group.',
      cause,
    });
    return this.#lost;
  }
}
