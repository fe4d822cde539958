/** The table of golden volumes: what is remembered of them beside their tags. There are few, so all are in memory too. */
import type Database from 'better-sqlite3';
import type { GoldenEnd, GoldenRecord, GoldenRows } from '../../provision/ports/ledger.ts';

export const GOLDENS_TABLE = `
CREATE TABLE goldens (
  fill_id    TEXT PRIMARY KEY,
  sha256     TEXT NOT NULL,
  used_at_ms INTEGER NOT NULL,
  leaving    TEXT,
  proven_by  TEXT NOT NULL
) STRICT;
`;

interface GoldenRow {
  fill_id: string;
  sha256: string;
  used_at_ms: number;
  leaving: string | null;
  proven_by: string;
}

export class GoldenTable implements GoldenRows {
  readonly #put: Database.Statement<[GoldenRow]>;
  readonly #remove: Database.Statement<[string]>;
  readonly #rows: Map<string, GoldenRecord>;

  constructor(database: Database.Database) {
    const rows = database.prepare<[], GoldenRow>('SELECT * FROM goldens').all().map(recordOfRow);
    this.#rows = new Map(rows.map((record) => [record.fillId, record]));
    this.#put = database.prepare(
      `INSERT OR REPLACE INTO goldens (fill_id, sha256, used_at_ms, leaving, proven_by)
       VALUES (@fill_id, @sha256, @used_at_ms, @leaving, @proven_by)`,
    );
    this.#remove = database.prepare('DELETE FROM goldens WHERE fill_id = ?');
  }

  goldens(): readonly GoldenRecord[] {
    return [...this.#rows.values()];
  }

  putGolden(record: GoldenRecord): void {
    const { fillId, sha256, usedAtMs, leaving, provenBy } = record;
    this.#put.run({
      ...{ fill_id: fillId, sha256, used_at_ms: usedAtMs },
      ...{ leaving: leaving ?? null, proven_by: JSON.stringify(provenBy) },
    });
    this.#rows.set(fillId, record);
  }

  removeGolden(fillId: string): void {
    this.#remove.run(fillId);
    this.#rows.delete(fillId);
  }
}

function recordOfRow(row: GoldenRow): GoldenRecord {
  return {
    ...{ fillId: row.fill_id, sha256: row.sha256, usedAtMs: row.used_at_ms },
    leaving: (row.leaving ?? undefined) as GoldenEnd | undefined,
    provenBy: JSON.parse(row.proven_by) as readonly string[],
  };
}
