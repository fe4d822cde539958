import type { Readable, Writable } from 'node:stream';

/** A running decompressor: stored bytes go in, content comes out. */
export interface Decompressor {
  readonly input: Writable;
  readonly output: Readable;
  /** Resolves after the output has ended; rejects with why it is not the whole content. */
  finish(fedBytes: number): Promise<void>;
  /** Ends it, whatever it does. */
  stop(): Promise<void>;
}
