/**
 * The queue of domains and jobs that are to be looked at, and the one worker that takes them out: a few at first, so
 * that work begins at once.
 */
import { toProblem } from '../../core/errors.ts';
import type { LooksLater } from '../domains/looks-later.ts';
import type { Log } from '../ports/host.ts';
import type { Annotated } from './annotated-domains.ts';
import { READ_AGAIN_MS } from './annotated-domains.ts';

/**
 * Annotated domains read for one observation: few at first, so that work begins at once, then twice as many each
 * time, so that many domains do not cost as many readings of LVM.
 */
const OBSERVED_FIRST = 64;
/** So many others may be read along with each of them: those that change all the time hold nobody up. */
const PLAIN_FOR_EACH = 32;

/** What is done with those that are taken out. */
interface LookWork {
  /** Undefined: there is nothing to plan. */
  readonly read: (uuid: string) => Promise<Annotated | undefined>;
  readonly reconcile: (annotated: readonly Annotated[]) => Promise<void>;
  readonly later: LooksLater;
  readonly log: Log;
}

export class QueuedDomains {
  readonly #look: LookWork;
  readonly #queue = new Set<string>();
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(look: LookWork) {
    this.#look = look;
  }

  /** Whether there are domains still to be looked at. */
  get isBusy(): boolean {
    return this.#working !== undefined || this.#queue.size > 0;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  /** The work under way, if any. */
  get working(): Promise<void> | undefined {
    return this.#working;
  }

  /** Nobody is looked at before `wake`. */
  add(uuid: string): void {
    this.#queue.add(uuid);
  }

  wake(): void {
    if (this.#stopped) return;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
      if (this.#queue.size > 0) this.wake();
    });
  }

  /** Nobody else is taken out; who is being looked at may still be. */
  stop(): void {
    this.#stopped = true;
    this.#queue.clear();
  }

  async #work(): Promise<void> {
    for (let countMax = OBSERVED_FIRST; this.#queue.size > 0; countMax *= 2) {
      const taken: string[] = [];
      try {
        await this.#look.reconcile(await this.#readQueued(countMax, taken));
      } catch (error) {
        // Whatever is in the way now is met again at the next event or by the timer; until then nothing starts.
        const fields = { problem: toProblem(error), domains: taken.length };
        this.#look.log.warn(fields, 'could not look at domains');
        for (const uuid of taken) this.#look.later.in(uuid, READ_AGAIN_MS);
        return;
      }
    }
  }

  /** Takes domains out of the queue until it is empty, or until enough, annotated ones or others, are together. */
  async #readQueued(countMax: number, taken: string[]): Promise<Annotated[]> {
    const annotated: Annotated[] = [];
    for (const uuid of this.#queue) {
      this.#queue.delete(uuid);
      taken.push(uuid);
      const one = await this.#look.read(uuid);
      if (one !== undefined) annotated.push(one);
      if (annotated.length === countMax || taken.length === PLAIN_FOR_EACH * countMax) break;
    }
    return annotated;
  }
}
