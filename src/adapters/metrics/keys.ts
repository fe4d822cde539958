/** Keys of encrypted volumes: read, handed over to libvirt, and revoked. */
import type { Registry } from 'prom-client';
import { Counter } from 'prom-client';
import type { ErrorCode } from '../../core/errors.ts';
import { toProblem } from '../../core/errors.ts';
import { KEY_PROVIDERS } from '../../core/key/key-reference.ts';
import type { Keys } from '../../provision/ports/keys.ts';
import type { KeyWatch } from '../../provision/ports/watches.ts';

const OUTCOMES = ['read', 'denied', 'not-found', 'unreachable', 'failed'] as const;

export class KeyMetrics implements KeyWatch {
  readonly #reads;
  readonly #handOvers;
  readonly #revocations;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#reads = new Counter({
      name: 'lvp_key_reads_total',
      help: 'Keys that were asked for: read, denied, not-found, unreachable (nobody answered), or failed otherwise.',
      labelNames: ['provider', 'outcome'],
      registers,
    });
    this.#handOvers = new Counter({
      name: 'lvp_key_handovers_total',
      help: 'Encrypted disks whose key was to be handed over to libvirt: done, or refused.',
      labelNames: ['result'],
      registers,
    });
    this.#revocations = new Counter({
      name: 'lvp_key_revocations_total',
      help: 'Keys that were taken back from libvirt because this host may not read them any more.',
      registers,
    });
    for (const provider of KEY_PROVIDERS)
      for (const outcome of OUTCOMES) this.#reads.inc({ provider, outcome }, 0);
    for (const result of ['done', 'refused']) this.#handOvers.inc({ result }, 0);
  }

  measured(keys: Keys): Keys {
    return {
      read: async (reference, signal) => {
        let outcome: (typeof OUTCOMES)[number] = 'read';
        try {
          return await keys.read(reference, signal);
        } catch (error) {
          outcome = outcomeOf(error);
          throw error;
        } finally {
          this.#reads.inc({ provider: reference.provider, outcome });
        }
      },
    };
  }

  readonly handedOver = (result: 'done' | 'refused'): void => {
    this.#handOvers.inc({ result });
  };

  readonly revoked = (): void => {
    this.#revocations.inc();
  };
}

const OUTCOME_OF: Partial<Record<ErrorCode, (typeof OUTCOMES)[number]>> = {
  KEY_DENIED: 'denied',
  KEY_NOT_FOUND: 'not-found',
  KEY_SERVER_UNREACHABLE: 'unreachable',
};

function outcomeOf(error: unknown): (typeof OUTCOMES)[number] {
  return OUTCOME_OF[toProblem(error).code] ?? 'failed';
}
