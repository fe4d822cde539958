/** Goal: one report of every mistake, no secret in any output, and the documented defaults. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/adapters/config-file.ts';
import { ConfigFile } from '../../src/adapters/config/schema.ts';
import { Secret } from '../../src/adapters/config/secret.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import { withApiVersion } from '../../src/core/settings/key-settings.ts';

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

describe('keys of encrypted volumes', () => {
  const section = (barbican: string, recheck = '60s') =>
    `${minimal()}keys:\n  recheck: ${recheck}\n  barbican: ${barbican}\n`;
  const full =
    '{url: "https://barbican.test:9311", auth_url: "https://cloud.test/identity", application_credential_id: 0a1b}';

  test('without the section there are those of files alone', () => {
    expect(loadConfig({ path: write(minimal()), env: {} }).config.keys).toEqual({
      recheckMs: 60_000,
      barbican: undefined,
    });
  });

  test('the secret of the application credential is a credential of systemd, and is shown nowhere', () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'lvp-credentials-'));
    writeFileSync(path.join(directory, 'secret_barbican-application-credential-secret'), 'not-for-logs\n');
    const env = { CREDENTIALS_DIRECTORY: directory };
    const { config } = loadConfig({ path: write(section(full)), env });
    expect(config.keys.barbican?.url.href).toBe('https://barbican.test:9311/v1');
    expect(config.keys.barbican?.authUrl.href).toBe('https://cloud.test/identity/v3');
    expect(config.keys.barbican?.applicationCredentialSecret.reveal()).toBe('not-for-logs');
    expect(`${JSON.stringify(config)}${inspect(config, { depth: 9 })}`).not.toContain('not-for-logs');
    rmSync(directory, { recursive: true });
  });

  test('versions that are written out are not added again', () => {
    expect(withApiVersion(new URL('https://k.test:5000/v3/'), 'v3').href).toBe('https://k.test:5000/v3');
  });

  test.each([
    ['no secret', full, /secret of the application credential is missing/],
    [
      'http to another machine',
      full.replace('https://barbican', 'http://barbican'),
      /keys\.barbican\.url .*https/,
    ],
    ['http for passwords', full.replace('https://cloud', 'http://cloud'), /keys\.barbican\.auth_url .*https/],
    [
      'a user in it',
      full.replace('https://', 'https://me:pass@'),
      /keys\.barbican\.url is a URL with a user in it/,
    ],
    [
      'no identity',
      full.replace(/, application_credential_id: 0a1b/, ''),
      /application_credential_id is missing/,
    ],
    [
      'a secret in the file',
      full.replace('}', ', application_credential_secret: x}'),
      /no secrets in this file/,
    ],
    [
      'an authority that is not there',
      full.replace('}', ', ca_file: /nowhere}'),
      /ca_file: \/nowhere cannot be read/,
    ],
  ])('%s is refused', (_what, barbican, says) => {
    expect(mistakesOf(section(barbican)).join('\n')).toMatch(says);
  });

  test('it is looked at again neither too often nor too seldom', () => {
    expect(mistakesOf(section(full, '9s')).join('\n')).toContain('keys.recheck');
    expect(mistakesOf(section(full, '61m')).join('\n')).toContain('keys.recheck');
  });
});

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

describe('thin pools', () => {
  test('stand under their groups, and how much of them may be promised', () => {
    const text = 'thin_pools: {vg0: pool0}\nthin: {overcommit: 1.5, warn_percent: 70, stop_percent: 90}\n';
    const { thinPools, thin } = loadConfig({ path: write(minimal() + text), env: {} }).config;
    expect([...thinPools]).toEqual([['vg0', 'pool0']]);
    expect(thin).toMatchObject({ overcommit: 1.5, warnPercent: 70, stopPercent: 90 });
  });

  test('are none in groups that are not ours, or that other hosts see', () => {
    expect(mistakesOf(`${minimal()}thin_pools: {vg1: pool0}\n`)).toEqual([
      '6: thin_pools.vg1 is "pool0"; allowed is only under the name of one of volume_groups',
    ]);
    expect(mistakesOf(`${minimal()}shared_volume_groups: [vg0]\nthin_pools: {vg0: pool0}\n`)).toEqual([
      '7: thin_pools.vg0 is "pool0"; allowed is none in a group of shared_volume_groups: a thin pool belongs to one host',
    ]);
  });

  test('have legal names, and limits that make sense', () => {
    expect(mistakesOf(`${minimal()}thin_pools: {vg0: pool0_tdata}\n`)).toEqual([
      '6: thin_pools.vg0 is "pool0_tdata"; allowed is the name of a logical volume, which is a thin pool',
    ]);
    expect(mistakesOf(`${minimal()}thin: {overcommit: 0.5}\n`)).toEqual([
      '6: thin.overcommit is 0.5; allowed is a factor from 1 to 100, such as 1 or 1.5',
    ]);
    expect(mistakesOf(`${minimal()}thin: {warn_percent: 96}\n`)).toEqual([
      '6: thin.warn_percent is 96; allowed is at most thin.stop_percent',
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

describe('what golden volumes may hold', () => {
  const pools = (text: string) =>
    `${minimal()}thin_pools: {vg0: pool0}\npools: {vg0: {golden_max: ${text}}}\n`;

  test('is a size or a percentage of the thin pool, and of each group', () => {
    const maxOf = (text: string) => loadConfig({ path: write(text), env: {} }).config.goldenMax.get('vg0');
    expect(maxOf(pools('50GiB'))).toEqual({ bytes: 50 * 2 ** 30 });
    expect(maxOf(pools('100%'))).toEqual({ percent: 100 });
    expect(maxOf(minimal())).toBeUndefined();
  });

  test('refuses anything else, and groups without a thin pool', () => {
    for (const text of ['0%', '101%', 'off', '0']) {
      expect(mistakesOf(pools(text))).toEqual([
        expect.stringContaining(
          'allowed is a size such as 50GiB, or a percentage of the thin pool from 1% to 100%',
        ),
      ]);
    }
    expect(mistakesOf(`${minimal()}pools: {vg0: {golden_max: 10%}}\n`)).toEqual([
      '6: pools.vg0.golden_max is "10%"; allowed is only for a group that has a thin pool in thin_pools',
    ]);
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

describe('prefetch', () => {
  const rulesOf = (text: string) =>
    loadConfig({ path: write(`${minimal()}${text}`), env: {} }).config.prefetch;

  test('is nothing where nothing is said of it', () => {
    expect(rulesOf('')).toEqual({ intervalMs: 900_000, rateMaxBytesPerS: 64 * 2 ** 20, rules: [] });
  });

  test('is what the example file says, taken out of its comments', () => {
    const example = readFileSync(
      path.resolve(import.meta.dirname, '../../systemd/config.example.yaml'),
      'utf8',
    );
    const [, rules = ''] =
      /\n {2}# The first rule that an image fits.*\n((?: {2}# .*\n)+)/.exec(example) ?? [];
    const text = rules.replaceAll(/^ {2}# /gm, '    ');
    expect(rulesOf(`cache: {size_max: 50GiB}\nprefetch:\n  rules:\n${text}`).rules).toEqual([
      {
        ...{ images: 'images/debian-*.qcow2', format: 'qcow2', compression: undefined, pin: true },
        ...{ toCache: true, toGroups: [], countMax: 10, sizeMaxBytes: 20 * 2 ** 30 },
      },
    ]);
  });

  test('refuses what could never be met, or is none', () => {
    const text = `minio: {endpoint: "https://m:9000", buckets: [images], access_key_file: /k, secret_key_file: /k}
volume_groups: [vg0]
prefetch:
  rules:
    - {images: "ima*/x", format: raw}
    - {images: "other/*", format: vmdk, to: [vg0]}
    - {images: "images/*", format: raw}
    - {images: "images/*", format: qcow2, to: [nowhere]}
