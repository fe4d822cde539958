import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLedger } from '../../src/adapters/ledger.ts';
import type { FillRecord, KnownDomain } from '../../src/provision/ports.ts';

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  file = join(folder, 'ledger.db');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const record: FillRecord = {
  fillId: '0123456789abcdef',
  domainUuid: 'uuid',
  domainName: 'vm1',
  request: { target: 'vda', image: { bucket: 'images', key: 'a b/ü.qcow2' }, format: 'qcow2', generation: 1 },
  location: { pool: 'guests', vg: 'vg0', lv: 'vm1' },
  state: 'failed',
  attempts: 2,
  retryAtMs: 5,
  problem: { code: 'STORE_UNREACHABLE', message: 'away', hint: 'wait' },
  createdAtMs: 1,
  updatedAtMs: 2,
};
const known: KnownDomain = {
  domain: { uuid: 'uuid', name: 'vm1', disks: [] },
  origin: 'gate',
  startWish: 'if-autostart',
  seenAtMs: 3,
};

describe('the ledger', () => {
  it('keeps what was written over a restart', () => {
    const first = openLedger(file).ledger;
    first.putFill(record);
    first.putDomain(known);
    first.close();
    const { ledger, setAside } = openLedger(file);
    expect(setAside).toBeUndefined();
    expect(ledger.fills()).toEqual([record]);
    expect(ledger.fillOf('uuid', 'vda')).toEqual(record);
    expect(ledger.domains()).toEqual([known]);
    ledger.close();
  });

  it('has one row for one disk of one domain', () => {
    const { ledger } = openLedger(file);
    ledger.putFill(record);
    ledger.putFill({ ...record, fillId: 'fedcba9876543210', state: 'ready' });
    expect(ledger.fills().map(({ fillId }) => fillId)).toEqual(['fedcba9876543210']);
    ledger.removeFill('uuid', 'vda');
    ledger.putDomain(known);
    ledger.removeDomain('uuid');
    expect([ledger.fills(), ledger.domains()]).toEqual([[], []]);
    ledger.close();
  });

  it('is set aside and begun anew when damaged', () => {
    writeFileSync(file, 'this is no database, however long it may be: '.repeat(100));
    const { ledger, setAside } = openLedger(file);
    expect(setAside).toMatch(/ledger\.db\.damaged-\d{4}-\d\d-\d\dT[\d-]+Z$/);
    ledger.putFill(record);
    ledger.close();
    expect(readdirSync(folder).some((name) => name.startsWith('ledger.db.damaged-'))).toBe(true);
  });

  it('of the release before is brought up to date', () => {
    const { ledger: first } = openLedger(file);
    first.putDomain(known);
    first.close();
    const database = new Database(file);
    database.exec('ALTER TABLE domains DROP COLUMN last_end; ALTER TABLE domains DROP COLUMN gone_at_ms');
    database.pragma('user_version = 1');
    database.close();
    const { ledger } = openLedger(file);
    expect(ledger.domains()).toEqual([known]);
    ledger.putDomain({ ...known, lastEnd: 'migrated', goneAtMs: 7 });
    expect(ledger.domainOf('uuid')).toEqual({ ...known, lastEnd: 'migrated', goneAtMs: 7 });
    ledger.close();
  });

  it('written by a newer release is refused, not thrown away', () => {
    openLedger(file).ledger.close();
    const database = new Database(file);
    database.pragma('user_version = 99');
    database.close();
    expect(() => openLedger(file)).toThrow(/newer release/);
    expect(readdirSync(folder).filter((name) => name.includes('damaged'))).toEqual([]);
  });

  it('in a folder that is missing says so', () => {
    expect(() => openLedger(join(folder, 'missing', 'ledger.db'))).toThrow(/cannot be opened/);
  });
});
