/**
 * The cache: a folder with one file for each object, named by its SHA-256, and beside it a `.json` that says
 * what people call it. A file gets that name when it is complete, verified and synced; until then it is a
 * `.part`, which the next start removes. Last use is the file's modification time.
 */
import { randomBytes } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import {
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ProvisionError } from '../core/errors.ts';
import { imageName } from '../core/request.ts';
import type { Log } from '../provision/ports/host.ts';
import type { CachedImage, ImageCache, ImageLease, LeaseOptions } from '../provision/ports/image-cache.ts';
import type { ImageObject, Images } from '../provision/ports/images.ts';
import { readFully, Spool } from './image-spool.ts';

const NAME = /^[0-9a-f]{64}$/;
/** Left to everybody else on that disk. */
const FREE_MIN_BYTES = 1024 ** 3;

/** What stands beside an entry: for people, and to know it by where no digest is stated. */
const Description = z.object({
  image: z.string().optional(),
  etag: z.string().optional(),
  version: z.string().optional(),
});
type Description = z.infer<typeof Description>;

interface SharedSpool {
  readonly key: string;
  readonly path: string;
  readonly file: FileHandle;
  readonly spool: Spool;
  readonly object: ImageObject;
  readonly sizeBytes: number;
  leases: number;
  /** Set once the file has its final name. */
  sha256: string | undefined;
}

export interface ImageFolderOptions {
  readonly folder: string;
  readonly budgetBytes: number;
  readonly store: Images;
  readonly log: Log;
  /** An image was removed to make room. */
  readonly onEvicted?: ((image: CachedImage) => void) | undefined;
  /** Whether this one is never to be removed; asked each time. */
  readonly isPinned?: ((sha256: string) => boolean) | undefined;
}

