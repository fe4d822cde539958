/** Goal: what a backup restores is what was there, byte for byte, but for what in a ledger is old news. */
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openLedger } from '../../src/adapters/ledger.ts';
import { makeBackup } from '../../src/cli/backup/make.ts';
import { restoreBackup } from '../../src/cli/backup/restore.ts';
import { parseDomainXml } from '../../src/core/xml/domain-xml.ts';
import type { FillRecord } from '../../src/provision/ports/ledger.ts';
import { domainXml } from '../provision/world.ts';

const uuid = (digit: number) => `${digit}1111111-1111-4111-8111-111111111111`;

let folder: string;
let configPath: string;
let file: string;
const etc = (name: string) => join(folder, 'etc', name);
const ledgerPath = () => join(folder, 'var', 'ledger.db');

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-backup-test-'));
  file = join(folder, 'backup.tar.gz');
  for (const name of ['etc', 'etc/credentials', 'var', 'pki']) mkdirSync(join(folder, name), { mode: 0o700 });
  configPath = etc('config.yaml');
  writeFileSync(
    configPath,
    `minio: { endpoint: 'https://minio.test', ca_file: ${folder}/pki/ca.pem }\nvolume_groups: [vg0]\n` +
      `state_dir: ${folder}/var\nruntime_dir: ${folder}/run\n`,
  );
  writeFileSync(etc('credentials/minio-access-key'), 'ACCESS-4711', { mode: 0o600 });
  writeFileSync(etc('credentials/minio-secret-key'), 'SECRET-4711', { mode: 0o600 });
  writeFileSync(join(folder, 'pki', 'ca.pem'), 'CA', { mode: 0o644 });
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function fill(index: number, state: FillRecord['state'], more: Partial<FillRecord> = {}): FillRecord {
  const image = { bucket: 'images', key: 'a' };
  return {
    ...{ fillId: `${index}`.padStart(16, '0'), domainUuid: uuid(index), domainName: `vm${index}`, state },
    request: { target: 'vda', image, format: 'raw', generation: 1 },
    location: { pool: 'guests', vg: 'vg0', lv: `vm${index}` },
    ...{ attempts: 1, createdAtMs: 1, updatedAtMs: 1, ...more },
  };
}

/** All that could be done because of old news. */
function fullLedger(): ReturnType<typeof openLedger>['ledger'] {
  const { ledger } = openLedger(ledgerPath());
  ledger.putFill(fill(1, 'ready', { replaces: 'f'.repeat(16), sha256: 'ab' }));
  ledger.putFill(fill(2, 'filling'));
  ledger.putFill(fill(3, 'failed', { retryAtMs: 1 }));
  ledger.putFill(fill(4, 'cancelled', { replaces: 'e'.repeat(16) }));
  const known = (index: number) => ({
    domain: parseDomainXml(domainXml({ uuid: uuid(index), name: `vm${index}` })),
    seenAtMs: Date.now(),
  });
  ledger.putDomain({
    ...known(1),
    ...{ origin: 'libvirt', startWish: 'yes', lastEnd: 'here', goneAtMs: 5 },
  });
  ledger.putDomain({ ...known(2), origin: 'gate', startWish: 'if-autostart' });
  ledger.putBoot('boot-1');
  const job = {
    ...{ request: { image: 'images/a.raw', format: 'raw' as const, volume: 'early' }, by: 'uid:0' },
    ...{ location: { pool: 'guests', vg: 'vg0', lv: 'early' }, createdAtMs: 1, updatedAtMs: 1 },
  };
  ledger.putJob({ ...job, id: uuid(5) });
  ledger.putJob({ ...job, id: uuid(6), end: { state: 'completed', bytesDone: 1 } });
  ledger.audit.append([
    {
      ...{ at: new Date().toISOString(), who: 'uid:0', what: 'cancel', correlationId: 'c' },
      ...{ decision: 'allowed', outcome: 'done' },
    },
  ]);
  return ledger;
}

describe('lvp backup', () => {
  it('holds everything, while the daemon writes, for root alone', async () => {
    const ledger = fullLedger();
    const manifest = await makeBackup(configPath, file);
    ledger.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(manifest.files.map(({ kind }) => kind)).toEqual([
      ...['config', 'credential', 'credential', 'named', 'ledger'],
    ]);
    await expect(makeBackup(configPath, file)).rejects.toThrow(/is there already/);
  });

  it('leaves no half of one when something cannot be read', async () => {
    rmSync(join(folder, 'pki', 'ca.pem'));
    await expect(makeBackup(configPath, file)).rejects.toThrow(/ca\.pem/);
    expect(existsSync(file)).toBe(false);
  });
});

