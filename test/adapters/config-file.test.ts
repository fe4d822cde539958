/** Goal: one report of every mistake, no secret in any output, and the documented defaults. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ConfigFile } from '../../src/adapters/config/schema.ts';
import { Secret } from '../../src/adapters/config/secret.ts';
import { loadConfig } from '../../src/adapters/config-file.ts';
import { ProvisionError } from '../../src/core/errors.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'lvp-config-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let files = 0;
function write(text: string, mode = 0o600): string {
  files += 1;
  const file = path.join(folder, `file-${files}`);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

const keys = () => `  access_key_file: ${write('ACCESS')}\n  secret_key_file: ${write('SECRET')}\n`;
const minimal = () => `minio:\n  endpoint: https://minio.test:9000\n${keys()}volume_groups: [vg0]\n`;

/** The mistakes reported, one a line, without the name of the file. */
function mistakesOf(text: string, env: Record<string, string> = {}): string[] {
  const file = write(text);
  try {
    loadConfig({ path: file, env });
  } catch (error) {
    if (!(error instanceof ProvisionError) || error.code !== 'CONFIG_INVALID') throw error;
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim().replaceAll(`${file}:`, '').replaceAll(folder, 'FOLDER'));
  }
  return [];
}

describe('defaults', () => {
  test('the example file says what the schema does', () => {
    const example = readFileSync(
      path.resolve(import.meta.dirname, '../../systemd/config.example.yaml'),
      'utf8',
    );
    const written: unknown = parse(example);
    const required = { minio: { endpoint: 'https://minio.example.com:9000' }, volume_groups: ['vg0'] };
    expect(ConfigFile.parse(written)).toEqual(ConfigFile.parse(required));
  });

  test('every key of the schema stands in the example file, optional ones as comments', () => {
    const example = readFileSync(
      path.resolve(import.meta.dirname, '../../systemd/config.example.yaml'),
      'utf8',
    );
    const missing = Object.keys(ConfigFile.shape)
      .concat(Object.keys(ConfigFile.shape.minio.shape))
      .filter((key) => !new RegExp(`^\\s*(# )?${key}:`, 'm').test(example));
    expect(missing).toEqual([]);
  });

  test('a minimal file is enough', () => {
    const { config, warnings } = loadConfig({ path: write(minimal()), env: {} });
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      volumeGroups: ['vg0'],
      integrity: { requireDigest: true, minisignKeys: [], rules: [] },
      verify: { readBack: false },
      gate: { graceMs: 3_000 },
      fills: { concurrentMax: 2, queueMax: 1000, deadlineMs: 21_600_000 },
      limits: { virtualSizeMaxBytes: 2 ** 41, expansionMax: 2000, decompressionTimeMaxMs: 3_600_000 },
      reconcile: { intervalMs: 60_000 },
      stateDir: '/var/lib/libvirt-volume-provisioner',
      runtimeDir: '/run/libvirt-volume-provisioner',
      log: { level: 'info', format: 'auto' },
    });
    expect(config.minio.endpoint.href).toBe('https://minio.test:9000/');
    expect(config.minio.secretKey.reveal()).toBe('SECRET');
  });
});

describe('shared_volume_groups', () => {
  test('may be left out or empty, and names groups', () => {
    for (const [text, groups] of [
      ['', []],
      ['shared_volume_groups: []\n', []],
      ['shared_volume_groups: [san0, vg0]\n', ['san0', 'vg0']],
    ] as const) {
      const { config } = loadConfig({ path: write(`${minimal()}${text}`), env: {} });
      expect(config.sharedVolumeGroups).toEqual(groups);
    }
    expect(mistakesOf(`${minimal()}shared_volume_groups: [-x]\n`)).toEqual([
      '6: shared_volume_groups is ["-x"]; allowed is a list of names, each with letters, digits and + _ . -, not beginning with -',
    ]);
  });
});

