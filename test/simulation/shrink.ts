/** Makes a failing run smaller: without which deeds is the same promise still broken? */
import type { Outcome } from './simulation.ts';
import { simulate } from './simulation.ts';

export interface Shrunk {
  readonly outcome: Outcome;
  readonly only: ReadonlySet<number>;
}

export async function shrink(failing: Outcome, only: ReadonlySet<number> | undefined): Promise<Shrunk> {
  let kept = only === undefined ? Array.from({ length: failing.deeds }, (_, index) => index) : [...only];
  let outcome = failing;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = kept.length - size; at > -size; at -= size) {
      const fewer = kept.filter((_, index) => index < at || index >= at + size);
      const smaller = await simulate(failing.seed, { only: new Set(fewer) });
      if (smaller.violation?.oracle !== failing.violation?.oracle) continue;
      kept = fewer;
      outcome = smaller;
    }
  }
  return { outcome, only: new Set(kept) };
}
