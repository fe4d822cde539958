/** Prefetching with the real cache folder over a store in memory that knows several objects. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ImageFolder } from '../../src/adapters/image-cache.ts';
import { PrefetchFile } from '../../src/adapters/prefetch-file.ts';
import { SystemDecompressors } from '../../src/adapters/decompressors.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { Frozen } from '../../src/core/frozen.ts';
import type { HostPolicy } from '../../src/core/policy/host-policy.ts';
import type { PrefetchRule } from '../../src/core/policy/prefetch-rule.ts';
import type { ImageReference } from '../../src/core/request.ts';
import { imageName } from '../../src/core/request.ts';
import type { GoldenAhead } from '../../src/provision/golden/golden-ahead.ts';
import { LowPriority } from '../../src/provision/stream/low-priority.ts';
import type { AuditTrail } from '../../src/provision/ports/audit.ts';
import type { Clock } from '../../src/provision/ports/host.ts';
import type { ImageObject, Images, ReadOptions } from '../../src/provision/ports/images.ts';
import { PrefetchedImages } from '../../src/provision/images/prefetched-images.ts';
import { Prefetcher } from '../../src/provision/images/prefetcher.ts';
import type { ImagePolicy } from '../../src/provision/fill/resolve-image.ts';
import type { WriteRate } from '../../src/provision/stream/write-rate.ts';
import { FakeBuckets } from './fake-buckets.ts';
import { silent } from './world.ts';

export const MIB = 2 ** 20;

interface StoredObject {
  readonly bytes: Buffer;
  readonly etag: string;
}

/** Objects by name; also seen by its buckets, and what was read of each is counted. */
export class StoredImages implements Images {
  readonly buckets = new FakeBuckets();
  readonly readBytes = new Map<string, number>();
  readonly #objects = new Map<string, StoredObject>();
  #puts = 0;
  /** Called before each read of an object's bytes. */
  beforeRead: () => Promise<void> = () => Promise.resolve();

  /** Answers with its SHA-256. */
  put(name: string, bytes: Buffer | string): string {
    const stored = { bytes: Buffer.from(bytes), etag: `etag-${(this.#puts += 1)}` };
    this.#objects.set(name, stored);
    const slash = name.indexOf('/');
    this.buckets.put(
      name.slice(0, slash),
      name.slice(slash + 1),
      stored.bytes.length,
      stored.etag,
      this.#puts,
    );
    return createHash('sha256').update(stored.bytes).digest('hex');
  }

  /** An image with its digest beside it. */
  putImage(name: string, sizeBytes = MIB): string {
    const sha256 = this.put(name, randomBytes(sizeBytes));
    this.put(`${name}.sha256`, `${sha256}\n`);
    return sha256;
  }

  remove(name: string): void {
    this.#objects.delete(name);
    const slash = name.indexOf('/');
    this.buckets.remove(name.slice(0, slash), name.slice(slash + 1));
  }

  stat(image: ImageReference): Promise<ImageObject> {
    const found = this.#objects.get(imageName(image));
    if (found === undefined) {
      const message = `There is no ${imageName(image)}.`;
      return Promise.reject(new ProvisionError({ code: 'IMAGE_NOT_FOUND', message }));
    }
    return Promise.resolve({ image, sizeBytes: found.bytes.length, etag: found.etag });
  }

  readText(image: ImageReference): Promise<string | undefined> {
    return Promise.resolve(this.#objects.get(imageName(image))?.bytes.toString('utf8'));
  }

  async readInto(
    { image }: ImageObject,
    offsetBytes: number,
    target: Uint8Array,
    { signal, onBytes }: ReadOptions,
  ) {
    await this.beforeRead();
    signal.throwIfAborted();
    const name = imageName(image);
    const { bytes } = this.#objects.get(name) ?? { bytes: Buffer.alloc(0) };
    target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
    this.readBytes.set(name, (this.readBytes.get(name) ?? 0) + target.length);
    onBytes?.(target.length);
  }
}

/** Time passes only when the test says so; sleeps of no time end at once. */
class SteppedClock implements Clock {
  #nowMs = 1_800_000_000_000;
  readonly #sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();

