/** What docs/operate.md says about codes, and its example of a policy, are checked against the program. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/adapters/config-file.ts';
import { EXIT_HELP } from '../../src/cli/program/exit-codes.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { isPassing } from '../../src/core/errors.ts';
import { describeVerdict, judgeFill } from '../../src/core/policy/host-policy.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
// Tables are padded for the eye.
const operate = read('docs/operate.md').replaceAll(/ +/g, ' ');
const codes = [...read('src/core/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map(
  ([, code]) => code as ErrorCode,
);

describe('docs/operate.md', () => {
  it('names every error code', () => {
    expect(codes.length).toBeGreaterThan(20);
    for (const code of codes) expect(operate).toContain(`\`${code}\``);
  });

  it('says of each that is tried again by itself that it is', () => {
    for (const code of codes) {
      const row = operate.split('\n').find((line) => line.startsWith(`| \`${code}\` |`));
      if (row !== undefined)
        expect([code, row.includes('| yes |')]).toEqual([code, isPassing({ code, message: '' })]);
    }
  });

  it('has the exit codes of lvp --help', () => {
    for (const [, code, meaning] of EXIT_HELP.matchAll(/^ {2}(\d) {2}(.*)$/gm)) {
      expect(operate.replaceAll('`', '')).toContain(`| ${code ?? ''} | ${meaning ?? ''} |`);
    }
  });
});

describe('the example of a policy', () => {
  const [, example = ''] = /```yaml\n(policy:\n[^`]*)```/.exec(read('docs/operate.md')) ?? [];
  const folder = mkdtempSync(join(tmpdir(), 'policy-'));
  const path = join(folder, 'config.yaml');
  const key = 'RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3';
  const rest = `minio: {endpoint: https://minio.test}\nvolume_groups: [vg-fast, vg-slow]\nintegrity: {minisign_keys: [${key}]}\n`;
  writeFileSync(path, `${rest}${example}`);
  const env = { MINIO_ACCESS_KEY: 'a', MINIO_SECRET_KEY: 's' };
  const { hostPolicy = [] } = loadConfig({ path, env }).config;
  rmSync(folder, { recursive: true });

  const payroll = '7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01';
  const other = '11111111-1111-4111-8111-111111111111';
  const GIB = 2 ** 30;

  function judged(
    policy: typeof hostPolicy,
    uuid: string,
    name: string,
    key: string,
    vg: string,
    sizeBytes?: number,
  ) {
    const verdict = judgeFill(
      policy,
      { uuid, name },
      {
        request: {
          target: 'vda',
          image: { bucket: 'images', key },
          format: 'qcow2',
          generation: 1,
          sizeBytes,
        },
        location: { pool: 'guests', vg, lv: name },
      },
    );
    return verdict === undefined ? '' : describeVerdict(verdict);
  }

  it('does what the table below it says', () => {
    expect(judged(hostPolicy, payroll, 'prod-payroll', 'payroll/13', 'vg-slow')).toBe(
      'rule payroll allows it',
    );
    expect(hostPolicy[0]?.require).toBe('signature');
    expect(judged(hostPolicy, other, 'prod-payroll', 'payroll/13', 'vg-slow')).toMatch(
      /^rule production refuses it: volume group .*; the image /,
    );
    expect(judged(hostPolicy, other, 'prod-db1', 'prod/db', 'vg-fast')).toBe('rule production allows it');
    expect(judged(hostPolicy, other, 'prod-db1', 'test/db', 'vg-fast')).toMatch(
      /^rule production refuses it/,
    );
    expect(judged(hostPolicy, other, 'win-1', 'win11', 'vg-slow')).toBe('rule no-windows-yet allows nothing');
    const large = judged(hostPolicy, other, 'web1', 'debian-13', 'vg-slow', 80 * GIB);
    expect(large).toMatch(/^rule everybody-else refuses it/);
    expect(operate).toContain(`policy: ${large}`);
    expect(judged(hostPolicy.slice(0, -1), other, 'web1', 'debian-13', 'vg-slow')).toBe('no rule matches');
  });
});
