/**
 * What LVM was last read to hold, for whoever would read it again right away. It is as good as another reading while
 * nothing of ours has been changing anything since it was asked for, and it gets old soon: what others do is seen a
 * second later at most. Whoever decides by it to change something leaves the last look to the helper.
 */
import type { Clock } from './ports/host.ts';
import type { VolumeListing, Volumes } from './ports/volumes.ts';

/** From when it was asked for. */
const RECENT_MS = 1000;

export class RecentListing {
  /** The same port: whatever goes past it is noticed. */
  readonly volumes: Volumes;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #last: { readonly listing: VolumeListing; readonly askedAtMs: number } | undefined;
  /** Changes that have begun, and those of them that have ended. */
  #begun = 0;
  #ended = 0;

  constructor(volumes: Volumes, clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
    const changing = <T>(change: () => Promise<T>) => this.#changing(change);
    this.volumes = {
      list: () => this.#list(volumes),
      examine: (...asked) => volumes.examine(...asked),
      create: (...asked) => changing(() => volumes.create(...asked)),
      clone: (...asked) => changing(() => volumes.clone(...asked)),
      adopt: (...asked) => changing(() => volumes.adopt(...asked)),
      publish: (...asked) => changing(() => volumes.publish(...asked)),
      claim: (...asked) => changing(() => volumes.claim(...asked)),
      retire: (...asked) => changing(() => volumes.retire(...asked)),
      restore: (...asked) => changing(() => volumes.restore(...asked)),
      arrive: (...asked) => changing(() => volumes.arrive(...asked)),
      recall: (...asked) => changing(() => volumes.recall(...asked)),
      discard: (...asked) => changing(() => volumes.discard(...asked)),
      drop: (...asked) => changing(() => volumes.drop(...asked)),
    };
  }

  /** Undefined if it has to be read anew. */
  recent(): VolumeListing | undefined {
    if (this.#last === undefined) return undefined;
    const isRecent = this.#clock.monotonicMs() - this.#last.askedAtMs < RECENT_MS;
    return isRecent ? this.#last.listing : undefined;
  }

  async #list(volumes: Volumes): Promise<VolumeListing> {
    const askedAtMs = this.#clock.monotonicMs();
    const begunBefore = this.#begun;
    const isQuiet = this.#ended === begunBefore;
    const listing = await volumes.list();
    if (isQuiet && this.#begun === begunBefore) this.#last = { listing, askedAtMs };
    return listing;
  }

  async #changing<T>(change: () => Promise<T>): Promise<T> {
    this.#begun += 1;
    this.#last = undefined;
    try {
      return await change();
    } finally {
      this.#ended += 1;
    }
  }
}
