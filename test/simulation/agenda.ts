/**
 * Virtual time: what is to happen and when. Nothing else in a run waits for anything, so an hour passes in
 * as long as the program needs to think about it, and the order of all things is that of the agenda.
 */
const START_MS = 1_800_000_000_000;

interface Item {
  readonly atMs: number;
  readonly run: () => void;
  isDropped: boolean;
}

export class Agenda {
  #nowMs = START_MS;
  /** Ascending by time; of equal times, the earlier entered comes first. */
  readonly #items: Item[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  get elapsedMs(): number {
    return this.#nowMs - START_MS;
  }

  /** Enters something to be done, and returns how to take it off again. */
  after(durationMs: number, run: () => void): () => void {
    const item: Item = { atMs: this.#nowMs + Math.max(0, durationMs), run, isDropped: false };
    let low = 0;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#items[middle]?.atMs ?? Infinity) <= item.atMs) low = middle + 1;
      else high = middle;
    }
    this.#items.splice(low, 0, item);
    return () => {
      item.isDropped = true;
    };
  }

  /**
   * Lets time pass up to `untilMs`, item by item, until the condition holds. After each item everything that
   * follows from it by itself has happened: promises are all that the program under test waits by.
   */
  async run(untilMs: number, isEnough: () => boolean = () => false): Promise<void> {
    await settle();
    while (!isEnough()) {
      const next = this.#items[0];
      if (next === undefined || next.atMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        return;
      }
      this.#items.shift();
      if (next.isDropped) continue;
      this.#nowMs = next.atMs;
      next.run();
      await settle();
    }
  }
}

/** Node empties the queue of promises before it begins another round of its loop. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
