/** What has come over a connection and is not worked on yet. What is taken out of it, or thrown away, is overwritten. */

const NEWLINE = 0x0a;

export class Inbox {
  #bytes: Buffer = Buffer.alloc(0);

  get length(): number {
    return this.#bytes.length;
  }

  /** The chunk is overwritten. */
  add(chunk: Buffer): void {
    // Of its own memory: of the pool that small buffers share, nobody else may find a key in it.
    const bytes = Buffer.alloc(this.#bytes.length + chunk.length);
    this.#bytes.copy(bytes);
    chunk.copy(bytes, this.#bytes.length);
    this.wipe();
    chunk.fill(0);
    this.#bytes = bytes;
  }

  /** The next line without its newline, if there is all of it. */
  takeLine(): string | undefined {
    const end = this.#bytes.indexOf(NEWLINE);
    if (end < 0) return undefined;
    const line = this.#bytes.toString('utf8', 0, end);
    this.#drop(end + 1);
    return line;
  }

  /** The next bytes, cut into pieces of these lengths, if there are all of them. */
  takeEach(lengths: readonly number[]): Buffer[] | undefined {
    if (this.#bytes.length < lengths.reduce((sum, length) => sum + length, 0)) return undefined;
    return lengths.map((length) => {
      const piece = Buffer.alloc(length);
      this.#bytes.copy(piece, 0, 0, length);
      this.#drop(length);
      return piece;
    });
  }

  wipe(): void {
    this.#bytes.fill(0);
    this.#bytes = Buffer.alloc(0);
  }

  #drop(length: number): void {
    this.#bytes.fill(0, 0, length);
    this.#bytes = this.#bytes.subarray(length);
  }
}
