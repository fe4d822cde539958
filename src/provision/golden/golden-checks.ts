/**
 * Golden volumes are looked at from time to time, one after the other: somebody may have changed one by hand, or the
 * disk may have. The one that was not looked at for longest is next; what was never looked at comes first.
 */
import { toProblem } from '../../core/errors.ts';
import type { GoldenVolumes } from './golden-volumes.ts';
import type { Clock, Freeze, Log } from '../ports/host.ts';

const DAY_MS = 24 * 3_600_000;

export interface GoldenCheckNeeds {
  readonly goldens: Pick<GoldenVolumes, 'list' | 'check'>;
  readonly clock: Clock;
  readonly freeze: Freeze;
  readonly log: Log;
  /** 0: none. */
  readonly checksPerDay: number;
}

export class GoldenChecks {
  readonly #needs: GoldenCheckNeeds;
  readonly #stopping = new AbortController();
  /** By UUID, in the order in which they were looked at. */
  readonly #looked = new Set<string>();
  #running: Promise<void> = Promise.resolve();

  constructor(needs: GoldenCheckNeeds) {
    this.#needs = needs;
  }

  start(): void {
    if (this.#needs.checksPerDay > 0) this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, checksPerDay } = this.#needs;
    const { signal } = this.#stopping;
    for (;;) {
      await clock.sleep(DAY_MS / checksPerDay, signal).catch(() => undefined);
      if (signal.aborted) return;
      await this.checkNext();
    }
  }

  /** Looks at one; what fails is said, and is met again when its turn comes. */
  async checkNext(): Promise<void> {
    const { freeze, goldens, log } = this.#needs;
    const { signal } = this.#stopping;
    if (freeze.frozen() !== undefined) return;
    try {
      const golden = this.#next((await goldens.list()).filter(({ unfit }) => unfit === undefined));
      if (golden === undefined) return;
      this.#looked.delete(golden.uuid);
      this.#looked.add(golden.uuid);
      const result = await goldens.check(golden, signal);
      if (result === 'sound') log.debug({ volume: `${golden.vg}/${golden.lv}` }, 'a golden volume is sound');
    } catch (error) {
      if (!signal.aborted) log.warn({ problem: toProblem(error) }, 'a golden volume could not be checked');
    }
  }

  #next<Golden extends { readonly uuid: string }>(goldens: readonly Golden[]): Golden | undefined {
    const there = new Set(goldens.map(({ uuid }) => uuid));
    for (const uuid of this.#looked) if (!there.has(uuid)) this.#looked.delete(uuid);
    const fresh = goldens.find(({ uuid }) => !this.#looked.has(uuid));
    const [oldest] = this.#looked;
    return fresh ?? goldens.find(({ uuid }) => uuid === oldest);
  }
}
