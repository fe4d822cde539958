/** The table of jobs. Of those that have ended there may be thousands: they stay on disk, behind indexes. */
import type Database from 'better-sqlite3';
import type { JobRequest } from '../../core/protocol/job-protocol.ts';
import type { PooledLocation } from '../../core/request.ts';
import type { JobCount, JobEnd, JobQuery, JobRecord, JobRows } from '../../provision/ports/ledger.ts';
import { ENDED_JOBS_MAX } from '../../provision/ports/ledger.ts';

/** `state` is that of the end; NULL while there is none. */
export const JOBS_TABLE = `
CREATE TABLE jobs (
  id            TEXT PRIMARY KEY,
  state         TEXT,
  lv            TEXT NOT NULL,
  request       TEXT NOT NULL,
  location      TEXT NOT NULL,
  asked_by      TEXT NOT NULL,
  job_end       TEXT,
  created_at_ms INTEGER NOT NULL,
  updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_by_age ON jobs (created_at_ms, id);
CREATE INDEX jobs_by_state ON jobs (state, created_at_ms, id);
CREATE INDEX jobs_ended ON jobs (created_at_ms, id) WHERE state IS NOT NULL;
CREATE INDEX jobs_by_lv ON jobs (lv, created_at_ms, id);
`;

interface JobRow {
  id: string;
  state: string | null;
  lv: string;
  request: string;
  location: string;
  asked_by: string;
  job_end: string | null;
  created_at_ms: number;
  updated_at_ms: number;
}

/** What each part of a query selects. */
const CONDITIONS = {
  unfinished: 'state IS NULL',
  state: 'state = @state',
  lv: 'lv = @lv',
  before: '(created_at_ms, id) < (@beforeMs, @beforeId)',
} as const;

export class JobTable implements JobRows {
  readonly #database: Database.Database;
  readonly #one: Database.Statement<[string], JobRow>;
  readonly #put: Database.Statement<[JobRow]>;
  readonly #remove: Database.Statement<[string]>;
  readonly #trim: Database.Statement<[number]>;
  readonly #counts: Database.Statement<[], JobCount>;
  /** How many have ended, or fewer: one may have been counted twice. */
  #endedAtMost: number;
  /** By their conditions. */
  readonly #queries = new Map<string, Database.Statement<[object], JobRow>>();

  constructor(database: Database.Database) {
    this.#database = database;
    this.#one = database.prepare('SELECT * FROM jobs WHERE id = ?');
    this.#put = database.prepare(
      `INSERT OR REPLACE INTO jobs
         (id, state, lv, request, location, asked_by, job_end, created_at_ms, updated_at_ms)
       VALUES (@id, @state, @lv, @request, @location, @asked_by, @job_end, @created_at_ms, @updated_at_ms)`,
    );
    const ended = database
      .prepare<[], number>('SELECT count(*) FROM jobs WHERE state IS NOT NULL')
      .pluck()
      .get();
    this.#endedAtMost = ended ?? 0;
    this.#remove = database.prepare('DELETE FROM jobs WHERE id = ?');
    // The first half by the index alone.
    this.#counts = database.prepare(
      `SELECT coalesce(state, 'none') AS "end", '' AS reason, count(*) AS count FROM jobs
         WHERE state IS NULL OR state <> 'failed' GROUP BY state
       UNION ALL
       SELECT state, coalesce(json_extract(job_end, '$.problem.code'), ''), count(*) FROM jobs
         WHERE state = 'failed' GROUP BY 2`,
    );
    this.#trim = database.prepare(
      `DELETE FROM jobs WHERE id IN (
         SELECT id FROM jobs WHERE state IS NOT NULL ORDER BY created_at_ms DESC, id DESC LIMIT -1 OFFSET ?)`,
    );
  }

  jobOf(id: string): JobRecord | undefined {
    const row = this.#one.get(id);
    return row === undefined ? undefined : jobOfRow(row);
  }

  jobs({ end, lv, before, limit }: JobQuery): readonly JobRecord[] {
    const conditions = [
      ...(end === undefined ? [] : [end === 'none' ? CONDITIONS.unfinished : CONDITIONS.state]),
      ...(lv === undefined ? [] : [CONDITIONS.lv]),
      ...(before === undefined ? [] : [CONDITIONS.before]),
    ];
    const values = {
      ...{ state: end ?? null, lv: lv ?? null, limit },
      ...{ beforeMs: before?.createdAtMs ?? null, beforeId: before?.id ?? null },
    };
    return this.#query(conditions, 'DESC').all(values).map(jobOfRow);
  }

  unfinishedJobs(): readonly JobRecord[] {
    return this.#query([CONDITIONS.unfinished], 'ASC').all({ limit: -1 }).map(jobOfRow);
  }

  jobCounts(): readonly JobCount[] {
    return this.#counts.all();
  }

  putJob(record: JobRecord): void {
    const row = rowOfJob(record);
    this.#database.transaction(() => {
      this.#put.run(row);
      if (row.state === null || ++this.#endedAtMost <= ENDED_JOBS_MAX) return;
      this.#trim.run(ENDED_JOBS_MAX);
      this.#endedAtMost = ENDED_JOBS_MAX;
    })();
  }

  removeJob(id: string): void {
    this.#remove.run(id);
  }

  #query(conditions: readonly string[], order: 'ASC' | 'DESC'): Database.Statement<[object], JobRow> {
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    const text = `SELECT * FROM jobs ${where} ORDER BY created_at_ms ${order}, id ${order} LIMIT @limit`;
    const known = this.#queries.get(text) ?? this.#database.prepare<[object], JobRow>(text);
    this.#queries.set(text, known);
    return known;
  }
}

function rowOfJob({ id, request, location, by, createdAtMs, updatedAtMs, end }: JobRecord): JobRow {
  return {
    ...{ id, state: end?.state ?? null, lv: location.lv, asked_by: by },
    ...{ request: JSON.stringify(request), location: JSON.stringify(location) },
    job_end: end === undefined ? null : JSON.stringify(end),
    ...{ created_at_ms: createdAtMs, updated_at_ms: updatedAtMs },
  };
}

/** Rows are written by this file alone, behind SQLite's own checks: their JSON is trusted to have our shape. */
function jobOfRow(row: JobRow): JobRecord {
  return {
    ...{ id: row.id, by: row.asked_by, createdAtMs: row.created_at_ms, updatedAtMs: row.updated_at_ms },
    request: JSON.parse(row.request) as JobRequest,
    location: JSON.parse(row.location) as PooledLocation,
    ...(row.job_end === null ? {} : { end: JSON.parse(row.job_end) as JobEnd }),
  };
}