`;
    expect(mistakesOf(text).filter((mistake) => !mistake.includes('_key_file'))).toMatchObject([
      expect.stringContaining(
        'prefetch.rules.0.images is "ima*/x"; allowed is BUCKET/KEY, where the key may',
      ),
      expect.stringContaining('prefetch.rules.1.format is "vmdk"; allowed is one of raw, qcow2'),
    ]);
    const sound = text.replace('"ima*/x"', '"images/x"').replace('vmdk', 'raw');
    expect(mistakesOf(sound).filter((mistake) => !mistake.includes('_key_file'))).toMatchObject([
      expect.stringMatching(/rules\.0\.to is missing; allowed is cache only if cache\.size_max is a size/),
      expect.stringMatching(/rules\.1\.images is "other\/\*"; allowed is a pattern in one of minio\.buckets/),
      expect.stringMatching(
        /rules\.1\.to is \["vg0"\]; allowed is only cache, and volume groups .* thin_pools/,
      ),
      expect.stringMatching(/rules\.2\.to is missing; allowed is cache only if/),
      expect.stringMatching(/rules\.3\.images is "images\/\*"; allowed is a pattern that no other rule has/),
      expect.stringMatching(/rules\.3\.to is \["nowhere"\]; allowed is only cache/),
    ]);
    expect(
      mistakesOf(`${minimal()}cache: {size_max: 10GiB}
