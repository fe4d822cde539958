import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLedger } from '../../src/adapters/ledger.ts';
import type { KeyChange } from '../../src/core/key/key-change.ts';
import type { FillRecord, JobRecord, KnownDomain, Ledger } from '../../src/provision/ports/ledger.ts';
import { ENDED_JOBS_MAX } from '../../src/provision/ports/ledger.ts';

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
    database.exec(`DROP TABLE goldens; DROP TABLE key_changes; DROP TABLE jobs; DROP TABLE audit;
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
    database.exec(`ALTER TABLE fills DROP COLUMN replaces; DROP TABLE boot; DROP TABLE jobs; DROP TABLE audit;
       DROP TABLE goldens; DROP TABLE key_changes;
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

  it('keeps what is done to keys over a restart, one row for each volume', () => {
    const volume = { fillId: '0123456789abcdef', volume: 'vg0/vm1' };
    const rotation: KeyChange = {
      ...{ ...volume, what: 'rotate', step: 'adding', atMs: 1, domainUuid: 'uuid', target: 'vda' },
      ...{ from: { provider: 'file', id: 'old' }, to: { provider: 'file', id: 'new' } },
    };
    const erasure: KeyChange = { ...volume, fillId: 'f'.repeat(16), what: 'erase', step: 'done', atMs: 2 };
    const first = openLedger(file).ledger;
    first.putKeyChange(rotation);
    first.putKeyChange(erasure);
    first.close();
    const { ledger } = openLedger(file);
    expect(ledger.keyChangeOf(rotation.fillId)).toEqual(rotation);
    expect(ledger.keyChangeOf(erasure.fillId)).toEqual(erasure);
    expect(ledger.unfinishedKeyChanges()).toEqual([rotation]);
    ledger.putKeyChange({ ...rotation, step: 'done' });
    expect(ledger.unfinishedKeyChanges()).toEqual([]);
    ledger.removeKeyChange(rotation.fillId);
    ledger.close();
    const again = openLedger(file).ledger;
    expect([again.keyChangeOf(rotation.fillId), again.keyChangeOf(erasure.fillId)]).toEqual([
      undefined,
      erasure,
    ]);
    again.close();
  });

  it('in a folder that is missing says so', () => {
    expect(() => openLedger(join(folder, 'missing', 'ledger.db'))).toThrow(/cannot be opened/);
  });
});

describe('golden volumes', () => {
  const golden = { fillId: 'a'.repeat(16), sha256: 'b'.repeat(64), usedAtMs: 5, provenBy: ['sha512:c'] };

  it('are remembered over a restart, as they were written last', () => {
    const first = openLedger(file).ledger;
    first.putGolden({ ...golden, usedAtMs: 4 });
    first.putGolden({ ...golden, leaving: 'damaged' });
    first.putGolden({ ...golden, fillId: 'd'.repeat(16) });
    first.removeGolden('d'.repeat(16));
    expect(first.goldens()).toEqual([{ ...golden, leaving: 'damaged' }]);
    first.close();
    const again = openLedger(file).ledger;
    expect(again.goldens()).toEqual([{ ...golden, leaving: 'damaged' }]);
    again.putGolden(golden);
    again.close();
    const { ledger } = openLedger(file);
    expect(ledger.goldens()).toEqual([golden]);
    ledger.close();
  });
});

describe('jobs', () => {
  const job = (number: number, end?: JobRecord['end']): JobRecord => ({
    id: `9d3a4b1c-0000-4000-8000-${number.toString().padStart(12, '0')}`,
    request: { image: 'images/a', format: 'raw', volume: `vm${number % 2}` },
    location: { pool: 'guests', vg: 'vg0', lv: `vm${number % 2}` },
    ...{ by: 'uid:0', createdAtMs: 1000 + Math.floor(number / 2), updatedAtMs: 2000 },
    ...(end === undefined ? {} : { end }),
  });
  const failed = { state: 'failed', bytesDone: 3, problem: { code: 'VG_FULL', message: 'full' } } as const;
  const done = { state: 'completed', bytesDone: 4, bytesTotal: 4, cacheHit: true } as const;
  const jobs = [job(0, done), job(1), job(2, failed), job(3), job(4, done)];

  it('are kept over a restart, and found by what is asked of them, the newest first', () => {
    const first = openLedger(file).ledger;
    for (const one of jobs) first.putJob(one);
    first.close();
    const { ledger } = openLedger(file);
    const [oldest, , third, fourth, newest] = jobs;
    expect(ledger.jobOf(jobs[2]?.id ?? '')).toEqual(jobs[2]);
    expect(ledger.jobs({ limit: 10 })).toEqual(jobs.toReversed());
    expect(ledger.jobs({ limit: 2, before: fourth })).toEqual([third, jobs[1]]);
    expect(ledger.jobs({ limit: 10, end: 'completed' })).toEqual([newest, oldest]);
    expect(ledger.jobs({ limit: 10, end: 'none', lv: 'vm1' })).toEqual([fourth, jobs[1]]);
    expect(ledger.jobs({ limit: 1, lv: 'vm0' })).toEqual([newest]);
    expect(ledger.unfinishedJobs()).toEqual([jobs[1], fourth]);
    ledger.removeJob(newest?.id ?? '');
    expect(ledger.jobs({ limit: 1 })).toEqual([fourth]);
    ledger.close();
  });

  it('are counted by how they ended, and why', () => {
    const { ledger } = openLedger(':memory:');
    expect(ledger.jobCounts()).toEqual([]);
    for (const one of jobs) ledger.putJob(one);
    expect(ledger.jobCounts()).toEqual(
      expect.arrayContaining([
        { end: 'none', reason: '', count: 2 },
        { end: 'completed', reason: '', count: 2 },
        { end: 'failed', reason: 'VG_FULL', count: 1 },
      ]),
    );
    expect(ledger.jobCounts()).toHaveLength(3);
    ledger.close();
  });

  it('that have ended are forgotten when there are too many, and those that have not are kept', () => {
    const { ledger } = openLedger(':memory:');
    ledger.putJob(job(0));
    for (let number = 1; number <= ENDED_JOBS_MAX + 2; number++) ledger.putJob(job(number, done));
    expect(ledger.jobs({ limit: 20_000 })).toHaveLength(ENDED_JOBS_MAX + 1);
    expect(ledger.jobOf(job(2).id)).toBeUndefined();
    expect(ledger.jobOf(job(3).id)).toEqual(job(3, done));
    expect(ledger.unfinishedJobs()).toEqual([job(0)]);
    ledger.close();
  });

  it('are looked up by an index, whatever is asked of them', () => {
    openLedger(file).ledger.close();
    const database = new Database(file);
    const plans = ['id = 1', 'state IS NULL', "state = 'x'", "lv = 'x'", '(created_at_ms, id) < (1, 2)'].map(
      (condition) =>
        database
          .prepare<[], { detail: string }>(
            `EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE ${condition} ORDER BY created_at_ms DESC, id DESC`,
          )
          .all()
          .map(({ detail }) => detail)
          .join('; '),
    );
    for (const plan of plans) expect(plan).toMatch(/USING INDEX/);
    expect(plans.slice(1).join()).not.toContain('TEMP B-TREE');
    database.close();
  });
});
