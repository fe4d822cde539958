/** Reading that nobody waits for: it rests while somebody else does, and takes no more than its rate. */
import type { Clock, Freeze } from '../ports/host.ts';
import type { ImageCache, ImageLease } from '../ports/image-cache.ts';
import type { Images } from '../ports/images.ts';
import type { WriteRate } from './write-rate.ts';

/** How soon it is seen that it may go on. */
const LOOK_MS = 1_000;

export interface LowPriorityNeeds {
  readonly clock: Clock;
  readonly freeze: Freeze;
  /** Fills that wait for their turn. */
  readonly fills: { readonly queuedCount: number };
  /** Undefined: as fast as it goes. */
  readonly rate?: Pick<WriteRate, 'take'> | undefined;
}

/** How many rest just now. */
interface Resting {
  count: number;
}

export class LowPriority {
  readonly #needs: LowPriorityNeeds;
  readonly #resting: Resting;
  readonly #isHurried: () => boolean;

  constructor(
    needs: LowPriorityNeeds,
    isHurried: () => boolean = () => false,
    resting: Resting = { count: 0 },
  ) {
    this.#needs = needs;
    this.#isHurried = isHurried;
    this.#resting = resting;
  }

  /** The same, but while somebody waits for this very work: it goes on then, and as fast as it can. */
  unless(isHurried: () => boolean): LowPriority {
    return new LowPriority(this.#needs, isHurried, this.#resting);
  }

  /** What it waits for, if it does. */
  get pausedBy(): 'frozen' | 'fills' | undefined {
    return this.#resting.count === 0 ? undefined : this.#reason();
  }

  /** Resolves when it may go on; an abort ends the wait. */
  async turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#isToRest()) return;
    this.#resting.count += 1;
    try {
      while (this.#isToRest()) await this.#needs.clock.sleep(LOOK_MS, signal);
    } finally {
      this.#resting.count -= 1;
    }
  }

  /** The same cache, from which and through which everything is read at low priority. */
  cache(cache: ImageCache): ImageCache {
    return {
      budgetBytes: cache.budgetBytes,
      lease: async (object, options) => this.#lease(await cache.lease(object, options)),
      list: () => cache.list(),
      evict: (what) => cache.evict(what),
      remove: (sha256) => cache.remove(sha256),
      strays: (what) => cache.strays(what),
    };
  }

  #lease(lease: ImageLease): ImageLease {
    return {
      ...{ from: lease.from, sha256: lease.sha256, images: this.images(lease.images) },
      keep: (sha256) => lease.keep(sha256),
      distrust: () => lease.distrust(),
      close: (isStillWanted) => lease.close(isStillWanted),
    };
  }

  /** The same store. */
  images(images: Images): Images {
    return {
      stat: (image, version) => images.stat(image, version),
      readText: (image) => images.readText(image),
      readInto: async (object, offsetBytes, target, options) => {
        await this.turn(options.signal);
        if (!this.#isHurried()) await this.#needs.rate?.take(target.length, options.signal);
        await images.readInto(object, offsetBytes, target, options);
      },
    };
  }

  #isToRest(): boolean {
    const reason = this.#reason();
    return reason === 'frozen' || (reason !== undefined && !this.#isHurried());
  }

  #reason(): 'frozen' | 'fills' | undefined {
    const { freeze, fills } = this.#needs;
    if (freeze.frozen() !== undefined) return 'frozen';
    return fills.queuedCount > 0 ? 'fills' : undefined;
  }
}
