/** Buckets in memory that answer, announce and break as they are told. */
import type { ErrorCode } from '../../src/core/errors.ts';
import { ProvisionError, toProblem } from '../../src/core/errors.ts';
import type { ListedObject } from '../../src/core/policy/prefetch-rule.ts';
import type { BucketListing, Buckets, ListenEnd, Listener } from '../../src/provision/ports/images.ts';

interface Listening {
  readonly bucket: string;
  readonly prefix: string;
  readonly listener: Listener;
  readonly end: (end: ListenEnd) => void;
}

export class FakeBuckets implements Buckets {
  readonly objects = new Map<string, ListedObject>();
  readonly listening = new Set<Listening>();
  /** Each list and each begun listening. */
  readonly asked: string[] = [];
  /** What every list ends with. */
  listFails: ErrorCode | undefined;
  /** What every listening ends with. */
  listenFails: Exclude<ListenEnd['how'], 'ended'> | undefined;

  put(bucket: string, key: string, sizeBytes: number, etag: string, modifiedAtMs = 0): void {
    this.objects.set(`${bucket}/${key}`, { key, sizeBytes, etag, modifiedAtMs });
    this.announce(bucket, key);
  }

  remove(bucket: string, key: string): void {
    this.objects.delete(`${bucket}/${key}`);
    this.announce(bucket, key);
  }

  /** As the store does, or as somebody would who only claims that something has happened. */
  announce(bucket: string, key: string): void {
    for (const { bucket: of, prefix, listener } of this.listening) {
      if (of === bucket && key.startsWith(prefix)) listener.onChange();
    }
  }

  breakOff(): void {
    for (const { end } of this.listening) end({ how: 'failed', problem: problemOf('STORE_UNREACHABLE') });
  }

  list(bucket: string, prefix: string, countMax: number, signal: AbortSignal): Promise<BucketListing> {
    signal.throwIfAborted();
    this.asked.push(`list ${bucket} ${prefix}`);
    if (this.listFails !== undefined) return Promise.reject(broken(this.listFails));
    const objects = [...this.objects]
      .filter(([name, { key }]) => name === `${bucket}/${key}` && key.startsWith(prefix))
      .map(([, object]) => object)
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    return Promise.resolve({ objects: objects.slice(0, countMax), isCutShort: objects.length > countMax });
  }

  async listen(bucket: string, prefix: string, listener: Listener, signal: AbortSignal): Promise<ListenEnd> {
    this.asked.push(`listen ${bucket} ${prefix}`);
    if (this.listenFails !== undefined)
      return { how: this.listenFails, problem: problemOf('STORE_ACCESS_DENIED') };
    const { promise, resolve } = Promise.withResolvers<ListenEnd>();
    const listening = { bucket, prefix, listener, end: resolve };
    this.listening.add(listening);
    signal.addEventListener('abort', () => {
      resolve({ how: 'ended' });
    });
    listener.onOpen();
    const end = await promise;
    this.listening.delete(listening);
    return end;
  }
}

function broken(code: ErrorCode): ProvisionError {
  return new ProvisionError({ code, message: 'broken as the test wants' });
}

function problemOf(code: ErrorCode) {
  return toProblem(broken(code));
}
