/**
 * One object on its way from the store into a file, read by any number of fills meanwhile. Whoever needs a
 * block that is not there yet fetches it for all; whoever needs one that is coming waits for it. So every
 * byte is asked of the store once, and those who come late read the beginning from the file.
 */
import type { FileHandle } from 'node:fs/promises';
import type { ImageObject, Images, ReadOptions } from '../provision/ports/images.ts';

const BLOCK_BYTES = 4 * 1024 * 1024;
/** Never where a read begins, so nothing is added behind it. */
const LOST = -1;

interface Block {
  /** Bytes that stand in the file, from the block's begin. */
  doneBytes: number;
  coming: Promise<void> | undefined;
}

export class Spool {
  readonly #store: Images;
  readonly #object: ImageObject;
  readonly #file: FileHandle;
  readonly #blocks: Block[];
  /** The disk took no more: what stands in the file can be read, nothing is added. */
  #isFull = false;

  constructor(store: Images, object: ImageObject, file: FileHandle) {
    this.#store = store;
    this.#object = object;
    this.#file = file;
    const count = Math.ceil(object.sizeBytes / BLOCK_BYTES);
    this.#blocks = Array.from({ length: count }, () => ({ doneBytes: 0, coming: undefined }));
  }

  /** How much is still to be written to the file. */
  get missingBytes(): number {
    if (this.#isFull) return 0;
    return (
      this.#object.sizeBytes - this.#blocks.reduce((sum, { doneBytes }) => sum + Math.max(0, doneBytes), 0)
    );
  }

  get isComplete(): boolean {
    return this.#blocks.every(({ doneBytes }, index) => doneBytes === this.#lengthOf(index));
  }

  /** As Images.readInto(). */
  async readInto(offsetBytes: number, target: Uint8Array, options: ReadOptions): Promise<void> {
    for (let at = 0; at < target.length;) {
      options.signal.throwIfAborted();
      const index = Math.floor((offsetBytes + at) / BLOCK_BYTES);
      const inBlock = offsetBytes + at - index * BLOCK_BYTES;
      const wanted = target.subarray(at, at + Math.min(target.length - at, BLOCK_BYTES - inBlock));
      at += await this.#readPart(index, inBlock, wanted, options);
    }
  }

  /** How many bytes of `target` it has filled; 0 if somebody else was waited for. */
  async #readPart(index: number, inBlock: number, target: Uint8Array, options: ReadOptions): Promise<number> {
    const block = this.#blocks[index];
    const offsetBytes = index * BLOCK_BYTES + inBlock;
    const thereBytes = Math.min(target.length, (block?.doneBytes ?? 0) - inBlock);
    if (thereBytes > 0) {
      const isRead = await readFully(this.#file, offsetBytes, target.subarray(0, thereBytes)).then(
        () => true,
        () => false,
      );
      if (isRead) {
        options.onBytes?.(thereBytes);
        return thereBytes;
      }
      // A disk that does not give back what it took: from here on this block comes from the store alone.
      if (block !== undefined) block.doneBytes = LOST;
    }
    if (block?.coming !== undefined) {
      await untilAborted(block.coming, options.signal);
      return 0;
    }
    if (block?.doneBytes !== inBlock || this.#isFull) {
      await this.#store.readInto(this.#object, offsetBytes, target, options);
      return target.length;
    }
    const fetching = this.#fetch(block, offsetBytes, target, options);
    block.coming = fetching.then(
      () => undefined,
      () => undefined,
    );
    try {
      await fetching;
    } finally {
      block.coming = undefined;
    }
    return target.length;
  }

  /** What came before a failure is kept: the next try begins behind it. */
  async #fetch(block: Block, offsetBytes: number, target: Uint8Array, options: ReadOptions): Promise<void> {
    let gotBytes = 0;
    const onBytes = (countBytes: number) => {
      gotBytes += countBytes;
      options.onBytes?.(countBytes);
    };
    try {
      await this.#store.readInto(this.#object, offsetBytes, target, { ...options, onBytes });
      gotBytes = target.length;
    } finally {
      await this.#save(block, offsetBytes, target.subarray(0, gotBytes));
    }
  }

  async #save(block: Block, offsetBytes: number, bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await this.#file.write(bytes, at, bytes.length - at, offsetBytes + at);
        at += bytesWritten;
        block.doneBytes += bytesWritten;
      }
    } catch {
      // The fill has its bytes all the same: a cache must not fail what works without one.
      this.#isFull = true;
    }
  }

  #lengthOf(index: number): number {
    return Math.min(BLOCK_BYTES, this.#object.sizeBytes - index * BLOCK_BYTES);
  }
}

/** Fills `target`; throws a RangeError if the file ends before. */
export async function readFully(file: FileHandle, offsetBytes: number, target: Uint8Array): Promise<void> {
  for (let at = 0; at < target.length;) {
    const { bytesRead } = await file.read(target, at, target.length - at, offsetBytes + at);
    if (bytesRead === 0) throw new RangeError(`the file ends at ${offsetBytes + at}`);
    at += bytesRead;
  }
}

async function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => {
    aborted.reject(signal.reason as Error);
  };
  signal.addEventListener('abort', onAbort);
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
