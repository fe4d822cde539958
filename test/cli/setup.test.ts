/**
 * Goal: `lvp setup` writes what the daemon takes, after it was tried out, or nothing at all. Method: the real
 * program as a child process, with an S3 server on loopback and a vgs that knows two groups.
 */
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { parse } from 'yaml';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FakeS3 } from '../adapters/fake-s3.ts';
import { answerError, startFakeS3 } from '../adapters/fake-s3.ts';

const CLI = resolve(import.meta.dirname, '../../src/cli.ts');
const SECRET = 'not-to-be-shown-anywhere';

let folder: string;
let config: string;
let store: FakeS3;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lvp-setup-'));
  config = join(folder, 'etc', 'config.yaml');
  store = await startFakeS3();
  store.misbehave = (_, answer) => (answerError(answer, 404, 'NoSuchKey'), true);
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin', 'vgs'), '#!/bin/sh\nprintf "  vg0\\n  vg1\\n"\n');
  await chmod(join(folder, 'bin', 'vgs'), 0o755);
  await mkdir(join(folder, 'etc'));
  await writeFile(join(folder, 'access'), 'the-access-key\n');
  await writeFile(join(folder, 'secret'), `${SECRET}\n`);
});
afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true });
});

async function setup(changes: Record<string, string | undefined> = {}, ...more: string[]) {
  const options: Record<string, string | undefined> = {
    ...{ config, endpoint: store.endpoint, bucket: 'images', 'volume-group': 'vg0' },
    ...{ 'access-key-file': join(folder, 'access'), 'secret-key-file': join(folder, 'secret') },
    ...changes,
  };
  const words = Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  );
  // As an administrator's shell may have it.
  const line = ['-c', 'umask 077; exec "$0" "$@"', process.execPath, CLI, 'setup', '--no-start'];
  const result = await execa('sh', [...line, ...words, ...more], {
    env: { PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}` },
    reject: false,
  });
  expect(result.stderr).not.toMatch(/^\s+at /m);
  expect(result.stdout + result.stderr).not.toContain(SECRET);
  return result;
}

/** Mode and text of every file that was made. */
async function made(): Promise<Record<string, string>> {
  const names = await readdir(join(folder, 'etc'), { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const entries = files.map(async (file) => {
    const mode = ((await stat(file)).mode & 0o7777).toString(8);
    return [`${mode} ${file.slice(join(folder, 'etc').length + 1)}`, await readFile(file, 'utf8')] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

describe('lvp setup', () => {
  it('writes configuration and keys, which the daemon takes', async () => {
    const { exitCode, stdout } = await setup();
    expect({ exitCode, stdout }).toMatchObject({ exitCode: 0 });
    const files = await made();
    expect(Object.keys(files).sort()).toEqual([
      ...['600 credentials/minio-access-key', '600 credentials/minio-secret-key', '640 config.yaml'],
    ]);
    expect(files['600 credentials/minio-secret-key']).toBe(SECRET);
    expect(files['640 config.yaml']).toContain('buckets:\n    - images\n');
    const check = await execa(process.execPath, [CLI, 'config', 'check', '--config', config], {
      reject: false,
    });
    expect(check).toMatchObject({ exitCode: 0, stderr: '' });
  });

  it('takes rules along, also out of a configuration, and none that the daemon would not take', async () => {
    const rules = join(folder, 'rules.yaml');
    await writeFile(rules, 'policy:\n  - name: web\n    domains: [web*]\n    size_max: 10GiB\n');
    expect((await setup({ 'policy-file': rules })).exitCode).toBe(0);
    const { policy } = parse((await made())['640 config.yaml'] ?? '') as { policy: unknown };
    expect(policy).toEqual([{ name: 'web', domains: ['web*'], size_max: '10GiB' }]);
    await writeFile(rules, '- name: web\n  volume_groups: [vg9]\n- {name: x, colour: red}\n');
    const { exitCode, stderr } = await setup({ 'policy-file': rules }, '--replace');
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/colour: there is no such key[^]*policy\.0\.volume_groups[^]*Nothing was written/);
    await writeFile(rules, 'policy: [');
    expect((await setup({ 'policy-file': rules }, '--replace')).stderr).toContain('rules.yaml is no YAML');
    expect((await made())['640 config.yaml.old']).toBeUndefined();
  });

  it('tells programs what it has done', async () => {
    const { stdout } = await setup({}, '--json');
    expect(JSON.parse(stdout)).toEqual({
      written: [
        ...['minio-access-key', 'minio-secret-key'].map((name) => join(folder, 'etc', 'credentials', name)),
        config,
      ],
      bucket: 'readable',
      started: false,
    });
  });

  it('says what it cannot know', async () => {
    store.misbehave = (_, answer) => (answerError(answer, 403, 'AccessDenied'), true);
    const { exitCode, stdout } = await setup();
    expect(exitCode).toBe(0);
    expect(stdout).toContain('MinIO does not say what is in images');
  });

  it('keeps the configuration that is there, and the old one when it is replaced', async () => {
    await writeFile(config, 'mine: true\n', { mode: 0o640 });
    const refused = await setup();
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('There is a configuration already');
    expect(await made()).toEqual({ '640 config.yaml': 'mine: true\n' });
    expect((await setup({}, '--replace')).exitCode).toBe(0);
    expect((await made())['640 config.yaml.old']).toBe('mine: true\n');
  });

  const failures: readonly [string, Record<string, string | undefined>, string, number, string][] = [
    ['a group that is not there', { 'volume-group': 'vg7' }, 'NoSuchKey', 2, 'no volume group vg7'],
    ['keys that the store does not know', {}, 'InvalidAccessKeyId', 1, 'does not know the access key'],
    ['a secret that is not the right one', {}, 'SignatureDoesNotMatch', 1, 'secret key is not the one'],
    ['a bucket that is not there', {}, 'NoSuchBucket', 1, 'There is no bucket images'],
    ['an address that is none', { endpoint: 'minio' }, 'NoSuchKey', 1, 'minio.endpoint'],
    [
      'a key file that is not there',
      { 'secret-key-file': '/nowhere' },
      'NoSuchKey',
      2,
      '/nowhere cannot be read',
    ],
    [
      'what it is not told',
      { endpoint: undefined, bucket: undefined },
      'NoSuchKey',
      2,
      '--endpoint <url>, --bucket',
    ],
  ];
  it.each(failures)('writes nothing with %s', async (_what, changes, s3Code, code, said) => {
    store.misbehave = (_, answer) => (answerError(answer, 404, s3Code), true);
    const { exitCode, stderr } = await setup(changes);
    expect(stderr).toContain(said);
    expect(exitCode).toBe(code);
    expect(await made()).toEqual({});
  });
});
