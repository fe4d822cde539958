/** What becomes of golden volumes. */
import type { Registry } from 'prom-client';
import { Counter } from 'prom-client';
import type { GoldenEnd } from '../../provision/ports/ledger.ts';
import type { GoldenWatch } from '../../provision/ports/watches.ts';

export class GoldenMetrics implements GoldenWatch {
  readonly #clones;
  readonly #made;
  readonly #dropped;
  readonly #missed;
  readonly #checks;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#clones = new Counter({
      ...{ name: 'lvp_golden_clones_total', help: 'Volumes of guests that were made as clones.', registers },
    });
    this.#made = new Counter({
      ...{ name: 'lvp_golden_made_total', help: 'Golden volumes that were filled.', registers },
    });
    this.#dropped = new Counter({
      name: 'lvp_golden_dropped_total',
      help: 'Golden volumes that were removed: asked for, useless (another one holds the same), over-budget, or damaged.',
      labelNames: ['why'],
      registers,
    });
    this.#missed = new Counter({
      name: 'lvp_golden_missed_total',
      help: 'Golden volumes that were gone, and it was not this program.',
      registers,
    });
    this.#checks = new Counter({
      name: 'lvp_golden_checks_total',
      help: 'Golden volumes that were read and compared: sound, damaged, or failed to be read.',
      labelNames: ['result'],
      registers,
    });
  }

  cloned(): void {
    this.#clones.inc();
  }

  made(): void {
    this.#made.inc();
  }

  dropped(why: GoldenEnd): void {
    this.#dropped.inc({ why });
  }

  missed(): void {
    this.#missed.inc();
  }

  checked(result: 'sound' | 'damaged' | 'failed'): void {
    this.#checks.inc({ result });
  }
}