describe('lvp restore', () => {
  async function backedUp(): Promise<void> {
    fullLedger().close();
    await makeBackup(configPath, file);
  }

  it('puts everything back on a host that has nothing', async () => {
    await backedUp();
    const config = readFileSync(configPath, 'utf8');
    for (const name of ['etc', 'var', 'pki']) renameSync(join(folder, name), join(folder, `old-${name}`));
    mkdirSync(join(folder, 'etc'));
    await restoreBackup(file, { configPath, overwrite: false });
    expect(readFileSync(configPath, 'utf8')).toBe(config);
    expect(readFileSync(etc('credentials/minio-secret-key'), 'utf8')).toBe('SECRET-4711');
    expect(readFileSync(join(folder, 'pki', 'ca.pem'), 'utf8')).toBe('CA');
    const modes = [etc('credentials'), etc('credentials/minio-secret-key'), ledgerPath(), configPath];
    expect(modes.map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o600, 0o600, 0o640]);
    // The service, which is in its group where there is one, goes through to what the configuration names.
    expect(statSync(join(folder, 'pki')).mode & 0o777).toBe(0o750);
  });

  it('frees the ledger of what would be done because of old news', async () => {
    await backedUp();
    await restoreBackup(file, { configPath, overwrite: true });
    const { ledger } = openLedger(ledgerPath());
    expect(ledger.fills().map(({ state, replaces, retryAtMs }) => [state, replaces, retryAtMs])).toEqual([
      ['ready', undefined, undefined],
      ['cancelled', undefined, undefined],
    ]);
    expect(
      ledger
        .domains()
        .map(({ origin, startWish, lastEnd, goneAtMs }) => [origin, startWish, lastEnd, goneAtMs]),
    ).toEqual([['libvirt', 'no', undefined, undefined]]);
    expect(ledger.lastBoot()).toBeUndefined();
    expect([ledger.jobOf(uuid(5)), ledger.jobOf(uuid(6))?.end?.state]).toEqual([undefined, 'completed']);
    expect(ledger.audit.find({ limit: 10 }).events.map(({ what }) => what)).toEqual(['cancel']);
    ledger.close();
  });

  it('empties a table that nobody has said anything about', async () => {
    fullLedger().close();
    const database = new Database(ledgerPath());
    database.exec("CREATE TABLE wishes (id TEXT) STRICT; INSERT INTO wishes VALUES ('start everything')");
    database.close();
    await makeBackup(configPath, file);
    await restoreBackup(file, { configPath, overwrite: true });
    const restored = new Database(ledgerPath());
    expect(restored.prepare('SELECT * FROM wishes').all()).toEqual([]);
    restored.close();
  });

  it('replaces nothing unasked', async () => {
    await backedUp();
    await expect(restoreBackup(file, { configPath, overwrite: false })).rejects.toMatchObject({
      message: expect.stringContaining('is there already') as string,
      hint: expect.stringContaining('--overwrite') as string,
    });
  });

  it('wants the daemon stopped', async () => {
    await backedUp();
    mkdirSync(join(folder, 'run'));
    const server = createServer().listen(join(folder, 'run', 'control.sock'));
    await once(server, 'listening');
    await expect(restoreBackup(file, { configPath, overwrite: true })).rejects.toThrow(/daemon runs/);
    server.close();
  });

  it.each([
    ['a byte of a key', 'credential-1', 'SECRET-4712', /damaged: "credential-1"/],
    ['a file more', 'stray', 'x', /does not hold what its manifest says/],
    ['another configuration', 'config', 'minio: {}', /damaged: "config"/],
  ])('writes nothing if it was changed: %s', async (_, name, text, why) => {
    await backedUp();
    const inside = join(folder, 'inside');
    mkdirSync(inside);
    await execa('tar', ['-C', inside, '-xzf', file]);
    if (existsSync(join(inside, name))) chmodSync(join(inside, name), 0o600);
    writeFileSync(join(inside, name), text);
    await execa('tar', ['-C', inside, '-czf', file, '.']);
    writeFileSync(etc('credentials/minio-access-key'), 'NEWER');
    await expect(restoreBackup(file, { configPath, overwrite: true })).rejects.toThrow(why);
    expect(readFileSync(etc('credentials/minio-access-key'), 'utf8')).toBe('NEWER');
  });
});
