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
    expect(setAside).toMatch(/ledger\.db\.damaged-\d+$/);
    ledger.putFill(record);
    ledger.close();
    expect(readdirSync(folder).some((name) => name.startsWith('ledger.db.damaged-'))).toBe(true);
  });

  it('written by a newer release is refused, not thrown away', () => {
    openLedger(file).ledger.close();
    const database = new Database(file);
    database.pragma('user_version = 99');
    database.close();
    expect(() => openLedger(file)).toThrow(/newer release/);
    expect(readdirSync(folder).filter((name) => name.includes('damaged'))).toEqual([]);
  });

  it('of the release before, which knew nothing of replaced volumes, goes on with what it holds', () => {
    const { ledger } = openLedger(file);
    ledger.putFill(record);
    ledger.putDomain(known);
    ledger.close();
    const database = new Database(file);
    database.exec('ALTER TABLE fills DROP COLUMN replaces');
    database.pragma('user_version = 1');
    database.close();
    const reopened = openLedger(file);
    expect(reopened.setAside).toBeUndefined();
    expect([reopened.ledger.fills(), reopened.ledger.domains()]).toEqual([[record], [known]]);
    const replacing = { ...record, replaces: 'f'.repeat(16) };
    reopened.ledger.putFill(replacing);
    reopened.ledger.close();
    const again = openLedger(file).ledger;
    expect(again.fillOf('uuid', 'vda')).toEqual(replacing);
    again.close();
  });

  it('in a folder that is missing says so', () => {
    expect(() => openLedger(join(folder, 'missing', 'ledger.db'))).toThrow(/cannot be opened/);
  });
});
