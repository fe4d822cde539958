/**
 * An open volume. Where the kernel allows it, bytes go to the disk without a copy in the page cache
 * (O_DIRECT): a fill would only push everything else out of it, and what is read back must come from the
 * disk, not from this host's memory of what it wrote. Where O_DIRECT is refused, and over a plain file, a
 * read may be served from the page cache, and then proves less: all the way to the disk is left out.
 */
import type { FileHandle } from 'node:fs/promises';
import { ProvisionError } from '../core/errors.ts';
import { alignedMemory, isAligned } from '../core/images/aligned-memory.ts';
import type { VolumeDevice } from '../provision/ports/volumes.ts';

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
  /** Below this it is quicker to write zeros than to call `discard`; by default where it starts a program. */
  readonly discardMinBytes?: number | undefined;
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
  readonly #discardMinBytes: number;
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
    this.#discardMinBytes = options.discardMinBytes ?? DISCARD_MIN_BYTES;
  }

  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    this.#requireInside('write', offsetBytes, bytes.length);
    try {
      await this.#writeAnywhere(bytes, offsetBytes);
    } catch (error) {
      throw this.#lose('write', offsetBytes, bytes.length, error);
    }
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#requireInside('write', offsetBytes, lengthBytes);
    const endBytes = offsetBytes + lengthBytes;
    const first = Math.ceil(offsetBytes / DISCARD_ALIGNMENT_BYTES) * DISCARD_ALIGNMENT_BYTES;
    const last = Math.floor(endBytes / DISCARD_ALIGNMENT_BYTES) * DISCARD_ALIGNMENT_BYTES;
    if (last - first >= this.#discardMinBytes && (await this.#tryDiscard(first, last - first))) {
      await this.#writeZeros(offsetBytes, first);
      await this.#writeZeros(last, endBytes);
      return;
    }
    await this.#writeZeros(offsetBytes, endBytes);
  }

  /** From the disk itself only on a handle opened with O_DIRECT; else the page cache may answer. */
  async read(target: Uint8Array, offsetBytes: number): Promise<void> {
    this.#requireInside('read', offsetBytes, target.length);
    try {
      await this.#readAnywhere(target, offsetBytes);
    } catch (error) {
      // Not remembered as lost: nothing that was written is in doubt for it.
      throw this.#failure('read', offsetBytes, target.length, error);
    }
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
    const blocks = this.#wholeBlocks(bytes, offsetBytes);
    if (blocks === undefined) {
      await this.#writePieces(bytes, offsetBytes);
      return;
    }
    const { first, last } = blocks;
    await this.#writeAll(bytes.subarray(first, last), offsetBytes + first);
    await this.#writePieces(bytes.subarray(0, first), offsetBytes);
    await this.#writePieces(bytes.subarray(last), offsetBytes + last);
  }

  /** As #writeAnywhere, the other way round. */
  async #readAnywhere(target: Uint8Array, offsetBytes: number): Promise<void> {
    const blocks = this.#wholeBlocks(target, offsetBytes);
    if (blocks === undefined) {
      await this.#readPieces(target, offsetBytes);
      return;
    }
    const { first, last } = blocks;
    await this.#readAll(target.subarray(first, last), offsetBytes + first);
    await this.#readPieces(target.subarray(0, first), offsetBytes);
    await this.#readPieces(target.subarray(last), offsetBytes + last);
  }

  /** Which part [first, last) of the bytes is whole blocks of the device in memory that is fit for them. */
  #wholeBlocks(bytes: Uint8Array, offsetBytes: number): { first: number; last: number } | undefined {
    const first = Math.ceil(offsetBytes / this.#blockBytes) * this.#blockBytes - offsetBytes;
    const endBytes = offsetBytes + bytes.length;
    const last = Math.floor(endBytes / this.#blockBytes) * this.#blockBytes - offsetBytes;
    if (first >= last) return undefined;
    const isFit = this.#blockBytes === 1 || isAligned(bytes.subarray(first, last), this.#blockBytes);
    return isFit ? { first, last } : undefined;
  }

  #writePieces(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    return this.#inPieces(bytes, offsetBytes, (part, place) => this.#writePiece(part, place));
  }

  #readPieces(target: Uint8Array, offsetBytes: number): Promise<void> {
    return this.#inPieces(target, offsetBytes, (part, place) => this.#readPiece(part, place));
  }

  /** One part after the other, and no other part of this device meanwhile: all go through the same memory. */
  async #inPieces(
    bytes: Uint8Array,
    offsetBytes: number,
    move: (part: Uint8Array, place: number) => Promise<void>,
  ): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const place = offsetBytes + at;
      const room = PIECE_BYTES - (place % this.#blockBytes);
      const part = bytes.subarray(at, at + room);
      const turn = this.#pieceTurn.then(() => move(part, place));
      this.#pieceTurn = turn.catch(() => undefined);
      await turn;
      at += part.length;
    }
  }

  /** A block of which only a part is to be written is read first. Nobody else does so meanwhile. */
  async #writePiece(part: Uint8Array, place: number): Promise<void> {
    const { piece, before, start } = this.#pieceFor(part, place);
    const lengthBytes = piece.length;
    if (before > 0) await this.#readBlock(piece, 0, start);
    const lastBlock = lengthBytes - this.#blockBytes;
    const isLastRead = before > 0 && lastBlock === 0;
    if (before + part.length < lengthBytes && !isLastRead) await this.#readBlock(piece, lastBlock, start);
    piece.set(part, before);
    await this.#writeAll(piece, start);
  }

  async #readPiece(part: Uint8Array, place: number): Promise<void> {
    const { piece, before, start } = this.#pieceFor(part, place);
    await this.#readAll(piece, start);
    part.set(piece.subarray(before, before + part.length));
  }

  /** Aligned memory for the whole blocks from `start` on that the part lies in, `before` bytes into them. */
  #pieceFor(part: Uint8Array, place: number): { piece: Uint8Array; before: number; start: number } {
    this.#piece ??= new Uint8Array(alignedMemory(PIECE_BYTES));
    const before = place % this.#blockBytes;
    const lengthBytes = Math.ceil((before + part.length) / this.#blockBytes) * this.#blockBytes;
    return { piece: this.#piece.subarray(0, lengthBytes), before, start: place - before };
  }

  async #readBlock(piece: Uint8Array, at: number, start: number): Promise<void> {
    await this.#readAll(piece.subarray(at, at + this.#blockBytes), start + at);
  }

  async #readAll(target: Uint8Array, offsetBytes: number): Promise<void> {
    for (let at = 0; at < target.length;) {
      const { bytesRead } = await this.#handle.read(target, at, target.length - at, offsetBytes + at);
      if (bytesRead === 0) throw new Error('the device ends before its size');
      at += bytesRead;
    }
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

  #requireInside(verb: 'read' | 'write', offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    throw new ProvisionError({
      code: 'INTERNAL',
      message: `A ${verb} of ${lengthBytes} bytes at ${offsetBytes} would leave ${this.#path}, which has ${this.sizeBytes} bytes.`,
      hint: 'This is a defect of the provisioner; nothing was read or written there.',
    });
  }

  #lose(verb: string, offsetBytes: number, lengthBytes: number, cause: unknown): ProvisionError {
    this.#lost ??= this.#failure(verb, offsetBytes, lengthBytes, cause);
    return this.#lost;
  }

  #failure(verb: string, offsetBytes: number, lengthBytes: number, cause: unknown): ProvisionError {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const text = cause instanceof Error ? cause.message : String(cause);
    return new ProvisionError({
      code: code === 'ENOSPC' ? 'VG_FULL' : 'DEVICE_FAILED',
      message: `Cannot ${verb} ${lengthBytes} bytes at ${offsetBytes} of ${this.#path}: ${text}.`,
      hint: 'Look at the kernel log (dmesg) and at the physical volumes behind the volume group.',
      cause,
    });
  }
}