prefetch:
  rules:
    - {images: "images/a*", format: raw, pin: true, size_max: 6GiB}
    - {images: "images/b*", format: raw, pin: true, size_max: 6GiB}
`),
    ).toEqual([
      expect.stringContaining(
        'prefetch.rules.1.size_max is "6GiB"; allowed is a size with which the pinned rules',
      ),
    ]);
  });
});

describe('policy', () => {
  const KEY = 'RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3';
  const policyOf = (rules: string) =>
    loadConfig({
      path: write(`${minimal()}integrity: {minisign_keys: [${KEY}]}\npolicy:\n${rules}`),
      env: {},
    }).config.hostPolicy;

  test('is absent where nothing is said of it', () => {
    expect(loadConfig({ path: write(minimal()), env: {} }).config.hostPolicy).toBeUndefined();
  });

  test('is what the example file says, taken out of its comments', () => {
    const example = readFileSync(
      path.resolve(import.meta.dirname, '../../systemd/config.example.yaml'),
      'utf8',
    );
    const [, rules = ''] = /\n# policy:\n((?:# .*\n)+)/.exec(example) ?? [];
    expect(policyOf(rules.replaceAll(/^# /gm, ''))).toEqual([
      {
        name: 'production',
        domains: ['prod-*'],
        uuids: ['7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01'],
        allow: true,
        pools: ['guests'],
        volumeGroups: ['vg0'],
        images: ['images/prod/'],
        formats: ['qcow2'],
        compression: ['none'],
        sizeMaxBytes: 100 * 2 ** 30,
        require: 'signature',
      },
      { name: 'nothing-for-tests', domains: ['test-*'], allow: false },
      { name: 'everybody-else', allow: true, sizeMaxBytes: 50 * 2 ** 30 },
    ]);
  });

  test('keeps the order, and UUIDs in lower case', () => {
    const rules = '  - {name: b, uuids: [7D3F0A52-8D0E-4B5E-9A53-0D6D1C1F9F01]}\n  - {name: a}\n';
    expect(policyOf(rules)).toMatchObject([
      { name: 'b', uuids: ['7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01'] },
      { name: 'a' },
    ]);
  });

  test('refuses what cannot be meant, each with its line', () => {
    const text = `${minimal()}policy:
  - name: "no spaces"
    domains: []
    uuids: [web1]
    allow: perhaps
  - domains: "prod-*"
    pools: ["", guests]
    volume_groups: [vg0, vg0]
    images: [images, /images/]
    formats: [vmdk]
    compression: [zip]
    size_max: 2TB
    require: trust
    owners: [alice]
