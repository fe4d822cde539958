/** Showing what changes until nothing is under way any more: on a terminal painted over, else a line for each news. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Look, Output } from './terminal/output.ts';

const WATCH_MS = 500;
/** Plain lines come when a state changes, and after each tenth of the bytes. */
const PLAIN_STEPS = 10;

/** Something that is told of by itself. */
export interface News {
  /** What it is about. */
  readonly key: string;
  /** Told again when this is another. */
  readonly state: string;
  readonly line: string;
}

export interface Watched<T> {
  readonly look: () => Promise<T>;
  readonly isUnderWay: (value: T) => boolean;
  readonly text: (value: T, look: Look) => string;
  /** The same with bars, if it has any more to show while it lasts. */
  readonly live?: (value: T, look: Look) => string;
  readonly news: (value: T) => readonly News[];
}

/** Resolves with the last state, which has been printed by then. */
export async function watch<T>(output: Output, watched: Watched<T>): Promise<T> {
  const { text, live = text } = watched;
  const painter = await output.painter();
  const told = new Map<string, string>();
  try {
    for (;;) {
      const value = await watched.look();
      if (!watched.isUnderWay(value)) {
        painter?.clear();
        output.result(value, () => text(value, output.look));
        return value;
      }
      painter?.paint(live(value, output.look));
      if (painter === undefined && !output.json) tellNews(watched.news(value), told, output);
      await sleep(WATCH_MS);
    }
  } catch (error) {
    painter?.clear();
    throw error;
  }
}

function tellNews(news: readonly News[], told: Map<string, string>, output: Output): void {
  for (const { key, state, line } of news) {
    if (told.get(key) === state) continue;
    told.set(key, state);
    output.line(line);
  }
}

/** In how many tenths something is done. */
export function stepOf(bytesDone: number | undefined, bytesTotal: number | undefined): number {
  if (bytesDone === undefined || bytesTotal === undefined || bytesTotal === 0) return 0;
  return Math.floor((bytesDone / bytesTotal) * PLAIN_STEPS);
}