  nowMs = () => this.#nowMs;
  monotonicMs = () => this.#nowMs;

  get sleeping(): number {
    return this.#sleepers.size;
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { atMs: this.#nowMs + durationMs, wake: resolve };
      this.#sleepers.add(sleeper);
      const abort = () => {
        this.#sleepers.delete(sleeper);
        reject(signal?.reason as Error);
      };
      if (signal?.aborted === true) abort();
      else signal?.addEventListener('abort', abort);
    });
  }

  advance(durationMs: number): void {
    this.#nowMs += durationMs;
    for (const sleeper of this.#sleepers) {
      if (sleeper.atMs > this.#nowMs) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
  }
}

export const POLICY: ImagePolicy = {
  ...{ requireDigest: false, virtualSizeMaxBytes: 2 ** 40 },
  expansion: { ratioMax: 100, timeMaxMs: 60_000 },
};

export const RULE: PrefetchRule = {
  ...{ images: 'images/*.raw', format: 'raw', compression: undefined, toCache: true, toGroups: [] },
  ...{ pin: true, countMax: 10, sizeMaxBytes: Infinity },
};

export interface PrefetchSetting {
  readonly rules?: readonly PrefetchRule[];
  readonly budgetBytes?: number;
  readonly hostPolicy?: HostPolicy;
  readonly rate?: Pick<WriteRate, 'take'>;
  readonly golden?: GoldenAhead;
}

export class PrefetchWorld {
  readonly clock = new SteppedClock();
  readonly audited: Parameters<AuditTrail['record']>[0][] = [];
  readonly waiting = { queuedCount: 0 };
  readonly store: StoredImages;
  readonly folder: string;
  frozen: Frozen | undefined;
  cache!: ImageFolder;
  prefetched!: PrefetchedImages;
  prefetcher!: Prefetcher;

  private constructor(store: StoredImages, folder: string) {
    this.store = store;
    this.folder = folder;
  }

  static async make(setting: PrefetchSetting = {}): Promise<PrefetchWorld> {
    const world = new PrefetchWorld(new StoredImages(), await mkdtemp(path.join(tmpdir(), 'lvp-prefetch-')));
    await world.restart(setting);
    return world;
  }

  /** As a new daemon would begin, with what the one before has left on the disk. */
  async restart({
    rules = [RULE],
    budgetBytes = 100 * MIB,
    hostPolicy,
    rate,
    golden,
  }: PrefetchSetting = {}): Promise<void> {
    await (this.prefetcher as Prefetcher | undefined)?.stop();
    const { store, clock, audited, waiting } = this;
    const records = new PrefetchFile(path.join(this.folder, 'prefetched.json'));
    this.prefetched = new PrefetchedImages(records, rules, silent);
    await this.prefetched.open();
    this.cache = new ImageFolder({
      ...{ folder: path.join(this.folder, 'cache'), budgetBytes, store, log: silent },
      isPinned: (sha256) => this.prefetched.isPinned(sha256),
    });
    await this.cache.open();
    const freeze = { frozen: () => this.frozen };
    this.prefetcher = new Prefetcher({
      ...{ images: store, buckets: store.buckets, cache: this.cache, clock, log: silent, rules, hostPolicy },
      ...{ prefetched: this.prefetched, intervalMs: 900_000, decompressors: new SystemDecompressors() },
      priority: new LowPriority({ clock, freeze, fills: waiting, rate }),
      ...{ policy: POLICY, golden },
      trail: { record: (event) => void audited.push(event) },
    });
  }

  /** `BUCKET/KEY` of what is in the cache. */
  async cached(): Promise<string[]> {
    return (await this.cache.list()).map(({ image }) => image).sort();
  }

  problems(): Record<string, string> {
    const { state } = this.prefetcher;
    const images = state.rules().flatMap(({ chosen }) => chosen);
    return Object.fromEntries(
      images.flatMap((image) => {
        const problem = state.problemOf(image);
        return problem === undefined ? [] : [[image, problem.code]];
      }),
    );
  }

  async close(): Promise<void> {
    await this.prefetcher.stop();
    await rm(this.folder, { recursive: true });
  }
}