describe('verify', () => {
  test('has volumes read back when asked to', () => {
    const file = write(`${minimal()}verify: {read_back: true}\n`);
    expect(loadConfig({ path: file, env: {} }).config.verify).toEqual({ readBack: true });
  });

  test('refuses anything but true and false', () => {
    expect(mistakesOf(`${minimal()}verify: {read_back: sometimes}\n`)).toEqual([
      '6: verify.read_back is "sometimes"; allowed is true or false',
    ]);
  });
});

describe('pools', () => {
  const keepFreeOf = (text: string) =>
    loadConfig({
      path: write(`${minimal()}pools: {vg0: {keep_free: ${text}}}\n`),
      env: {},
    }).config.keepFree.get('vg0');

  test('keep a size or a percentage free', () => {
    expect(keepFreeOf('50GiB')).toEqual({ bytes: 50 * 2 ** 30 });
    expect(keepFreeOf('10%')).toEqual({ percent: 10 });
  });

  test('refuse anything else, and groups that are not ours', () => {
    expect(mistakesOf(`${minimal()}pools: {vg0: {keep_free: 100%}}\n`)).toMatchInlineSnapshot(`
      [
        "6: pools.vg0.keep_free is "100%"; allowed is a size such as 50GiB, or a percentage of the group from 0% to 99%",
      ]
    `);
    expect(mistakesOf(`${minimal()}pools: {vg1: {keep_free: 1GiB}}\n`)).toMatchInlineSnapshot(`
      [
        "6: pools.vg1 is {"keep_free":"1GiB"}; allowed is only under the name of one of volume_groups",
      ]
    `);
  });
});

describe('integrity', () => {
  const KEY = 'RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3';

  test('takes keys and rules', () => {
    const text = `${minimal()}integrity:\n  minisign_keys: [${KEY}]\n  rules:\n    - {prefix: images/prod/, require: signature}\n`;
    const { integrity } = loadConfig({ path: write(text), env: {} }).config;
    expect(integrity.minisignKeys.map(({ id }) => id)).toEqual(['E7620F1842B4E81F']);
    expect(integrity.rules).toEqual([{ prefix: 'images/prod/', require: 'signature' }]);
  });

  test('refuses what could never be met, or is none', () => {
    const text = `${minimal()}integrity:
  minisign_keys: [RWQ]
  rules:
    - {prefix: /images, require: trust}
`;
    expect(mistakesOf(text)).toMatchInlineSnapshot(`
      [
        "7: integrity.minisign_keys is ["RWQ"]; allowed is a list of minisign public keys, each the last line of a minisign.pub",
        "9: integrity.rules.0.prefix is "/images"; allowed is the beginning of BUCKET/KEY, such as images/prod/",
        "9: integrity.rules.0.require is "trust"; allowed is one of digest, signature",
      ]
    `);
    expect(mistakesOf(`${minimal()}integrity:\n  rules:\n    - {prefix: images/, require: signature}\n`))
      .toMatchInlineSnapshot(`
      [
        "8: integrity.rules.0.require is "signature"; allowed is signature only together with at least one key in integrity.minisign_keys",
      ]
    `);
  });
});

