/**
 * The ledger: one SQLite file with the intent behind every fill, so that a killed daemon knows what it was
 * doing. It can be lost: what volumes hold is proven by their tags, never by this file.
 *
 * `synchronous = FULL` makes a commit durable before the call returns: intent is on disk before its effect.
 */
import { renameSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { FillState } from '../core/plan.ts';
import type { Problem } from '../core/errors.ts';
import { ProvisionError } from '../core/errors.ts';
import type { Domain, VolumeLocation, VolumeRequest } from '../core/request.ts';
import type { FillRecord, KnownDomain, Ledger, StartWish } from '../provision/ports.ts';

const SCHEMA_VERSION = 1;

const SCHEMA = `
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
`;

/** As the index has them: SQLite uses it for exactly these words. */
const VG_OF_LOCATION = "json_extract(location, '$.vg')";
const LV_OF_LOCATION = "json_extract(location, '$.lv')";
/** Made anew at every start if need be: a row is found by its volume without reading all others. */
const INDEX = `CREATE INDEX IF NOT EXISTS fills_at ON fills (${VG_OF_LOCATION}, ${LV_OF_LOCATION})`;

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
}

interface DomainRow {
  uuid: string;
  domain: string;
  origin: string;
  start_wish: string;
  seen_at_ms: number;
}

/** An opened ledger, and where a damaged predecessor was put if there was one. */
export interface OpenedLedger {
  readonly ledger: Ledger & { close(): void };
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
  const setAside = `${file}.damaged-${Date.now()}`;
  renameSync(file, setAside);
  return { ledger: new SqliteLedger(openDatabase(file)), setAside };
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
    if (version === 0) {
      database.transaction(() => {
        database.exec(SCHEMA);
        database.pragma(`user_version = ${SCHEMA_VERSION}`);
      })();
    }
    database.exec(INDEX);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

class SqliteLedger implements Ledger {
  readonly #database: Database.Database;

  /** Compiled once each: that takes longer than to run them. */
  readonly #statements = new Map<string, unknown>();

  constructor(database: Database.Database) {
    this.#database = database;
  }

  fills(): FillRecord[] {
    const rows = this.#sql<[], FillRow>('SELECT * FROM fills ORDER BY created_at_ms').all();
    return rows.map(fillOfRow);
  }

  fillsOf(domainUuid: string): FillRecord[] {
    return this.#sql<[string], FillRow>('SELECT * FROM fills WHERE domain_uuid = ? ORDER BY created_at_ms')
      .all(domainUuid)
      .map(fillOfRow);
  }

  fillsAt({ vg, lv }: Pick<VolumeLocation, 'vg' | 'lv'>): FillRecord[] {
    return this.#sql<[string, string], FillRow>(
      `SELECT * FROM fills WHERE ${VG_OF_LOCATION} = ? AND ${LV_OF_LOCATION} = ? ORDER BY created_at_ms`,
    )
      .all(vg, lv)
      .map(fillOfRow);
  }

  fillOf(domainUuid: string, target: string): FillRecord | undefined {
    const row = this.#sql<[string, string], FillRow>(
      'SELECT * FROM fills WHERE domain_uuid = ? AND target = ?',
    ).get(domainUuid, target);
    return row === undefined ? undefined : fillOfRow(row);
  }

  putFill(record: FillRecord): void {
    this.#sql(
      `INSERT OR REPLACE INTO fills (domain_uuid, target, fill_id, domain_name, state, request, location,
           attempts, retry_at_ms, problem, sha256, created_at_ms, updated_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      record.domainUuid,
      record.request.target,
      record.fillId,
      record.domainName,
      record.state,
      JSON.stringify(record.request),
      JSON.stringify(record.location),
      record.attempts,
      record.retryAtMs ?? null,
      record.problem === undefined ? null : JSON.stringify(record.problem),
      record.sha256 ?? null,
      record.createdAtMs,
      record.updatedAtMs,
    );
  }

  removeFill(domainUuid: string, target: string): void {
    this.#sql('DELETE FROM fills WHERE domain_uuid = ? AND target = ?').run(domainUuid, target);
  }

  domains(): KnownDomain[] {
    return this.#sql<[], DomainRow>('SELECT * FROM domains ORDER BY seen_at_ms').all().map(domainOfRow);
  }

  domainOf(uuid: string): KnownDomain | undefined {
    const row = this.#sql<[string], DomainRow>('SELECT * FROM domains WHERE uuid = ?').get(uuid);
    return row === undefined ? undefined : domainOfRow(row);
  }

  putDomain(known: KnownDomain): void {
    this.#sql(
      'INSERT OR REPLACE INTO domains (uuid, domain, origin, start_wish, seen_at_ms) VALUES (?, ?, ?, ?, ?)',
    ).run(known.domain.uuid, JSON.stringify(known.domain), known.origin, known.startWish, known.seenAtMs);
  }

  removeDomain(uuid: string): void {
    this.#sql('DELETE FROM domains WHERE uuid = ?').run(uuid);
  }

  close(): void {
    this.#database.close();
  }

  #sql<Given extends unknown[], Row = unknown>(text: string): Database.Statement<Given, Row> {
    const statement = this.#statements.get(text) ?? this.#database.prepare<Given, Row>(text);
    this.#statements.set(text, statement);
    return statement as Database.Statement<Given, Row>;
  }
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
  };
}
