/** Copies of the ledger: for a backup, which a running daemon does not notice; and to be restored on any host. */
import Database from 'better-sqlite3';

/** As it is at one moment, whoever writes to it meanwhile. */
export async function copyLedger(from: string, to: string): Promise<void> {
  const database = new Database(from, { readonly: true, fileMustExist: true });
  try {
    await database.backup(to);
  } finally {
    database.close();
  }
}

/** Its rows by table, at most `rowsMax` of each, for people to read. */
export function dumpLedger(file: string, rowsMax: number): Readonly<Record<string, readonly unknown[]>> {
  const database = new Database(file, { readonly: true, fileMustExist: true });
  try {
    const rowsOf = (table: string) => database.prepare(`SELECT * FROM "${table}" LIMIT ?`).all(rowsMax);
    return Object.fromEntries(tablesOf(database).map((table) => [table, rowsOf(table)]));
  } finally {
    database.close();
  }
}

/** What becomes of each table; one that is not named here is emptied. */
const SCRUBS: Readonly<Record<string, string>> = {
  // What was under way then is decided anew, by the tags of this host and by what its domains ask for. Kept is what
  // stops something: a volume that is gone is not made again unasked, and what was cancelled stays so. What stands
  // aside on this host is not removed for what was once to take its place.
  fills: `
    DELETE FROM fills WHERE state NOT IN ('ready', 'cancelled');
    UPDATE fills SET replaces = NULL, retry_at_ms = NULL;`,
  // How guests ended and what was to be started are old news, and so is a first start of that day.
  domains: `
    DELETE FROM domains WHERE origin <> 'libvirt';
    UPDATE domains SET start_wish = 'no', last_end = NULL, gone_at_ms = NULL;`,
  // A volume that a job has made can be claimed by its tags; what was not made yet was asked for on that day.
  jobs: 'DELETE FROM jobs WHERE state IS NULL;',
  // Nothing is done because of it.
  audit: '',
  // A ledger that knows no boot says nothing of autostarts that were missed.
  boot: 'DELETE FROM boot;',
};

/** Takes out of a copy all because of which something would be filled, started or deleted. Throws if it is damaged. */
export function scrubLedger(file: string): void {
  const database = new Database(file, { fileMustExist: true });
  try {
    const check = database.pragma('integrity_check(1)', { simple: true });
    if (check !== 'ok') throw new Error(`the ledger in it is damaged: ${String(check)}`);
    database.transaction(() => {
      for (const table of tablesOf(database)) database.exec(SCRUBS[table] ?? `DELETE FROM "${table}";`);
    })();
    // One file, without a log beside it.
    database.pragma('journal_mode = DELETE');
    database.exec('VACUUM');
  } finally {
    database.close();
  }
}

function tablesOf(database: Database.Database): readonly string[] {
  const names = database
    .prepare<[], { name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    .all();
  return names
    .map(({ name }) => name)
    .filter((name) => /^[a-z]\w*$/.test(name) && !name.startsWith('sqlite_'));
}