describe('mistakes', () => {
  test('are all reported at once, with line, key, value and what is allowed', () => {
    const text = `minio:
  endpoint: ftp://minio.test
  region: "Frankfurt am Main"
  access_key: AKIAVERYSECRET
volume_groups: []
gate: {grace: 40s}
fills:
  concurrent: 17
  queue_max: 0
  deadline: 30s
  write_rate_max: 1KiB
limits: {virtual_size_max: 2TB}
log:
  level: loud
  colour: yes
state_dir: var
`;
    expect(mistakesOf(text)).toMatchInlineSnapshot(`
      [
        "2: minio.endpoint is "ftp://minio.test"; allowed is a URL such as https://minio.example.com:9000, without user, path or query",
        "3: minio.region is "Frankfurt am Main"; allowed is a region name such as us-east-1",
        "4: minio.access_key: no secrets in this file; name a file with minio.access_key_file",
        "5: volume_groups is []; allowed is a list of at least one name, each with letters, digits and + _ . -, not beginning with -",
        "6: gate.grace is "40s"; allowed is a duration such as 500ms, 3s, 5m or 1h, from 0s to 30s",
        "8: fills.concurrent is 17; allowed is a whole number from 1 to 16",
        "9: fills.queue_max is 0; allowed is a whole number from 1 to 100000",
        "10: fills.deadline is "30s"; allowed is a duration such as 500ms, 3s, 5m or 1h, from 60s to 604800s",
        "11: fills.write_rate_max is "1KiB"; allowed is off, or bytes a second such as 200MiB, from 1MiB on",
        "12: limits.virtual_size_max is "2TB"; allowed is a size such as 500GiB or 2TiB",
        "16: state_dir is "var"; allowed is an absolute path",
        "14: log.level is "loud"; allowed is one of trace, debug, info, warn, error",
        "15: log.colour: there is no such key; see config.example.yaml",
      ]
    `);
  });

  test('an empty file lacks what is required', () => {
    expect(mistakesOf('')).toMatchInlineSnapshot(`
      [
        "1: minio is missing; allowed is a mapping of keys to values",
        "1: volume_groups is missing; allowed is a list of at least one name, each with letters, digits and + _ . -, not beginning with -",
      ]
    `);
  });

  test('a file that is not YAML', () => {
    expect(mistakesOf('minio: {endpoint: [\n')[0]).toMatch(/^\d+: not YAML: /);
  });

  test('aliases that multiply are refused, not expanded', () => {
    expect(mistakesOf('a: &a [x, x]\nb: &b [*a, *a]\nvolume_groups: *b\n')).toEqual([
      expect.stringContaining('aliases (*name) are not allowed'),
    ]);
  });

  test('a file that is a list', () => {
    expect(mistakesOf('- a\n')).toEqual(['1: the file is ["a"]; allowed is a mapping of keys to values']);
  });

  test('never show a password in the endpoint', () => {
    const [mistake] = mistakesOf(minimal().replace('https://', 'https://me:hunter2@'));
    expect(mistake).toContain('2: minio.endpoint is a URL with a user in it');
    expect(mistake).not.toContain('hunter2');
  });

  test.each([
    ['http to another machine', 'http://minio.test:9000', false],
    ['http to this machine', 'http://127.0.0.1:9000', true],
    ['http to this machine by name', 'http://localhost:9000', true],
    ['http to this machine over IPv6', 'http://[::1]:9000', true],
    ['http to a name that begins like this machine', 'http://127.0.0.1.evil.test', false],
  ])('%s', (_what, url, accepted) => {
    const mistakes = mistakesOf(minimal().replace('https://minio.test:9000', url));
    expect(mistakes.length).toBe(accepted ? 0 : 1);
  });

  test('http to another machine is accepted when asked for', () => {
    expect(
      mistakesOf(minimal().replace('https://minio.test:9000', 'http://minio.test\n  allow_http: true')),
    ).toEqual([]);
  });
});

describe('secrets', () => {
  test.each([0o640, 0o604, 0o660, 0o700])('a key file of mode %o is refused', (mode) => {
    const text = minimal().replace(/secret_key_file: .*/, `secret_key_file: ${write('SECRET', mode)}`);
    expect(mistakesOf(text)[0]).toContain(`has mode 0${mode.toString(8)}; allowed is 0600 or 0400`);
  });

  test('an empty or missing key file is a mistake', () => {
    const text = minimal()
      .replace(/access_key_file: .*/, `access_key_file: ${write('\n')}`)
      .replace(/secret_key_file: .*/, 'secret_key_file: /nowhere/key');
    expect(mistakesOf(text)).toEqual([
      expect.stringMatching(/^minio.access_key_file: .* is empty$/),
      'minio.secret_key_file: /nowhere/key cannot be read: ENOENT',
    ]);
  });

  test('systemd credentials are found', () => {
    const credentials = mkdtempSync(path.join(folder, 'credentials-'));
    writeFileSync(path.join(credentials, 'minio-access-key'), 'A');
    writeFileSync(path.join(credentials, 'minio-secret-key'), 'S', { mode: 0o440 });
    const file = write('minio: {endpoint: https://minio.test}\nvolume_groups: [vg0]\n');
    const { config } = loadConfig({ path: file, env: { CREDENTIALS_DIRECTORY: credentials } });
    expect([config.minio.accessKey.reveal(), config.minio.secretKey.reveal()]).toEqual(['A', 'S']);
  });

  test('show nothing in any way of printing', () => {
    const secret = new Secret('hunter2');
    const printed = [
      String(secret),
      JSON.stringify({ secret }),
      inspect({ secret }, { showHidden: true }),
      inspect([secret]),
    ];
    expect(printed.join(' ')).not.toContain('hunter2');
    expect(printed[0]).toBe('[redacted]');
  });
});

