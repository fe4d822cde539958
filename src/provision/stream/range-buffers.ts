/**
 * A fixed number of equal buffers, used again and again: they bound both the memory of a fill and how far
 * the download may run ahead of the device. The memory is given by the caller, so that it can be shared
 * with a hashing thread and aligned to pages for O_DIRECT.
 */

export interface RangeBuffer {
  readonly bytes: Uint8Array;
  release(): void;
}

export class RangeBuffers {
  readonly #free: Uint8Array[] = [];
  readonly #waiting: ((bytes: Uint8Array) => void)[] = [];
  readonly bufferBytes: number;

  /** Divides the part [fromBytes, endBytes) of the memory, or all of it. */
  constructor(
    memory: ArrayBufferLike,
    bufferBytes: number,
    fromBytes = 0,
    endBytes: number = memory.byteLength,
  ) {
    this.bufferBytes = bufferBytes;
    for (let at = fromBytes; at + bufferBytes <= endBytes; at += bufferBytes) {
      this.#free.push(new Uint8Array(memory, at, bufferBytes));
    }
    if (this.#free.length < 2) throw new RangeError('memory for at least two buffers is needed');
  }

  /** A free buffer, when there is one. */
  async acquire(): Promise<RangeBuffer> {
    const bytes = this.#free.pop() ?? (await new Promise<Uint8Array>((take) => this.#waiting.push(take)));
    let released = false;
    return {
      bytes,
      release: () => {
        if (released) return;
        released = true;
        const next = this.#waiting.shift();
        if (next === undefined) this.#free.push(bytes);
        else next(bytes);
      },
    };
  }
}
