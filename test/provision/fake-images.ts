/** A bucket store in memory that breaks when told to, and a device that notices what is done to it. */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { ImageReference } from '../../src/core/request.ts';
import type { Clock } from '../../src/provision/ports/host.ts';
import type { ImageObject, Images, ReadOptions } from '../../src/provision/ports/images.ts';
import type { VolumeDevice } from '../../src/provision/ports/volumes.ts';

export const IMAGE: ImageReference = { bucket: 'images', key: 'disk.img' };

export interface Break {
  /** In the read that covers this byte … */
  readonly atBytes: number;
  readonly code: ErrorCode | 'end';
  /** … this often. */
  times: number;
}

export class FakeImages implements Images {
  bytes: Uint8Array;
  readonly breaks: Break[] = [];
  readonly reads: { readonly offsetBytes: number; readonly lengthBytes: number }[] = [];
  /** Called before each chunk. */
  beforeChunk: (offsetBytes: number) => Promise<void> = () => Promise.resolve();
  reading = 0;
  readingMax = 0;
  #chunkBytes: number;

  constructor(bytes: Uint8Array, chunkBytes = 65_536) {
    this.bytes = bytes;
    this.#chunkBytes = chunkBytes;
  }

  object(): ImageObject {
    return { image: IMAGE, sizeBytes: this.bytes.length, etag: 'e1' };
  }

  sha256(): string {
    return createHash('sha256').update(this.bytes).digest('hex');
  }

  stat(): Promise<ImageObject> {
    return Promise.resolve(this.object());
  }

  readText(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async readInto(
    _object: ImageObject,
    offsetBytes: number,
    target: Uint8Array,
    { signal, onBytes }: ReadOptions,
  ): Promise<void> {
    this.reads.push({ offsetBytes, lengthBytes: target.length });
    this.readingMax = Math.max(this.readingMax, ++this.reading);
    try {
      const end = offsetBytes + target.length;
      for (let at = offsetBytes; at < end;) {
        signal.throwIfAborted();
        await this.beforeChunk(at);
        let next = Math.min(end, at + this.#chunkBytes);
        const broken = this.breaks.find((b) => b.times > 0 && b.atBytes >= at && b.atBytes < next);
        if (broken !== undefined) next = broken.atBytes;
        target.set(this.bytes.subarray(at, next), at - offsetBytes);
        onBytes?.(next - at);
        at = next;
        if (broken === undefined) continue;
        broken.times--;
        throw new ProvisionError({
          code: broken.code === 'end' ? 'IMAGE_TRUNCATED' : broken.code,
          message: 'broken as the test wants',
        });
      }
    } finally {
      this.reading--;
    }
  }
}

export class FakeDevice implements VolumeDevice {
  readonly bytes: Uint8Array;
  readonly log: string[] = [];
  writing = 0;
  writingMax = 0;
  failAtBytes = Infinity;
  writePauseMs: number | undefined;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes).fill(0xa5);
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    this.log.push('write');
    this.writingMax = Math.max(this.writingMax, ++this.writing);
    // Late on purpose: memory given back too early would be written wrongly.
    await (this.writePauseMs === undefined ? undefined : pause(this.writePauseMs));
    this.writing--;
    if (offsetBytes + bytes.length > this.sizeBytes) throw new RangeError('outside the volume');
    if (offsetBytes + bytes.length > this.failAtBytes) {
      throw new ProvisionError({ code: 'DEVICE_FAILED', message: 'the disk is gone' });
    }
    this.bytes.set(bytes, offsetBytes);
  }

  zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.log.push(`zero ${offsetBytes} ${lengthBytes}`);
    if (offsetBytes + lengthBytes > this.sizeBytes) throw new RangeError('outside the volume');
    this.bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
    return Promise.resolve();
  }

  read(target: Uint8Array, offsetBytes: number): Promise<void> {
    if (offsetBytes + target.length > this.sizeBytes) throw new RangeError('outside the volume');
    target.set(this.bytes.subarray(offsetBytes, offsetBytes + target.length));
    return Promise.resolve();
  }

  sync(): Promise<void> {
    this.log.push('sync');
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Sleeps take no time, and are remembered. */
export class FakeClock implements Clock {
  readonly sleeps: number[] = [];

  nowMs(): number {
    return 0;
  }

  monotonicMs(): number {
    return 0;
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.sleeps.push(durationMs);
    return Promise.resolve();
  }
}
