/**
 * Reads ranges of a compressed object's content, for the tables of a qcow2 image inside: forwards as long
 * as the ranges ascend, from the beginning again where they do not. The tables are asked for in at most
 * five ascending groups (refcount table, L1, L2, first and last cluster), so there are never more passes.
 */
import type { ReadRange } from '../../core/images/layout.ts';
import { truncated } from '../../core/images/refusal.ts';

/** One more than openQcow2() can ask for. */
const PASSES_MAX = 6;

export class ContentReader {
  readonly #open: () => AsyncIterator<Uint8Array>;
  readonly #head: Uint8Array;
  #content: AsyncIterator<Uint8Array> | undefined;
  /** What came last, and its place in the content. */
  #piece = new Uint8Array();
  #pieceBytes = 0;
  #turn: Promise<unknown> = Promise.resolve();
  passes = 0;

  /** `head` is the beginning of the content, kept so that most images need no pass at all. */
  constructor(open: () => AsyncIterator<Uint8Array>, head: Uint8Array) {
    this.#open = open;
    this.#head = head;
  }

  /** Ranges asked for at the same time are read one after the other. */
  readonly read: ReadRange = (offsetBytes, lengthBytes) => {
    const range = this.#turn.then(() => this.#read(offsetBytes, lengthBytes));
    this.#turn = range.catch(() => undefined);
    return range;
  };

  async close(): Promise<void> {
    await this.#turn;
    await this.#content?.return?.();
    this.#content = undefined;
  }

  async #read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const endBytes = offsetBytes + lengthBytes;
    if (endBytes <= this.#head.length) return this.#head.slice(offsetBytes, endBytes);
    if (this.#content === undefined || offsetBytes < this.#pieceBytes) await this.#begin();
    const range = new Uint8Array(lengthBytes);
    for (let gotBytes = 0; gotBytes < lengthBytes;) {
      const from = offsetBytes + gotBytes - this.#pieceBytes;
      const part = this.#piece.subarray(from, from + lengthBytes - gotBytes);
      range.set(part, gotBytes);
      gotBytes += part.length;
      if (gotBytes < lengthBytes) await this.#next(endBytes);
    }
    return range;
  }

  async #begin(): Promise<void> {
    await this.#content?.return?.();
    if (++this.passes > PASSES_MAX) throw new Error(`more than ${PASSES_MAX} passes over one object`);
    this.#content = this.#open();
    this.#piece = new Uint8Array();
    this.#pieceBytes = 0;
  }

  async #next(neededBytes: number): Promise<void> {
    const next = await this.#content?.next();
    this.#pieceBytes += this.#piece.length;
    if (next === undefined || next.done === true) throw endedEarly(this.#pieceBytes, neededBytes);
    this.#piece = Uint8Array.from(next.value);
  }
}

function endedEarly(offsetBytes: number, neededBytes: number): Error {
  return truncated({
    check: 'the end of the decompressed image',
    offsetBytes,
    found: 'there, although it was longer when it was measured',
    allowed: `${neededBytes} bytes or more`,
  });
}
