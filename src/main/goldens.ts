/** What goes on about golden volumes while nobody asks for one. */
import { systemClock } from '../adapters/clock.ts';
import type { Config } from '../adapters/config-file.ts';
import { GoldenChecks } from '../provision/golden/golden-checks.ts';
import type { GoldenVolumes } from '../provision/golden/golden-volumes.ts';
import type { Freeze, Log } from '../provision/ports/host.ts';

/** Begins to look at them from time to time; returns what ends it, and waits for what is just being removed. */
export function checkGoldens(
  { goldenChecksPerDay: checksPerDay }: Config,
  needs: { readonly goldens: GoldenVolumes; readonly freeze: Freeze; readonly log: Log },
): () => Promise<void> {
  const checks = new GoldenChecks({ ...needs, clock: systemClock, checksPerDay });
  checks.start();
  return async () => {
    await Promise.all([checks.stop(), needs.goldens.idle()]);
  };
}
