/** Goal: what systemctl reload runs hands over the keys that stand in root's files now, not those systemd has loaded. */
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { GateSocket } from '../../src/adapters/gate-socket.ts';
import { openGateSocket } from '../../src/adapters/gate-socket.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import type { ReloadRequest, ReloadResult } from '../../src/core/protocol/reload-protocol.ts';
import { KEY_CREDENTIAL } from '../../src/core/settings/key-settings.ts';
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

it('hands over the secret for the key server by itself, with those of the store loaded by systemd or the reverse', async () => {
  const barbican = `barbican: { url: 'https://b.test', auth_url: 'https://k.test', application_credential_id: 'a123' }`;
  appendFileSync(join(folder, 'config.yaml'), `keys: { ${barbican} }\n`);
  writeFileSync(join(folder, 'credentials', KEY_CREDENTIAL), 'new-secret\n');
  answer = () => Promise.resolve({ replaced: ['key-server'], needsRestart: [] });
  const first = await reload();
  expect(handed).toEqual([{ keyServerSecret: 'new-secret' }]);
  expect(first.stdout).toBe(
    `In use from now on: what keys.barbican says, and its secret.
Loaded by systemd from elsewhere than credentials/, so that a change counts from the next restart on: minio-access-key, minio-secret-key.`,
  );
  renameSync(join(folder, 'credentials', KEY_CREDENTIAL), join(folder, 'loaded', KEY_CREDENTIAL));
  writeKeys('credentials', 'new');
  answer = () => Promise.resolve({ replaced: [], needsRestart: [] });
  const second = await reload();
  expect(handed.at(-1)).toEqual({ keys: { accessKey: 'new-access', secretKey: 'new-secret' } });
  expect(second.stdout).toBe(
    `Keys, certificate authorities and key server are those already in use.
Loaded by systemd from elsewhere than credentials/, so that a change counts from the next restart on: ${KEY_CREDENTIAL}.`,
  );
  // Without one of them there is nothing to begin with.
  rmSync(join(folder, 'loaded', KEY_CREDENTIAL));
  expect(await reload()).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining('the secret of the application credential is missing') as string,
  });
});

it('fails if the store does not take them, and shows no key', async () => {
  writeKeys('credentials', 'new');
  answer = () => Promise.reject(new ProvisionError({ code: 'STORE_ACCESS_DENIED', message: 'those stay' }));
  const { stdout, stderr, exitCode } = await reload();
  expect(exitCode).toBe(1);
  expect(stderr).toBe('lvp: those stay');
  expect(stdout + stderr).not.toContain('new-');
});
