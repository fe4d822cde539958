/** Goal: what is recorded is found again, in the journal and in the ledger, and nothing that is wrong with either reaches who records. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RecordedAudit } from '../../src/adapters/audit-trail.ts';
import { JournalStream } from '../../src/adapters/audit/journal-stream.ts';
import { openLedger } from '../../src/adapters/ledger.ts';
import { AUDIT_TABLE, AuditTable } from '../../src/adapters/ledger/audit-table.ts';
import type { AuditEvent } from '../../src/core/protocol/audit-event.ts';
import { AuditQuery } from '../../src/core/protocol/audit-protocol.ts';
import type { AuditStore } from '../../src/provision/ports/audit.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import { silent } from '../cli/fake-verbs.ts';

const NOW_MS = Date.parse('2026-11-30T08:00:00.000Z');
const DAY_MS = 86_400_000;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'audit-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const event: Omit<AuditEvent, 'at'> = {
  ...{ who: 'uid:0', what: 'retry', correlationId: 'a1' },
  ...{ decision: 'allowed', outcome: 'done' },
};
const all = AuditQuery.parse({});
const noJournal = { write: () => undefined, close: () => Promise.resolve() };

function trailTo(
  store: AuditStore | undefined,
  options: Partial<ConstructorParameters<typeof RecordedAudit>[0]> = {},
) {
  const lines: string[] = [];
  const journal = { ...noJournal, write: (line: string) => void lines.push(line) };
  const trail = new RecordedAudit({
    journal,
    store,
    clock: { nowMs: () => NOW_MS },
    log: silent,
    ...options,
  });
  return { trail, lines };
}

describe('the audit trail', () => {
  it('goes to the journal at once, and is in the ledger after a restart', async () => {
    const file = join(folder, 'ledger.db');
    const first = openLedger(file).ledger;
    const { trail, lines } = trailTo(first.audit);
    trail.record(event);
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { at: '2026-11-30T08:00:00.000Z', ...event },
    ]);
    await trail.close();
    first.close();
    const { ledger } = openLedger(file);
    expect(ledger.audit.find(all)).toEqual({
      events: [{ at: '2026-11-30T08:00:00.000Z', ...event }],
      more: false,
    });
    ledger.close();
  });

  it('finds what was recorded a moment ago', () => {
    const { ledger } = openLedger(join(folder, 'ledger.db'));
    const { trail } = trailTo(ledger.audit);
    trail.record(event);
    expect(trail.find(all).events).toHaveLength(1);
    ledger.close();
  });

  it('stops nobody when the ledger is broken, says so once, and writes what it kept later', () => {
    const { ledger } = openLedger(join(folder, 'ledger.db'));
    let isBroken = true;
    const errors: string[] = [];
    const log: Log = { ...silent, error: (_fields, message) => void errors.push(message) };
    const store: AuditStore = {
      append: (events) => {
        if (isBroken) throw new Error('disk I/O error');
        ledger.audit.append(events);
      },
      find: (query) => ledger.audit.find(query),
    };
    const { trail, lines } = trailTo(store, { log });
    trail.record(event);
    expect(trail.find(all).events).toEqual([]);
    trail.record(event);
    expect(trail.find(all).events).toEqual([]);
    expect([lines.length, errors]).toEqual([2, ['the audit trail cannot be written to the ledger']]);
    isBroken = false;
    expect(trail.find(all).events).toHaveLength(2);
    ledger.close();
  });

  it('throws nothing even when the journal does', () => {
    const journal = {
      ...noJournal,
      write: () => {
        throw new Error('gone');
      },
    };
    const { trail } = trailTo(undefined, { journal });
    expect(() => {
      trail.record(event);
    }).not.toThrow();
  });

  it('never holds a secret, wherever it came from, and no text without end', () => {
    const { ledger } = openLedger(join(folder, 'ledger.db'));
    const { trail, lines } = trailTo(ledger.audit, { secrets: ['s3cr3t', ''] });
    const message = `no access with s3cr3t: ${'x'.repeat(10_000)}`;
    trail.record({
      ...event,
      who: 'token:s3cr3t',
      what: 'y'.repeat(5000),
      problem: { code: 'USAGE', message },
    });
    const [found] = trail.find(all).events;
    expect(found).toMatchObject({ who: 'token:[redacted]' });
    expect([found?.what.length, found?.problem?.message.length]).toEqual([1024, 4096]);
    expect(JSON.stringify([found, lines])).not.toContain('s3cr3t');
    ledger.close();
  });
});

describe('the table', () => {
  function table(countMax?: number) {
    const database = new Database(':memory:');
    database.exec(AUDIT_TABLE);
    return { database, table: new AuditTable(database, countMax) };
  }
  const at = (ms: number, more: object = {}) => ({ ...event, at: new Date(ms).toISOString(), ...more });

  it('is asked by time, caller, volume and domain, and gives the newest of what is too much', () => {
    const { table: audit } = table();
    audit.append([
      at(NOW_MS, { what: 'one', volume: 'vg0/a' }),
      at(NOW_MS + 1, { what: 'two', who: 'daemon', domain: 'd' }),
      at(NOW_MS + 2, { what: 'three', volume: 'vg0/a', domain: 'd' }),
    ]);
    const find = (query: object) => {
      const { events, more } = audit.find(AuditQuery.parse(query));
      return [...events.map(({ what }) => what), ...(more ? ['…'] : [])];
    };
    expect(find({})).toEqual(['one', 'two', 'three']);
    expect(find({ since: new Date(NOW_MS + 1).toISOString() })).toEqual(['two', 'three']);
    expect(find({ until: new Date(NOW_MS + 2).toISOString() })).toEqual(['one', 'two']);
    expect(find({ who: 'daemon' })).toEqual(['two']);
    expect(find({ volume: 'vg0/a' })).toEqual(['one', 'three']);
    expect(find({ volume: 'vg0/a', domain: 'd' })).toEqual(['three']);
    expect(find({ limit: 2 })).toEqual(['two', 'three', '…']);
    audit.append([at(NOW_MS + 3, { what: 'of a job', domain: 'job:d' })]);
    expect(find({ domain: 'd' })).toEqual(['two', 'three', 'of a job']);
  });

  it('keeps so many, and none for ever', () => {
    const { table: audit } = table(3);
    audit.append([1, 2, 3, 4].map((number) => at(NOW_MS + number, { what: String(number) })));
    expect(audit.find(all).events.map(({ what }) => what)).toEqual(['2', '3', '4']);
    audit.append([at(NOW_MS + 500 * DAY_MS, { what: 'late' })]);
    expect(audit.find(all).events.map(({ what }) => what)).toEqual(['late']);
  });

  it('lets no event be changed', () => {
    const { table: audit, database } = table();
    audit.append([at(NOW_MS)]);
    expect(() => database.exec("UPDATE audit SET who = 'nobody'")).toThrow('audit events are not changed');
  });
});

describe('the way to the journal', () => {
  let server: Server;
  let path: string;
  let sockets: Socket[];
  let text: string;

  beforeEach(async () => {
    path = join(folder, 'journal.sock');
    await listen();
    return async () => {
      await shut();
    };
  });

  async function listen(): Promise<void> {
    sockets = [];
    text = '';
    server = createServer((socket) => {
      sockets.push(socket);
      socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    });
    server.listen(path);
    await once(server, 'listening');
  }

  async function shut(): Promise<void> {
    for (const socket of sockets) socket.destroy();
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    await closed;
  }

  it('says who it is as systemd-cat does, then one line for each event', async () => {
    const journal = new JournalStream({ identifier: 'me-audit', log: silent, path });
    journal.write('{"a":1}');
    journal.write('{"b":2}');
    await journal.close();
    // What `systemd-cat -t me-audit -p notice --level-prefix=false` sends.
    expect(text).toBe('me-audit\n\n5\n0\n0\n0\n0\n{"a":1}\n{"b":2}\n');
  });

  it('says once that nobody takes it, and does without', async () => {
    await shut();
    const warned = Promise.withResolvers<string>();
    const warnings: string[] = [];
    const log: Log = {
      ...silent,
      warn: (_fields, message) => {
        warnings.push(message);
        warned.resolve(message);
      },
    };
    const journal = new JournalStream({ identifier: 'me-audit', log, path });
    journal.write('lost');
    expect(await warned.promise).toBe('the audit trail does not reach the journal');
    journal.write('lost as well');
    await journal.close();
    expect(warnings).toHaveLength(1);
  });

  it('keeps no more than a mebibyte for a journal that takes nothing', async () => {
    server.on('connection', (socket) => socket.pause());
    const journal = new JournalStream({ identifier: 'me-audit', log: silent, path });
    const line = 'x'.repeat(1023);
    for (let count = 0; count < 4096; count++) journal.write(line);
    server.on('connection', (socket) => socket.resume());
    for (const socket of sockets) socket.resume();
    const ended = journal.close();
    await ended;
    expect(text.length).toBeLessThanOrEqual(1024 * 1024 + 100);
    expect(text).toContain(line);
  });
});
