/**
 * The ledger without SQLite: every write is durable at once, or fails. Rows pass through JSON, as in the real
 * one, and a fill id stands in one row only.
 */
import type { KeyChange } from '../../src/core/key/key-change.ts';
import type {
  FillRecord,
  GoldenRecord,
  JobRecord,
  KnownDomain,
  Ledger,
} from '../../src/provision/ports/ledger.ts';
import type { Census } from './census.ts';
import type { Faults } from './faults.ts';
import type { Life } from './life.ts';

export class MemoryLedger {
  readonly #faults: Faults;
  readonly #census: Census;
  #fills = new Map<string, FillRecord>();
  #domains = new Map<string, KnownDomain>();
  #jobs = new Map<string, JobRecord>();
  #keyChanges = new Map<string, KeyChange>();
  #goldens = new Map<string, GoldenRecord>();
  /** Told about each row that is written. */
  onFill: (record: FillRecord) => void = () => undefined;
  /** So many writes from now the daemon is killed, before or after that write. */
  killAtWrite: { inWrites: number; readonly when: 'before' | 'after'; readonly kill: () => void } | undefined;

  constructor(faults: Faults, census: Census) {
    this.#faults = faults;
    this.#census = census;
  }

  lose(): void {
    this.#fills = new Map();
    this.#domains = new Map();
    this.#jobs = new Map();
    this.#keyChanges = new Map();
    this.#goldens = new Map();
  }

  /** As one life of the daemon has it: once that is over, nothing it does reaches the disk. */
  of(daemon: Life): Ledger {
    const write = (what: string, effect: () => void): void => {
      if (!daemon.isAlive) return;
      if (this.#faults.strikes('ledgerFails')) throw new Error('SQLITE_FULL: database or disk is full');
      const armed = this.killAtWrite;
      if (armed !== undefined) armed.inWrites -= 1;
      const kill = armed !== undefined && armed.inWrites <= 0 ? armed : undefined;
      this.#census.count(`write ${what}`);
      if (kill !== undefined) {
        this.killAtWrite = undefined;
        this.#census.count(`crash ${kill.when} write ${what}`);
      }
      if (kill?.when === 'before') kill.kill();
      else effect();
      if (kill?.when === 'after') kill.kill();
    };
    const fills = () => [...this.#fills.values()].sort((a, b) => a.createdAtMs - b.createdAtMs);
    return {
      fills,
      fillsOf: (uuid) => fills().filter(({ domainUuid }) => domainUuid === uuid),
      fillsAt: ({ vg, lv }) => fills().filter(({ location }) => location.vg === vg && location.lv === lv),
      fillOf: (domainUuid, target) => this.#fills.get(`${domainUuid} ${target}`),
      putFill: (record) => {
        write(`${record.state} fill`, () => {
          const copy = JSON.parse(JSON.stringify(record)) as FillRecord;
          for (const [key, { fillId }] of this.#fills) if (fillId === copy.fillId) this.#fills.delete(key);
          this.#fills.set(`${copy.domainUuid} ${copy.request.target}`, copy);
          this.onFill(copy);
        });
      },
      removeFill: (domainUuid, target) => {
        write('no fill', () => this.#fills.delete(`${domainUuid} ${target}`));
      },
      domains: () => [...this.#domains.values()],
      domainOf: (uuid) => this.#domains.get(uuid),
      putDomain: (known) => {
        write('domain', () =>
          this.#domains.set(known.domain.uuid, JSON.parse(JSON.stringify(known)) as KnownDomain),
        );
      },
      removeDomain: (uuid) => {
        write('no domain', () => this.#domains.delete(uuid));
      },
      jobOf: (id) => this.#jobs.get(id),
      jobs: ({ limit }) => [...this.#jobs.values()].reverse().slice(0, limit),
      unfinishedJobs: () => [...this.#jobs.values()].filter(({ end }) => end === undefined),
      // Only metrics ask.
      jobCounts: () => [],
      putJob: (record) => {
        write(`${record.end?.state ?? 'unfinished'} job`, () =>
          this.#jobs.set(record.id, JSON.parse(JSON.stringify(record)) as JobRecord),
        );
      },
      removeJob: (id) => {
        write('no job', () => this.#jobs.delete(id));
      },
      keyChangeOf: (fillId) => this.#keyChanges.get(fillId),
      unfinishedKeyChanges: () => [...this.#keyChanges.values()].filter(({ step }) => step !== 'done'),
      putKeyChange: (change) => {
        write(`${change.step} key change`, () => this.#keyChanges.set(change.fillId, change));
      },
      removeKeyChange: (fillId) => {
        write('no key change', () => this.#keyChanges.delete(fillId));
      },
      goldens: () => [...this.#goldens.values()],
      putGolden: (record) => {
        write(`${record.leaving ?? 'kept'} golden`, () =>
          this.#goldens.set(record.fillId, JSON.parse(JSON.stringify(record)) as GoldenRecord),
        );
      },
      removeGolden: (fillId) => {
        write('no golden', () => this.#goldens.delete(fillId));
      },
    };
  }
}
