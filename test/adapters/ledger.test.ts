import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLedger } from '../../src/adapters/ledger.ts';
import type { FillRecord, KnownDomain, Ledger } from '../../src/provision/ports.ts';

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

  it('answers after any writes what the file says, and keeps what it gave out', () => {
    const ids = fc.constantFrom('0'.repeat(16), '1'.repeat(16), '2'.repeat(16));
    const uuids = fc.constantFrom('a', 'b');
    const targets = fc.constantFrom('vda', 'vdb');
    const writes = fc.array(
      fc.oneof(
        fc.record({ put: ids, uuid: uuids, target: targets, createdAtMs: fc.nat({ max: 9 }) }),
        fc.record({ remove: uuids, target: targets }),
        fc.record({ domain: uuids, seenAtMs: fc.nat({ max: 9 }) }),
        fc.record({ removeDomain: uuids }),
      ),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(writes, (all) => {
        const { ledger } = openLedger(file);
        for (const write of all) {
          const before = ledger.fills();
          const copy = [...before];
          if ('put' in write) {
            const { put: fillId, uuid: domainUuid, target, createdAtMs } = write;
            ledger.putFill({
              ...{ ...record, fillId, domainUuid, createdAtMs, sha256: undefined },
              request: { ...record.request, target },
            });
          } else if ('remove' in write) ledger.removeFill(write.remove, write.target);
          else if ('domain' in write) {
            const { domain: uuid, seenAtMs } = write;
            ledger.putDomain({ ...known, domain: { ...known.domain, uuid }, seenAtMs });
          } else ledger.removeDomain(write.removeDomain);
          expect(before).toEqual(copy);
        }
        const answers = (of: Pick<Ledger, 'fills' | 'domains' | 'fillOf' | 'domainOf'>) => [
          // Rows of one moment have no order.
          new Set(of.fills().map((fill) => JSON.stringify(fill))),
          of.fills().map(({ createdAtMs }) => createdAtMs),
          new Set(of.domains().map((domain) => JSON.stringify(domain))),
          of.fillOf('a', 'vda'),
          of.domainOf('b'),
        ];
        const remembered = answers(ledger);
        ledger.close();
        const again = openLedger(file).ledger;
        expect(remembered).toEqual(answers(again));
        again.close();
        rmSync(file);
      }),
      { numRuns: 100 },
    );
  });

  it('is set aside and begun anew when damaged', () => {
    writeFileSync(file, 'this is no database, however long it may be: '.repeat(100));
    const { ledger, setAside } = openLedger(file);
    expect(setAside).toMatch(/ledger\.db\.damaged-\d{4}-\d\d-\d\dT[\d-]+Z$/);
    ledger.putFill(record);
    ledger.close();
    expect(readdirSync(folder).some((name) => name.startsWith('ledger.db.damaged-'))).toBe(true);
  });

  it('that knew nothing of how guests end goes on with what it holds', () => {
    const { ledger: first } = openLedger(file);
    first.putDomain(known);
    first.close();
    const database = new Database(file);
    database.exec(`DROP TABLE audit;
       ALTER TABLE domains DROP COLUMN last_end; ALTER TABLE domains DROP COLUMN gone_at_ms`);
    database.pragma('user_version = 3');
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

  it('that knew nothing of replaced volumes goes on with what it holds', () => {
    const { ledger } = openLedger(file);
    ledger.putFill(record);
    ledger.putDomain(known);
    ledger.close();
    const database = new Database(file);
    database.exec(`ALTER TABLE fills DROP COLUMN replaces; DROP TABLE boot; DROP TABLE audit;
       ALTER TABLE domains DROP COLUMN last_end; ALTER TABLE domains DROP COLUMN gone_at_ms`);
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
