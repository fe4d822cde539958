/** The bucket: objects that are replaced, digests beside them that may lag behind, and a way there that breaks. */
import { createHash } from 'node:crypto';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { ImageReference } from '../../src/core/request.ts';
import { imageName } from '../../src/core/request.ts';
import type { ImageObject, Images } from '../../src/provision/ports/images.ts';
import type { Faults } from './faults.ts';
import type { Life } from './life.ts';
import type { Random } from './random.ts';

/** The longest that a stalled read takes to notice it. */
const STALL_MAX_MS = 60_000;
const CHUNK_BYTES = 8192;

interface StoredObject {
  readonly etag: string;
  readonly bytes: Buffer;
  readonly sha256: string;
}

export class Store {
  readonly #faults: Faults;
  readonly #nowMs: () => number;
  readonly #objects = new Map<string, StoredObject>();
  readonly #sidecars = new Map<string, { readonly sinceMs: number; readonly sha256: string }[]>();
  readonly #everStored = new Map<string, Buffer>();
  isAway = false;
  /** How long each chunk takes. */
  chunkMs = 0;
  #versions = 0;

  constructor(faults: Faults, nowMs: () => number) {
    this.#faults = faults;
    this.#nowMs = nowMs;
  }

  put(name: string, bytes: Buffer, options: { readonly sidecar: boolean }): void {
    this.#versions += 1;
    const sha256 = sha256Of(bytes);
    this.#objects.set(name, { etag: `e${this.#versions}`, bytes, sha256 });
    this.#everStored.set(sha256, bytes);
    if (options.sidecar) this.putSidecar(name);
  }

  putSidecar(name: string): void {
    const object = this.#objects.get(name);
    if (object === undefined) return;
    const before = this.#sidecars.get(name) ?? [];
    this.#sidecars.set(name, [...before, { sinceMs: this.#nowMs(), sha256: object.sha256 }]);
  }

  /** What a digest is of, if it ever was in the bucket. */
  contentOf(sha256: string): Buffer | undefined {
    return this.#everStored.get(sha256);
  }

  /** All content that there ever was. */
  get everStored(): Iterable<Buffer> {
    return this.#everStored.values();
  }

  digestOf(name: string): string | undefined {
    return this.#objects.get(name)?.sha256;
  }

  sizeOf(name: string): number {
    return this.#objects.get(name)?.bytes.length ?? 0;
  }

  sidecarOf(name: string): string | undefined {
    return this.#sidecars.get(name)?.at(-1)?.sha256;
  }

  /** Digests that stood beside the object at any time since then. */
  sidecarsSince(name: string, sinceMs: number): string[] {
    const all = this.#sidecars.get(name) ?? [];
    return all
      .filter((_, index) => (all[index + 1]?.sinceMs ?? Infinity) >= sinceMs)
      .map(({ sha256 }) => sha256);
  }

  images(daemon: Life): Images {
    const reach = async (name: string, image: ImageReference): Promise<void> => {
      await daemon.step(`store ${name}`);
      if (this.isAway || this.#faults.strikes('storeFails')) throw failure('STORE_UNREACHABLE', image);
    };
    return {
      stat: async (image) => {
        await reach('stat', image);
        const object = this.#objects.get(imageName(image));
        if (object === undefined) throw failure('IMAGE_NOT_FOUND', image);
        return { image, sizeBytes: object.bytes.length, etag: object.etag };
      },
      readText: async (image) => {
        await reach('read text', image);
        return this.sidecarOf(imageName(image).replace(/\.sha256$/, ''));
      },
      readInto: async (object, offsetBytes, target, { signal, onBytes }) => {
        let gotBytes = 0;
        for await (const bytes of this.#read(daemon, object, {
          offsetBytes,
          lengthBytes: target.length,
          signal,
        })) {
          target.set(bytes, gotBytes);
          gotBytes += bytes.length;
          onBytes?.(bytes.length);
        }
        if (gotBytes < target.length) throw failure('IMAGE_TRUNCATED', object.image);
      },
    };
  }

  async *#read(
    daemon: Life,
    { image, etag }: ImageObject,
    range: { readonly offsetBytes: number; readonly lengthBytes: number; readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array> {
    const endBytes = range.offsetBytes + range.lengthBytes;
    for (let at = range.offsetBytes; at < endBytes; at += CHUNK_BYTES) {
      await daemon.step('store read');
      if (this.chunkMs > 0) await daemon.clock().sleep(this.chunkMs, range.signal);
      if (this.#faults.strikes('storeStalls')) await daemon.clock().sleep(STALL_MAX_MS, range.signal);
      range.signal.throwIfAborted();
      if (this.isAway || this.#faults.strikes('storeFails')) throw failure('STORE_UNREACHABLE', image);
      const object = this.#objects.get(imageName(image));
      if (object?.etag !== etag) throw failure('IMAGE_CHANGED', image);
      if (this.#faults.strikes('storeTruncates')) return;
      const bytes = Buffer.from(object.bytes.subarray(at, Math.min(endBytes, at + CHUNK_BYTES)));
      if (this.#faults.strikes('storeCorrupts')) bytes[bytes.length >>> 1] = 0x21;
      yield bytes;
    }
  }
}

/** The content of an image: no two are alike, and a size need not be one of a volume. */
export function newImage(random: Random): Buffer {
  const bytes = Buffer.alloc(512 * random.between(1, 60) + (random.chance(0.3) ? random.between(1, 511) : 0));
  for (let at = 0; at < bytes.length; at += 64)
    bytes.writeUInt32LE(random.between(1, 2 ** 31), at & ~3 & (bytes.length - 4));
  bytes[0] = 0x42;
  return bytes;
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function failure(code: ErrorCode, image: ImageReference): ProvisionError {
  return new ProvisionError({ code, message: `The store does not give ${imageName(image)}.` });
}
