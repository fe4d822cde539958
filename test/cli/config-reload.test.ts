/** Goal: what systemctl reload runs hands over the keys that stand in root's files now, not those systemd has loaded. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { GateSocket } from '../../src/adapters/gate-socket.ts';
import { openGateSocket } from '../../src/adapters/gate-socket.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ReloadRequest, ReloadResult } from '../../src/core/reload-protocol.ts';
import { silent } from '../provision/world.ts';

const lvp = new URL('../../src/cli.ts', import.meta.url).pathname;

let folder: string;
let gate: GateSocket;
let handed: ReloadRequest[];
let answer: () => Promise<ReloadResult>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-reload-'));
  handed = [];
  answer = () => Promise.resolve({ replaced: ['keys'], needsRestart: ['log.level'] });
  for (const name of ['credentials', 'loaded']) mkdirSync(join(folder, name));
  writeKeys('loaded', 'stale');
  writeFileSync(
    join(folder, 'config.yaml'),
    `minio: { endpoint: 'https://minio.test' }\nvolume_groups: [vg0]\nruntime_dir: ${folder}\n`,
  );
  gate = await openGateSocket({
    ...{ runtimeDir: folder, graceMs: 1_000, log: silent },
    admit: () => Promise.reject(new Error('not asked')),
    reload: (request) => {
      handed.push(request);
      return answer();
    },
  });
});
afterEach(async () => {
  await gate.close();
  rmSync(folder, { recursive: true });
});

function writeKeys(where: string, word: string): void {
  writeFileSync(join(folder, where, 'minio-access-key'), `${word}-access\n`);
  writeFileSync(join(folder, where, 'minio-secret-key'), `${word}-secret\n`);
}

function reload() {
  return execa(process.execPath, [lvp, 'config', 'reload', '--config', join(folder, 'config.yaml')], {
    env: { CREDENTIALS_DIRECTORY: join(folder, 'loaded') },
    reject: false,
  });
}

it('hands over what stands in the folder of keys, and says what came of it', async () => {
  writeKeys('credentials', 'new');
  const { stdout, exitCode } = await reload();
  expect(handed).toEqual([{ keys: { accessKey: 'new-access', secretKey: 'new-secret' } }]);
  expect(stdout).toBe(
    'In use from now on, and taken by the store: the keys.\nChanged too, but only from the next restart on: log.level.',
  );
  expect(exitCode).toBe(0);
});

it('leaves what is not there to what systemd has loaded', async () => {
  await reload();
  expect(handed).toEqual([{}]);
});

it('fails if the store does not take them, and shows no key', async () => {
  writeKeys('credentials', 'new');
  answer = () => Promise.reject(new ProvisionError({ code: 'STORE_ACCESS_DENIED', message: 'those stay' }));
  const { stdout, stderr, exitCode } = await reload();
  expect(exitCode).toBe(1);
  expect(stderr).toBe('lvp: those stay');
  expect(stdout + stderr).not.toContain('new-');
});