describe('the environment of the Go provisioner', () => {
  test('is enough without a file; its secrets are taken out of it, with a warning', () => {
    const env: Record<string, string> = {
      MINIO_ENDPOINT: 'https://minio.test:9000',
      MINIO_ACCESS_KEY: 'ACCESS',
      MINIO_SECRET_KEY: 'hunter2',
      MINIO_REGION: 'eu-west-1',
      MINIO_BUCKET: 'vm-images',
      LVM_VOLUME_GROUP: 'data',
      DB_PATH: '/srv/provisioner/jobs.db',
      LOG_LEVEL: 'debug',
      LOG_FORMAT: 'text',
      PORT: '8080',
      CACHE_MAX_AGE: '168h',
    };
    const { config, warnings } = loadConfig({ path: '/nowhere/config.yaml', env });
    expect(config).toMatchObject({
      minio: { region: 'eu-west-1', buckets: ['vm-images'] },
      volumeGroups: ['data'],
      stateDir: '/srv/provisioner',
      log: { level: 'debug', format: 'pretty' },
    });
    expect(config.minio.secretKey.reveal()).toBe('hunter2');
    expect(env).not.toHaveProperty('MINIO_ACCESS_KEY');
    expect(env).not.toHaveProperty('MINIO_SECRET_KEY');
    expect(warnings).toMatchInlineSnapshot(`
      [
        "The environment variable MINIO_ACCESS_KEY holds a secret. Processes and the journal can see environments: use a systemd credential or a file of mode 0600 (minio.access_key_file, minio.secret_key_file).",
        "The environment variable MINIO_SECRET_KEY holds a secret. Processes and the journal can see environments: use a systemd credential or a file of mode 0600 (minio.access_key_file, minio.secret_key_file).",
        "The environment variable PORT is ignored: this provisioner has no network listener.",
        "The environment variable CACHE_MAX_AGE is ignored: the image cache is set by cache.size_max in the configuration file.",
        "DB_PATH names the folder of the new ledger; the old job database is not read.",
      ]
    `);
  });

  test('MINIO_USE_SSL says the scheme of an endpoint without one', () => {
    const env = { MINIO_ENDPOINT: 'localhost:9000', MINIO_USE_SSL: 'false' };
    const file = write(minimal().replace('  endpoint: https://minio.test:9000\n', ''));
    expect(loadConfig({ path: file, env }).config.minio.endpoint.href).toBe('http://localhost:9000/');
  });

  test('does not overrule the file, and says so', () => {
    const { config, warnings } = loadConfig({ path: write(minimal()), env: { LVM_VOLUME_GROUP: 'data' } });
    expect(config.volumeGroups).toEqual(['vg0']);
    expect(warnings).toEqual([
      'The environment variable LVM_VOLUME_GROUP is ignored: the configuration file sets volume_groups.',
    ]);
  });

  test('mistakes in it name the variable', () => {
    const [mistake] = mistakesOf(minimal(), { LOG_LEVEL: 'loud' });
    expect(mistake).toBe(
      'environment variable LOG_LEVEL: log.level is "loud"; allowed is one of trace, debug, info, warn, error',
    );
  });
});