`;
    expect(mistakesOf(text)).toMatchInlineSnapshot(`
      [
        "7: policy.0.name is "no spaces"; allowed is a name of 1 to 64 letters, digits and . _ -",
        "8: policy.0.domains is []; allowed is a list of at least one pattern for names, such as "prod-*" or "web?"",
        "9: policy.0.uuids is ["web1"]; allowed is a list of at least one UUID as virsh domuuid prints it",
        "10: policy.0.allow is "perhaps"; allowed is true or false",
        "11: policy.1.name is missing; allowed is a name of 1 to 64 letters, digits and . _ -",
        "11: policy.1.domains is "prod-*"; allowed is a list of at least one pattern for names, such as "prod-*" or "web?"",
        "12: policy.1.pools is ["","guests"]; allowed is a list of at least one name of a storage pool",
        "13: policy.1.volume_groups is ["vg0","vg0"]; allowed is a list of at least one name, each with letters, digits and + _ . -, not beginning with -",
        "14: policy.1.images is ["images","/images/"]; allowed is a list of at least one beginning of BUCKET/KEY, such as images/prod/",
        "15: policy.1.formats is ["vmdk"]; allowed is a list of at least one of raw, qcow2",
        "16: policy.1.compression is ["zip"]; allowed is a list of at least one of none, gzip, zstd, xz",
        "17: policy.1.size_max is "2TB"; allowed is a size such as 500GiB or 2TiB",
        "18: policy.1.require is "trust"; allowed is one of digest, signature",
        "19: policy.1.owners: libvirt keeps no owner of a domain; say which are meant with domains or uuids",
      ]
    `);
  });

  test('refuses rules that contradict themselves or others, or can never count', () => {
    const text = `${minimal()}policy:
  - {name: one, domains: [a], allow: false, images: [images/]}
  - {name: one, domains: [b], volume_groups: [vg0, vg1]}
  - {name: two, domains: [c], require: signature}
  - {name: all, domains: ["**"]}
  - {name: late, domains: [d]}
