/** The ledger's table of audit events: rows are added, and in the end the oldest are removed; none is ever changed. */
import type Database from 'better-sqlite3';
import { ownerOfJob } from '../../core/owner.ts';
import { AuditEvent } from '../../core/protocol/audit-event.ts';
import type { AuditEvents, AuditQuery } from '../../core/protocol/audit-protocol.ts';
import type { AuditStore } from '../../provision/ports/audit.ts';

/** Some 20 MB. */
const COUNT_MAX = 50_000;
const AGE_MAX_MS = 400 * 24 * 3_600_000;

/** Part of the ledger's migrations. */
export const AUDIT_TABLE = `
CREATE TABLE audit (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms  INTEGER NOT NULL,
  who    TEXT NOT NULL,
  volume TEXT,
  domain TEXT,
  event  TEXT NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at_ms);
CREATE TRIGGER audit_append_only BEFORE UPDATE ON audit BEGIN
  SELECT RAISE(ABORT, 'audit events are not changed');
END;
`;

interface Row {
  readonly at_ms: number;
  readonly who: string;
  readonly volume: string | null;
  readonly domain: string | null;
  readonly event: string;
}

interface Wanted {
  readonly since: number | null;
  readonly until: number | null;
  readonly who: string | null;
  readonly volume: string | null;
  readonly domain: string | null;
  /** The same UUID, if it is that of a job. */
  readonly job: string | null;
  readonly limit: number;
}

export class AuditTable implements AuditStore {
  readonly #add: Database.Transaction<(rows: readonly Row[]) => void>;
  readonly #find: Database.Statement<[Wanted], { event: string }>;

  constructor(database: Database.Database, countMax = COUNT_MAX) {
    const insert = database.prepare<Row>(
      'INSERT INTO audit (at_ms, who, volume, domain, event) VALUES (@at_ms, @who, @volume, @domain, @event)',
    );
    const removeBeyond = database.prepare<[number]>(
      'DELETE FROM audit WHERE seq <= (SELECT max(seq) FROM audit) - ?',
    );
    const removeBefore = database.prepare<[number]>('DELETE FROM audit WHERE at_ms < ?');
    this.#add = database.transaction((rows: readonly Row[]) => {
      for (const row of rows) insert.run(row);
      removeBeyond.run(countMax);
      removeBefore.run((rows.at(-1)?.at_ms ?? 0) - AGE_MAX_MS);
    });
    this.#find = database.prepare<[Wanted], { event: string }>(
      `SELECT event FROM audit
       WHERE (@since IS NULL OR at_ms >= @since) AND (@until IS NULL OR at_ms < @until)
         AND (@who IS NULL OR who = @who) AND (@volume IS NULL OR volume = @volume)
         AND (@domain IS NULL OR domain IN (@domain, @job))
       ORDER BY seq DESC LIMIT @limit`,
    );
  }

  append(events: readonly AuditEvent[]): void {
    this.#add(
      events.map((event) => ({
        ...{ at_ms: Date.parse(event.at), who: event.who, event: JSON.stringify(event) },
        ...{ volume: event.volume ?? null, domain: event.domain ?? null },
      })),
    );
  }

  find({ since, until, who, volume, domain, limit }: AuditQuery): AuditEvents {
    const rows = this.#find.all({
      ...{ since: millisOf(since), until: millisOf(until), limit: limit + 1 },
      ...{ who: who ?? null, volume: volume ?? null, domain: domain ?? null },
      job: domain === undefined ? null : ownerOfJob(domain),
    });
    const events = rows.slice(0, limit).map(({ event }) => AuditEvent.parse(JSON.parse(event)));
    return { events: events.reverse(), more: rows.length > limit };
  }
}

function millisOf(time: string | undefined): number | null {
  return time === undefined ? null : Date.parse(time);
}