export class ImageFolder implements ImageCache {
  readonly budgetBytes: number;
  readonly #folder: string;
  readonly #store: Images;
  readonly #log: Log;
  readonly #onEvicted: (image: CachedImage) => void;
  readonly #isPinned: (sha256: string) => boolean;
  readonly #spools = new Map<string, SharedSpool>();
  /** Leases on finished entries, by SHA-256. */
  readonly #inUse = new Map<string, number>();
  /** Whether a fill that has not begun yet is going to ask for an entry. */
  readonly #wanted = new Map<string, () => boolean>();
  /** One after the other: what looks at the folder and what changes it. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ImageFolderOptions) {
    this.#folder = options.folder;
    this.budgetBytes = options.budgetBytes;
    this.#store = options.store;
    this.#log = options.log;
    this.#onEvicted = options.onEvicted ?? (() => undefined);
    this.#isPinned = options.isPinned ?? (() => false);
  }

  /** Removes what a killed daemon left half done, and what a smaller budget has no room for. */
  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await this.strays('remove');
    await this.evict('over-budget');
  }

  strays(what: 'list' | 'remove'): Promise<string[]> {
    return this.#inTurn(async () => {
      const alive = new Set([...this.#spools.values()].map(({ path }) => path));
      const strays: string[] = [];
      for (const name of await readdir(this.#folder)) {
        const path = join(this.#folder, name);
        const sha256 = name.replace(/\.json$/, '');
        const isEntry = NAME.test(sha256) && (name === sha256 || (await this.#sizeOf(sha256)) !== undefined);
        if (isEntry || alive.has(path)) continue;
        if (what === 'remove') await rm(path, { force: true });
        strays.push(path);
      }
      return strays;
    });
  }

  lease(object: ImageObject, options: LeaseOptions): Promise<ImageLease> {
    return this.#inTurn(async () => {
      const sha256 =
        options.sha256 ?? (options.isProvenOtherwise === true ? await this.#readAs(object) : undefined);
      const found = sha256 === undefined ? undefined : await this.#leaseEntry(sha256, object);
      if (found !== undefined) return found;
      const shared = this.#spools.get(keyOf(object)) ?? (await this.#beginSpool(object, options.isShared));
      return shared === undefined ? passThrough(this.#store) : this.#leaseSpool(shared);
    }).catch((error: unknown) => {
      // Whatever is wrong with the folder: the store is still there.
      this.#log.warn({ err: error }, 'the image cache cannot be used');
      return passThrough(this.#store);
    });
  }

  async list(): Promise<CachedImage[]> {
    const images: CachedImage[] = [];
    for (const name of await readdir(this.#folder)) {
      if (!NAME.test(name)) continue;
      const found = await stat(join(this.#folder, name)).catch(() => undefined);
      if (found === undefined) continue;
      const { image = '' } = await this.#descriptionOf(name);
      images.push({
        ...{ sha256: name, sizeBytes: found.size, image, usedAtMs: found.mtimeMs },
        ...{ inUse: this.#isInUse(name), pinned: this.#isPinned(name) },
      });
    }
    return images.sort((a, b) => b.usedAtMs - a.usedAtMs);
  }

  evict(what: 'over-budget' | 'all'): Promise<CachedImage[]> {
    return this.#inTurn(() => this.#evictTo(what === 'all' ? 0 : this.budgetBytes));
  }

  remove(sha256: string): Promise<CachedImage> {
    return this.#inTurn(async () => {
      const found = (await this.list()).find((image) => image.sha256 === sha256);
      if (found === undefined || found.inUse || found.pinned) throw notRemovable(sha256, found);
      await this.#remove(sha256);
      this.#log.info({ sha256, image: found.image }, 'removed from the image cache');
      return found;
    });
  }

  async #evictTo(budgetBytes: number): Promise<CachedImage[]> {
    const images = await this.list();
    let keptBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const evicted: CachedImage[] = [];
    for (const image of images.reverse()) {
      if (keptBytes <= budgetBytes) break;
      if (image.inUse || image.pinned) continue;
      await this.#remove(image.sha256);
      keptBytes -= image.sizeBytes;
      evicted.push(image);
      this.#onEvicted(image);
      this.#log.info({ sha256: image.sha256, image: image.image }, 'evicted from the image cache');
    }
    return evicted;
  }

  async #leaseEntry(sha256: string, object: ImageObject): Promise<ImageLease | undefined> {
    const path = join(this.#folder, sha256);
    const file = await open(path, 'r').catch(() => undefined);
    if (file === undefined) return undefined;
    const found = await file.stat().catch(() => undefined);
    if (found?.size !== object.sizeBytes) {
      // The digest in the request and the object cannot belong together: the fill will say so.
      await file.close();
      return undefined;
    }
    // For people and for the order of eviction: a full disk does not keep anybody from reading.
    const now = new Date();
    await utimes(path, now, now).catch(() => undefined);
    await this.#describe(sha256, object).catch(() => undefined);
    this.#inUse.set(sha256, (this.#inUse.get(sha256) ?? 0) + 1);
    return {
      ...{ from: 'cache', sha256 },
      images: readingFrom(this.#store, async (offsetBytes, target, options) => {
        options.signal.throwIfAborted();
        await readFully(file, offsetBytes, target).catch((error: unknown) => {
          throw broken(path, error);
        });
        options.onBytes?.(target.length);
      }),
      keep: () => Promise.resolve(true),
      distrust: () => this.#inTurn(() => this.#remove(sha256)),
      close: async (isStillWanted) => {
        await file.close();
        this.#release(sha256);
        await this.#afterUse(sha256, isStillWanted);
      },
    };
  }

  /** Undefined if the object is not to be kept, or there is no room for it: then it is only read. */
  async #beginSpool(object: ImageObject, isShared: boolean): Promise<SharedSpool | undefined> {
    const isKept = object.sizeBytes <= this.budgetBytes;
    if (!isShared && !isKept) return undefined;
    if (isKept) await this.#evictTo(this.budgetBytes - object.sizeBytes);
    const { bavail, bsize } = await statfs(this.#folder);
    // Others have been promised room that they have not used yet.
    const promisedBytes = [...this.#spools.values()].reduce((sum, { spool }) => sum + spool.missingBytes, 0);
    if (bavail * bsize - promisedBytes < object.sizeBytes + FREE_MIN_BYTES) return undefined;
    const path = join(this.#folder, `${randomBytes(8).toString('hex')}.part`);
    const file = await open(path, 'wx+', 0o600);
    const shared: SharedSpool = {
      ...{ key: keyOf(object), path, file, object, sizeBytes: object.sizeBytes },
      ...{ spool: new Spool(this.#store, object, file), leases: 0, sha256: undefined },
    };
    this.#spools.set(shared.key, shared);
    return shared;
  }

  #leaseSpool(shared: SharedSpool): ImageLease {
    shared.leases += 1;
    return {
      from: 'store',
      images: readingFrom(this.#store, (...read) => shared.spool.readInto(...read)),
      keep: (sha256) => this.#inTurn(() => this.#keep(shared, sha256)),
      distrust: () => Promise.resolve(),
      close: async (isStillWanted) => {
        await this.#inTurn(() => this.#leaveSpool(shared));
        if (shared.sha256 !== undefined) await this.#afterUse(shared.sha256, isStillWanted);
      },
    };
  }

  /** Gives the file its name, once it has every byte and they have reached the disk. */
  async #keep(shared: SharedSpool, sha256: string): Promise<boolean> {
    if (shared.sha256 !== undefined) return shared.sha256 === sha256;
    if (!NAME.test(sha256) || !shared.spool.isComplete) return false;
    await shared.file.sync();
    await this.#describe(sha256, shared.object);
    await rename(shared.path, join(this.#folder, sha256));
    shared.sha256 = sha256;
    this.#inUse.set(sha256, (this.#inUse.get(sha256) ?? 0) + 1);
    // Who comes from now on finds the entry.
    if (this.#spools.get(shared.key) === shared) this.#spools.delete(shared.key);
    return true;
  }

  async #leaveSpool(shared: SharedSpool): Promise<void> {
    shared.leases -= 1;
    if (shared.leases > 0) return;
    await shared.file.close();
    if (this.#spools.get(shared.key) === shared) this.#spools.delete(shared.key);
    if (shared.sha256 === undefined) await rm(shared.path, { force: true });
    else this.#release(shared.sha256);
  }

  async #afterUse(sha256: string, isStillWanted: () => boolean): Promise<void> {
    this.#wanted.set(sha256, isStillWanted);
    await this.evict('over-budget');
  }

  #release(sha256: string): void {
    const left = (this.#inUse.get(sha256) ?? 0) - 1;
    if (left > 0) this.#inUse.set(sha256, left);
    else this.#inUse.delete(sha256);
  }

  #isInUse(sha256: string): boolean {
    return this.#inUse.has(sha256) || this.#wanted.get(sha256)?.() === true;
  }

  async #remove(sha256: string): Promise<void> {
    this.#wanted.delete(sha256);
    await rm(join(this.#folder, sha256), { force: true });
    await rm(join(this.#folder, `${sha256}.json`), { force: true });
  }

  async #describe(sha256: string, { image, etag, version }: ImageObject): Promise<void> {
    const text = JSON.stringify({ image: imageName(image), etag, version });
    await writeFile(join(this.#folder, `${sha256}.json`), `${text}\n`, { mode: 0o600 });
  }

  async #descriptionOf(sha256: string): Promise<Description> {
    try {
      const text = await readFile(join(this.#folder, `${sha256}.json`), 'utf8');
      return Description.parse(JSON.parse(text));
    } catch {
      return {};
    }
  }

  /** The entry that was read as exactly this state of the object. */
  async #readAs(object: ImageObject): Promise<string | undefined> {
    for (const name of await readdir(this.#folder)) {
      if (!NAME.test(name)) continue;
      const { image, etag, version } = await this.#descriptionOf(name);
      if (image === imageName(object.image) && etag === object.etag && version === object.version)
        return name;
    }
    return undefined;
  }

  async #sizeOf(sha256: string): Promise<number | undefined> {
    return (await stat(join(this.#folder, sha256)).catch(() => undefined))?.size;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }
}

/** No cache, no sharing: straight from the store. */
function passThrough(store: Images): ImageLease {
  return {
    from: 'store',
    images: store,
    keep: () => Promise.resolve(false),
    distrust: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

type Read = Spool['readInto'];

function readingFrom(store: Images, read: Read): Images {
  return {
    stat: (image, version) => store.stat(image, version),
    readText: (image) => store.readText(image),
    readInto: (_object, offsetBytes, target, options) => read(offsetBytes, target, options),
  };
}

/** One state of an object's bytes. */
function keyOf(object: ImageObject): string {
  return JSON.stringify([imageName(object.image), object.version, object.etag, object.sizeBytes]);
}

function notRemovable(sha256: string, image: CachedImage | undefined): ProvisionError {
  if (image === undefined) {
    return new ProvisionError({
      code: 'IMAGE_NOT_FOUND',
      message: `There is no image ${sha256} in the cache of this host.`,
      hint: 'lvp image ls shows those that are.',
    });
  }
  if (image.pinned) {
    return new ProvisionError({
      code: 'POLICY_REFUSED',
      message: `The image ${image.image} (${sha256}) is pinned by the configuration.`,
      hint: 'Take it out of prefetch.rules, or set pin to false there, and restart the provisioner.',
    });
  }
  return new ProvisionError({
    code: 'IMAGE_IN_USE',
    message: `The image ${image.image} (${sha256}) is being read.`,
    hint: 'Try again when the fill that reads it has ended: lvp list.',
  });
}

/** Of the kind that lets the fill distrust the entry and read from the store. */
function broken(path: string, cause: unknown): ProvisionError {
  return new ProvisionError({
    code: 'IMAGE_TRUNCATED',
    message: `The cached image ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`,
    hint: 'It is removed from the cache and read from the store again.',
    cause,
  });
}