`;
    expect(mistakesOf(text)).toMatchInlineSnapshot(`
      [
        "7: policy.0.allow is false; allowed is false only in a rule that allows nothing besides",
        "8: policy.1.name is "one"; allowed is a name that no other rule has",
        "8: policy.1.volume_groups is ["vg0","vg1"]; allowed is a list of some of volume_groups: nothing is ever made in others",
        "9: policy.2.require is "signature"; allowed is signature only together with at least one key in integrity.minisign_keys",
        "11: policy.4.name is "late"; allowed is no rule behind all, which is for every domain: it would never count",
      ]
    `);
  });

  test.each([
    ['policy: []', 'a list of at least one rule'],
    ['policy:', 'a list'],
    ['policy: {name: a}', 'a list'],
    ['policy: [web]', 'a mapping of keys to values'],
    ['policy: [{name: a, domains: [*-web]}]', 'or "*name" if it is a pattern'],
  ])('refuses %s', (text, said) => {
    expect(mistakesOf(`${minimal()}${text}\n`)).toEqual([expect.stringContaining(said)]);
  });
});

describe('minio.addresses', () => {
  const withAddresses = (text: string, endpoint = 'https://minio.test:9000') =>
    minimal().replace('https://minio.test:9000', `${endpoint}\n  addresses: ${text}`);

  test('are addresses and ranges of both kinds', () => {
    const file = write(withAddresses('[10.1.2.0/24, 10.1.3.4, "fd00:7::/64", "::1"]'));
    expect(loadConfig({ path: file, env: {} }).config.minio.addresses).toEqual([
      { address: '10.1.2.0', prefix: 24, family: 'ipv4' },
      { address: '10.1.3.4', prefix: 32, family: 'ipv4' },
      { address: 'fd00:7::', prefix: 64, family: 'ipv6' },
      { address: '::1', prefix: 128, family: 'ipv6' },
    ]);
  });

  test.each(['[]', '10.0.0.0/8', '[10.0.0.0/33]', '["::1/129"]', '[minio.test]', '[10.0.0.0/-1]', '[10.1]'])(
    'refuse %s',
    (text) => {
      expect(mistakesOf(withAddresses(text))).toEqual([
        expect.stringMatching(
          /^3: minio\.addresses is .*; allowed is a list of at least one address or range, such as 10\.1\.2\.0\/24 or fd00:7::\/64$/,
        ),
      ]);
    },
  );

  test('hold the endpoint, where that is an address', () => {
    expect(mistakesOf(withAddresses('[10.1.2.0/24]', 'https://10.1.3.1:9000'))).toEqual([
      '2: minio.endpoint is "https://10.1.3.1:9000"; allowed is an address within minio.addresses',
    ]);
    expect(mistakesOf(withAddresses('["fd00::/8"]', 'https://[::1]:9000'))).toHaveLength(1);
    expect(mistakesOf(withAddresses('[10.1.2.0/24]', 'https://10.1.2.1:9000'))).toEqual([]);
    expect(mistakesOf(withAddresses('[10.1.2.0/24]'))).toEqual([]);
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
        "The environment variable PORT is ignored: the HTTP API is set up under http in the configuration file, see docs/migrating.md.",
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

  test('MINIO_USE_SSL=false is no leave for plain http to another machine, only minio.allow_http is', () => {
    const env = { MINIO_ENDPOINT: 'minio.test:9000', MINIO_USE_SSL: 'false' };
    const text = minimal().replace('  endpoint: https://minio.test:9000\n', '');
    expect(mistakesOf(text, env)).toEqual([
      'environment variable MINIO_ENDPOINT: minio.endpoint is "http://minio.test:9000"; allowed is an https URL; plain http only for this machine itself, or with minio.allow_http: true',
    ]);
    expect(mistakesOf(text.replace('minio:\n', 'minio:\n  allow_http: true\n'), env)).toEqual([]);
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

describe('http', () => {
  const http = (text: string) => `${minimal()}http:\n${text.replace(/^/gm, '  ')}\n`;
  const tls = 'tls: {cert_file: /c, key_file: /k}\n';
  const sound = `listen: 0.0.0.0:8080\n${tls}tokens_file: /t\nidentities: [{token: ci, verbs: [read]}]`;

  test('left out, nothing listens', () => {
    expect(loadConfig({ path: write(minimal()), env: {} }).config.http).toBeUndefined();
  });

  test('says who may do what, and the rest has defaults', () => {
    expect(loadConfig({ path: write(http(sound)), env: {} }).config.http).toEqual({
      ...{ host: '0.0.0.0', port: 8080, tokensFile: '/t', pool: undefined, imageHosts: [] },
      tls: { certFile: '/c', keyFile: '/k', clientCaFile: undefined },
      identities: [{ token: 'ci', verbs: ['read'], volumePrefixes: [] }],
      ...{
        metricsOpenTo: 'loopback',
        requestsPerSecondMax: 2_000,
        failuresPerMinuteMax: 30,
        connectionsMax: 256,
      },
    });
  });

  test('the example in the example file is sound', () => {
    const example = readFileSync(
      path.resolve(import.meta.dirname, '../../systemd/config.example.yaml'),
      'utf8',
    );
    const [section = ''] = /^# http:\n(#.*\n)+/m.exec(example) ?? [];
    expect(mistakesOf(`${minimal()}${section.replaceAll(/^# /gm, '')}`)).toEqual([]);
  });

  const identities = 'identities: [{token: ci, verbs: [read]}]';
  test.each([
    [
      'a port that only root may open',
      sound.replace('8080', '443'),
      'the service user may not open lower ones',
    ],
    ['a name instead of an address', sound.replace('0.0.0.0', 'host1'), 'an address of this host'],
    ['no TLS', sound.replace(tls, ''), 'without TLS only a loopback address'],
    [
      'no TLS, asked for on all addresses',
      `${sound.replace(tls, '')}\nallow_plain_loopback: true`,
      'without TLS only a loopback',
    ],
    [
      'no TLS on loopback, not asked for',
      `listen: 127.0.0.1:8080\ntokens_file: /t\n${identities}`,
      'without TLS',
    ],
    ['no authentication', `listen: 0.0.0.0:8080\n${tls}${identities}`, 'a file of tokens'],
    ['nobody', sound.replace(/identities.*/, 'identities: []'), 'at least one identity'],
    [
      'an identity of two kinds',
      sound.replace('{token', '{certificate: ci, token'),
      'either certificate or token',
    ],
    [
      'an identity by a certificate that nobody checks',
      sound.replace('{token', '{certificate'),
      'only with http.tls.client_ca_file',
    ],
    ['a verb that there is not', sound.replace('[read]', '[write]'), 'at least one of read, provision'],
    [
      'a beginning of no name',
      sound.replace('[read]', '[read], volume_prefixes: ["-"]'),
      'beginning of names',
    ],
  ])('refuses %s', (_what, text, why) => {
    expect(mistakesOf(http(text)).join('\n')).toContain(why);
  });

  test('without TLS listens on loopback when asked for', () => {
    const text = `listen: "[::1]:8080"\nallow_plain_loopback: true\ntokens_file: /t\n${identities}`;
    expect(loadConfig({ path: write(http(text)), env: {} }).config.http).toMatchObject({
      host: '::1',
      tls: undefined,
    });
  });
});

