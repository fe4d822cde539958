/**
 * The ledger: one SQLite file with the intent behind every fill, so that a killed daemon knows what it was
 * doing. It can be lost: what volumes hold is proven by their tags, never by this file.
 *
 * `synchronous = FULL` makes a commit durable before the call returns: intent is on disk before its effect.
 */
import { renameSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { volumeKey } from '../core/plan/planned-fill.ts';
import type { FillState } from '../core/plan/planned-fill.ts';
import type { KeyChange } from '../core/key/key-change.ts';
import type { LastEnd } from '../core/plan/last-end.ts';
import type { Problem } from '../core/errors.ts';
import { ProvisionError } from '../core/errors.ts';
import type { Domain, VolumeLocation, VolumeRequest } from '../core/request.ts';
import type { AuditStore } from '../provision/ports/audit.ts';
import type { Boots } from '../provision/ports/host.ts';
import type {
  FillRecord,
  GoldenRecord,
  JobCount,
  JobQuery,
  JobRecord,
  KnownDomain,
  Ledger,
  StartWish,
} from '../provision/ports/ledger.ts';
import { AUDIT_TABLE, AuditTable } from './ledger/audit-table.ts';
import { GOLDENS_TABLE, GoldenTable } from './ledger/goldens.ts';
import { JOBS_TABLE, JobTable } from './ledger/jobs.ts';
import { KEY_CHANGES_TABLE, KeyChangeTable } from './ledger/key-changes.ts';
import { Remembered } from './ledger/remembered.ts';

/** How each version of the schema comes from the one before; the version is the count of those applied. */
const MIGRATIONS = [
  `
CREATE TABLE fills (
  domain_uuid   TEXT NOT NULL,
  target        TEXT NOT NULL,
  fill_id       TEXT NOT NULL UNIQUE,
  domain_name   TEXT NOT NULL,
  state         TEXT NOT NULL,
  request       TEXT NOT NULL,
  location      TEXT NOT NULL,
  attempts      INTEGER NOT NULL,
  retry_at_ms   INTEGER,
  problem       TEXT,
  sha256        TEXT,
  created_at_ms INTEGER NOT NULL,
  updated_at_ms INTEGER NOT NULL,
  PRIMARY KEY (domain_uuid, target)
) STRICT;
CREATE TABLE domains (
  uuid       TEXT PRIMARY KEY,
  domain     TEXT NOT NULL,
  origin     TEXT NOT NULL,
  start_wish TEXT NOT NULL,
  seen_at_ms INTEGER NOT NULL
) STRICT;
`,
  'ALTER TABLE fills ADD COLUMN replaces TEXT',
  // One row: the boot of the machine in which this program ran last.
  'CREATE TABLE boot (id TEXT NOT NULL) STRICT',
  // How a domain's guest last ended, and since when the domain is gone.
  `
ALTER TABLE domains ADD COLUMN last_end TEXT;
ALTER TABLE domains ADD COLUMN gone_at_ms INTEGER;
`,
  AUDIT_TABLE,
  JOBS_TABLE,
  KEY_CHANGES_TABLE,
  GOLDENS_TABLE,
];
const SCHEMA_VERSION = MIGRATIONS.length;

interface FillRow {
  domain_uuid: string;
  target: string;
  fill_id: string;
  domain_name: string;
  state: string;
  request: string;
  location: string;
  attempts: number;
  retry_at_ms: number | null;
  problem: string | null;
  sha256: string | null;
  created_at_ms: number;
  updated_at_ms: number;
  replaces: string | null;
}

interface DomainRow {
  uuid: string;
  domain: string;
  origin: string;
  start_wish: string;
  seen_at_ms: number;
  last_end: string | null;
  gone_at_ms: number | null;
}

/** In the name of a damaged ledger, between its own name and the time at which it was set aside. */
const SET_ASIDE = '.damaged-';

/** An opened ledger, and where a damaged predecessor was put if there was one. */
export interface OpenedLedger {
  readonly ledger: Ledger & Boots & { readonly audit: AuditStore; close(): void };
  readonly setAside?: string | undefined;
}

/**
 * Opens or makes the ledger. A damaged file is set aside under another name, not deleted, and an empty one
 * takes its place: the tags on the volumes say all that must not be lost.
 */
export function openLedger(file: string): OpenedLedger {
  try {
    return { ledger: new SqliteLedger(openDatabase(file)) };
  } catch (error) {
    if (!isDamage(error)) {
      throw new ProvisionError({
        code: 'INTERNAL',
        message: `The ledger ${file} cannot be opened: ${error instanceof Error ? error.message : String(error)}.`,
        hint: 'Check that its folder exists, is writable by the service user and has free space.',
        cause: error,
      });
    }
  }
  const setAside = `${file}${SET_ASIDE}${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  renameSync(file, setAside);
  return { ledger: new SqliteLedger(openDatabase(file)), setAside };
}

/** Ledgers that were set aside earlier and that nobody has removed. */
export async function findDamagedLedgers(file: string): Promise<readonly string[]> {
  const names = await readdir(dirname(file));
  const start = `${basename(file)}${SET_ASIDE}`;
  return names.filter((name) => name.startsWith(start)).map((name) => join(dirname(file), name));
}

function isDamage(error: unknown): boolean {
  const code = error instanceof Database.SqliteError ? error.code : '';
  return code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT');
}

function openDatabase(file: string): Database.Database {
  const database = new Database(file);
  try {
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    const check = database.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') throw new Database.SqliteError(`quick_check: ${String(check)}`, 'SQLITE_CORRUPT');
    const version = database.pragma('user_version', { simple: true }) as number;
    if (version > SCHEMA_VERSION) {
      throw new Error(
        `it was written by a newer release (schema ${version}, this one knows ${SCHEMA_VERSION})`,
      );
    }
    if (version < SCHEMA_VERSION) {
      database.transaction(() => {
        for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
        database.pragma(`user_version = ${SCHEMA_VERSION}`);
      })();
    }
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * What is asked of fills and domains is answered from memory: the file is this program's alone, and every plan asks
 * for its rows. Memory follows the file once a write is durable, by what the file then says.
 */
class SqliteLedger implements Ledger, Boots {
  readonly #database: Database.Database;
  readonly #write: ReturnType<typeof prepareWrites>;
  readonly #fills: Remembered<FillRecord, 'id' | 'domain' | 'volume'>;
  readonly #domains: Remembered<KnownDomain>;
  readonly audit: AuditStore;
  readonly #jobs: JobTable;
  readonly #keyChanges: KeyChangeTable;
  readonly #goldens: GoldenTable;

  constructor(database: Database.Database) {
    this.#database = database;
    this.#write = prepareWrites(database);
    this.audit = new AuditTable(database);
    this.#jobs = new JobTable(database);
    this.#keyChanges = new KeyChangeTable(database);
    this.#goldens = new GoldenTable(database);
    const fills = database.prepare<[], FillRow>('SELECT * FROM fills').all().map(fillOfRow);
    const domains = database.prepare<[], DomainRow>('SELECT * FROM domains').all().map(domainOfRow);
    this.#fills = new Remembered(fills, {
      keyOf: ({ domainUuid, request }) => fillKey(domainUuid, request.target),
      orderOf: ({ createdAtMs }) => createdAtMs,
      otherKeys: {
        id: ({ fillId }) => fillId,
        domain: ({ domainUuid }) => domainUuid,
        volume: ({ location }) => volumeKey(location),
      },
    });
    this.#domains = new Remembered(domains, {
      keyOf: ({ domain }) => domain.uuid,
      orderOf: ({ seenAtMs }) => seenAtMs,
      otherKeys: {},
    });
  }

  fills(): readonly FillRecord[] {
    return this.#fills.inOrder();
  }

  fillsOf(domainUuid: string): readonly FillRecord[] {
    return this.#fills.by('domain', domainUuid);
  }

  fillsAt(location: Pick<VolumeLocation, 'vg' | 'lv'>): readonly FillRecord[] {
    return this.#fills.by('volume', volumeKey(location));
  }

  fillOf(domainUuid: string, target: string): FillRecord | undefined {
    return this.#fills.get(fillKey(domainUuid, target));
  }

  putFill(record: FillRecord): void {
    const row = rowOfFill(record);
    this.#write.putFill.run(row);
    // As the file does, whose ids are unique.
    for (const replaced of this.#fills.by('id', record.fillId)) this.#fills.delete(replaced);
    this.#fills.set(fillOfRow(row));
  }

  removeFill(domainUuid: string, target: string): void {
    this.#write.removeFill.run(domainUuid, target);
    const removed = this.fillOf(domainUuid, target);
    if (removed !== undefined) this.#fills.delete(removed);
  }

  domains(): readonly KnownDomain[] {
    return this.#domains.inOrder();
  }

  domainOf(uuid: string): KnownDomain | undefined {
    return this.#domains.get(uuid);
  }

  putDomain(known: KnownDomain): void {
    const row: DomainRow = {
      ...{ uuid: known.domain.uuid, domain: JSON.stringify(known.domain), origin: known.origin },
      ...{ start_wish: known.startWish, seen_at_ms: known.seenAtMs },
      ...{ last_end: known.lastEnd ?? null, gone_at_ms: known.goneAtMs ?? null },
    };
    this.#write.putDomain.run(row);
    this.#domains.set(domainOfRow(row));
  }

  removeDomain(uuid: string): void {
    this.#write.removeDomain.run(uuid);
    const removed = this.domainOf(uuid);
    if (removed !== undefined) this.#domains.delete(removed);
  }

  jobOf(id: string): JobRecord | undefined {
    return this.#jobs.jobOf(id);
  }

  jobs(query: JobQuery): readonly JobRecord[] {
    return this.#jobs.jobs(query);
  }

  unfinishedJobs(): readonly JobRecord[] {
    return this.#jobs.unfinishedJobs();
  }

  jobCounts(): readonly JobCount[] {
    return this.#jobs.jobCounts();
  }

  putJob(record: JobRecord): void {
    this.#jobs.putJob(record);
  }

  removeJob(id: string): void {
    this.#jobs.removeJob(id);
  }

  keyChangeOf(fillId: string): KeyChange | undefined {
    return this.#keyChanges.keyChangeOf(fillId);
  }

  unfinishedKeyChanges(): readonly KeyChange[] {
    return this.#keyChanges.unfinishedKeyChanges();
  }

  putKeyChange(change: KeyChange): void {
    this.#keyChanges.putKeyChange(change);
  }

  removeKeyChange(fillId: string): void {
    this.#keyChanges.removeKeyChange(fillId);
  }

  goldens(): readonly GoldenRecord[] {
    return this.#goldens.goldens();
  }

  putGolden(record: GoldenRecord): void {
    this.#goldens.putGolden(record);
  }

  removeGolden(fillId: string): void {
    this.#goldens.removeGolden(fillId);
  }

  lastBoot(): string | undefined {
    return this.#database.prepare<[], { id: string }>('SELECT id FROM boot').get()?.id;
  }

  putBoot(id: string): void {
    this.#database.transaction(() => {
      this.#database.prepare('DELETE FROM boot').run();
      this.#database.prepare('INSERT INTO boot (id) VALUES (?)').run(id);
    })();
  }

  close(): void {
    this.#database.close();
  }
}

/** Compiled once each: that takes longer than to run them. */
function prepareWrites(database: Database.Database) {
  return {
    putFill: database.prepare<FillRow>(
      `INSERT OR REPLACE INTO fills (domain_uuid, target, fill_id, domain_name, state, request, location,
         attempts, retry_at_ms, problem, sha256, created_at_ms, updated_at_ms, replaces)
       VALUES (@domain_uuid, @target, @fill_id, @domain_name, @state, @request, @location,
         @attempts, @retry_at_ms, @problem, @sha256, @created_at_ms, @updated_at_ms, @replaces)`,
    ),
    removeFill: database.prepare<[string, string]>('DELETE FROM fills WHERE domain_uuid = ? AND target = ?'),
    putDomain: database.prepare<DomainRow>(
      `INSERT OR REPLACE INTO domains (uuid, domain, origin, start_wish, seen_at_ms, last_end, gone_at_ms)
       VALUES (@uuid, @domain, @origin, @start_wish, @seen_at_ms, @last_end, @gone_at_ms)`,
    ),
    removeDomain: database.prepare<[string]>('DELETE FROM domains WHERE uuid = ?'),
  };
}

function fillKey(domainUuid: string, target: string): string {
  return `${domainUuid} ${target}`;
}

function rowOfFill(record: FillRecord): FillRow {
  return {
    domain_uuid: record.domainUuid,
    target: record.request.target,
    fill_id: record.fillId,
    domain_name: record.domainName,
    state: record.state,
    request: JSON.stringify(record.request),
    location: JSON.stringify(record.location),
    attempts: record.attempts,
    retry_at_ms: record.retryAtMs ?? null,
    problem: record.problem === undefined ? null : JSON.stringify(record.problem),
    sha256: record.sha256 ?? null,
    replaces: record.replaces ?? null,
    created_at_ms: record.createdAtMs,
    updated_at_ms: record.updatedAtMs,
  };
}

/** Rows are written by this file alone, behind SQLite's own checks: their JSON is trusted to have our shape. */
function fillOfRow(row: FillRow): FillRecord {
  return {
    fillId: row.fill_id,
    domainUuid: row.domain_uuid,
    domainName: row.domain_name,
    request: JSON.parse(row.request) as VolumeRequest,
    location: JSON.parse(row.location) as VolumeLocation,
    state: row.state as FillState,
    attempts: row.attempts,
    ...(row.retry_at_ms === null ? {} : { retryAtMs: row.retry_at_ms }),
    ...(row.problem === null ? {} : { problem: JSON.parse(row.problem) as Problem }),
    ...(row.sha256 === null ? {} : { sha256: row.sha256 }),
    ...(row.replaces === null ? {} : { replaces: row.replaces }),
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
  };
}

function domainOfRow(row: DomainRow): KnownDomain {
  return {
    domain: JSON.parse(row.domain) as Domain,
    origin: row.origin as KnownDomain['origin'],
    startWish: row.start_wish as StartWish,
    seenAtMs: row.seen_at_ms,
    ...(row.last_end === null ? {} : { lastEnd: row.last_end as LastEnd }),
    ...(row.gone_at_ms === null ? {} : { goneAtMs: row.gone_at_ms }),
  };
}
