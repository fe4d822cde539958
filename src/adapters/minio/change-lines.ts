/** A stream of lines, of which only one thing is of interest: whether one says anything at all. */

/** What MinIO sends to show that it is alive: an event without records, or, in older versions, spaces. */
const EMPTY = '{"Records":null}';
/** A longer line says something, whatever it is. */
const LINE_LENGTH_MAX = 64;

export class ChangeLines {
  readonly #onChange: () => void;
  #line = '';
  /** Of this line it has been told already. */
  #isTold = false;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Takes what came; keeps no more of it than the beginning of one line. */
  received(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte === 0x0a) this.#endLine();
      else if (byte > 0x20) this.#grow(byte);
    }
  }

  #grow(byte: number): void {
    if (this.#isTold) return;
    this.#line += String.fromCharCode(byte);
    if (this.#line.length > LINE_LENGTH_MAX) this.#tell();
  }

  #endLine(): void {
    if (!this.#isTold && this.#line !== '' && this.#line !== EMPTY) this.#tell();
    this.#line = '';
    this.#isTold = false;
  }

  #tell(): void {
    this.#isTold = true;
    this.#line = '';
    this.#onChange();
  }
}