describe('tracing', () => {
  const tracing = (text: string) => `${minimal()}tracing:\n${text.replace(/^/gm, '  ')}\n`;
  const https = 'endpoint: https://otel.test:4318';

  test('left out, there are no traces', () => {
    expect(loadConfig({ path: write(minimal()), env: {} }).config.tracing).toBeUndefined();
  });

  test('says where they are sent, with the files read', () => {
    const ca = write('-----BEGIN CERTIFICATE-----');
    const authorization = write('Bearer hunter2\n');
    const text = tracing(`${https}/prefix\nca_file: ${ca}\nauthorization_file: ${authorization}`);
    const { config } = loadConfig({ path: write(text), env: {} });
    expect(config.tracing).toMatchObject({
      endpoint: new URL('https://otel.test:4318/prefix'),
      ca: '-----BEGIN CERTIFICATE-----',
    });
    expect(config.tracing?.authorization?.reveal()).toBe('Bearer hunter2');
    expect(JSON.stringify(config) + inspect(config, { depth: 9 })).not.toContain('hunter2');
  });

  test('the example in the example file is sound but for its files', () => {
    const example = readFileSync(
      path.resolve(import.meta.dirname, '../../systemd/config.example.yaml'),
      'utf8',
    );
    const [section = ''] = /^# tracing:\n(#.*\n)+/m.exec(example) ?? [];
    const mistakes = mistakesOf(`${minimal()}${section.replaceAll(/^# /gm, '')}`);
    expect(mistakes).toHaveLength(2);
    for (const mistake of mistakes) expect(mistake).toMatch(/^tracing\.\w+_file: .* cannot be read: ENOENT$/);
  });

  test.each([
    ['no endpoint', 'allow_http: false', 'tracing.endpoint is missing'],
    ['plain http to others', 'endpoint: http://otel.test:4318', 'an https URL; plain http only for'],
    ['a user in the URL', 'endpoint: https://me:hunter2@otel.test', 'without user, query or fragment'],
    ['another scheme', 'endpoint: grpc://otel.test:4317', 'a URL such as https://otel'],
    ['an unknown key', `${https}\nheaders: {a: hunter2}`, 'tracing.headers: there is no such key'],
    [
      'a secret over plain http',
      'endpoint: http://otel.test\nallow_http: true\nauthorization_file: /a',
      'a file only with an https endpoint',
    ],
  ])('refuses %s', (_what, text, mistake) => {
    const mistakes = mistakesOf(tracing(text));
    expect(mistakes).toEqual([expect.stringContaining(mistake)]);
    expect(mistakes.join()).not.toContain('hunter2');
  });

  test('refuses a file that others can read, one that is not there and one that is no certificate, all at once', () => {
    const authorization = write('Bearer hunter2', 0o644);
    const text = tracing(`${https}\nca_file: ${write('none')}\nauthorization_file: ${authorization}`);
    expect(mistakesOf(text)).toEqual([
      expect.stringMatching(/^tracing.ca_file: .* holds no certificate/),
      expect.stringMatching(/^tracing.authorization_file: .* has mode 0644/),
    ]);
  });

  test('refuses an authorization of two lines, which no header can have', () => {
    const text = tracing(`${https}\nauthorization_file: ${write('Bearer\nhunter2')}`);
    expect(mistakesOf(text)).toEqual([expect.stringContaining('is not one line of text')]);
  });

  test.each(['endpoint: http://127.0.0.1:4318', 'endpoint: http://otel.test\nallow_http: true'])(
    'takes plain http where that is right: %s',
    (text) => {
      expect(mistakesOf(tracing(text))).toEqual([]);
    },
  );
});
