/** The table of what is done to the keys of published volumes. Of what is done only so much is remembered. */
import type Database from 'better-sqlite3';
import type { KeyChange } from '../../core/key/key-change.ts';
import type { KeyChangeRows } from '../../provision/ports/ledger.ts';
import { Remembered } from './remembered.ts';

const DONE_MAX = 10_000;

/** Part of the ledger's migrations. */
export const KEY_CHANGES_TABLE = `
CREATE TABLE key_changes (
  fill_id TEXT PRIMARY KEY,
  step    TEXT NOT NULL,
  at_ms   INTEGER NOT NULL,
  change  TEXT NOT NULL
) STRICT;
CREATE INDEX key_changes_by_age ON key_changes (step, at_ms);
`;

interface Row {
  readonly fill_id: string;
  readonly step: string;
  readonly at_ms: number;
  readonly change: string;
}

/** Every plan of an encrypted disk asks, so that it is answered from memory. */
export class KeyChangeTable implements KeyChangeRows {
  readonly #put: Database.Statement<[Row]>;
  readonly #remove: Database.Statement<[string]>;
  readonly #rows: Remembered<KeyChange, 'step'>;

  constructor(database: Database.Database) {
    this.#put = database.prepare(
      'INSERT OR REPLACE INTO key_changes (fill_id, step, at_ms, change) VALUES (@fill_id, @step, @at_ms, @change)',
    );
    this.#remove = database.prepare('DELETE FROM key_changes WHERE fill_id = ?');
    const rows = database.prepare<[], Row>('SELECT * FROM key_changes').all();
    this.#rows = new Remembered(rows.map(changeOfRow), {
      keyOf: ({ fillId }) => fillId,
      orderOf: ({ atMs }) => atMs,
      otherKeys: { step: ({ step }) => (step === 'done' ? 'done' : 'unfinished') },
    });
  }

  keyChangeOf(fillId: string): KeyChange | undefined {
    return this.#rows.get(fillId);
  }

  unfinishedKeyChanges(): readonly KeyChange[] {
    return this.#rows.by('step', 'unfinished');
  }

  putKeyChange(change: KeyChange): void {
    const row = {
      ...{ fill_id: change.fillId, step: change.step, at_ms: change.atMs, change: JSON.stringify(change) },
    };
    this.#put.run(row);
    this.#rows.set(changeOfRow(row));
    if (change.step !== 'done') return;
    for (const { fillId } of this.#rows.by('step', 'done').slice(0, -DONE_MAX)) this.removeKeyChange(fillId);
  }

  removeKeyChange(fillId: string): void {
    this.#remove.run(fillId);
    const removed = this.#rows.get(fillId);
    if (removed !== undefined) this.#rows.delete(removed);
  }
}

/** Rows are written by this file alone, behind SQLite's own checks: their JSON is trusted to have our shape. */
function changeOfRow({ change }: Row): KeyChange {
  return JSON.parse(change) as KeyChange;
}
