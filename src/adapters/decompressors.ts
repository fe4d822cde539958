/**
 * Takes the outer compression off an object: gzip and zstd by Node's zlib, xz by the system's program, as a
 * child that can be ended and whose memory is bounded. All of them verify the checksums that are in the stream.
 */
import type { Writable } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { ProvisionError } from '../core/errors.ts';
import type { OuterCompression } from '../core/request.ts';
import type { Decompressors } from '../provision/ports/workshop.ts';
import type { Decompressor } from './decompressors/decompressor.ts';
import { startXz } from './decompressors/xz.ts';

const CHUNK_BYTES = 256 * 1024;
/** Frames made with `zstd --long` up to this window (128 MiB, zstd's own default limit) are read. */
const ZSTD_WINDOW_LOG_MAX = 27;

export class SystemDecompressors implements Decompressors {
  async *content(
    compression: OuterCompression,
    stored: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const decompressor = compression === 'xz' ? startXz() : startZlib(compression);
    const feeding = new Feeding(decompressor, stored);
    const abort = () => decompressor.output.destroy(new Error('aborted'));
    signal.addEventListener('abort', abort, { once: true });
    try {
      signal.throwIfAborted();
      for await (const bytes of decompressor.output as AsyncIterable<Buffer>) yield bytes;
      await decompressor.finish(feeding.fedBytes);
      if (!feeding.isComplete) throw new Error('bytes follow behind its end');
    } catch (error) {
      signal.throwIfAborted();
      throw feeding.failure ?? damaged(compression, error);
    } finally {
      signal.removeEventListener('abort', abort);
      await decompressor.stop();
      await feeding.ended;
    }
  }
}

/** Hands the stored bytes to the decompressor, a piece at a time. */
class Feeding {
  fedBytes = 0;
  isComplete = false;
  /** Why the stored bytes did not come; it explains whatever the decompressor says about it. */
  failure: ProvisionError | undefined;
  readonly ended: Promise<void>;

  constructor(decompressor: Decompressor, stored: AsyncIterable<Uint8Array>) {
    this.ended = this.#feed(decompressor, stored);
  }

  async #feed({ input, output }: Decompressor, stored: AsyncIterable<Uint8Array>): Promise<void> {
    // A stream that fails says so to each write that waits and once more as an event.
    input.on('error', () => undefined);
    try {
      for await (const bytes of stored) {
        await written(input, bytes);
        this.fedBytes += bytes.length;
      }
      this.isComplete = true;
      input.end();
    } catch (error) {
      if (input.errored === null && !input.destroyed) {
        this.failure = error instanceof ProvisionError ? error : undefined;
        output.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }
}

/** Resolves when the bytes have been taken and their memory is free; rejects when they never will be. */
function written(input: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = () => {
      reject(new Error('the decompressor has ended'));
    };
    input.once('close', gone);
    input.write(bytes, (error) => {
      input.off('close', gone);
      if (error) reject(error);
      else resolve();
    });
  });
}

function startZlib(compression: 'gzip' | 'zstd'): Decompressor {
  const stream =
    compression === 'gzip'
      ? createGunzip({ chunkSize: CHUNK_BYTES })
      : createZstdDecompress({
          chunkSize: CHUNK_BYTES,
          params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
        });
  return {
    input: stream,
    output: stream,
    finish: (fedBytes) =>
      // Node ends quietly where the next member or frame should begin and something else does.
      stream.bytesWritten === fedBytes
        ? Promise.resolve()
        : Promise.reject(new Error(`bytes follow behind its end at byte ${stream.bytesWritten}`)),
    stop: () => {
      stream.destroy();
      return Promise.resolve();
    },
  };
}

function damaged(compression: OuterCompression, cause: unknown): ProvisionError {
  if (cause instanceof ProvisionError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ProvisionError({
    code: 'IMAGE_MALFORMED',
    message: `The image is refused: the object is not whole ${compression} data (${why}).`,
    hint: `The annotation says compression="${compression}": state what the object really is, or test it with "${compression} -t FILE" where it was made and upload it again.`,
    cause,
  });
}
