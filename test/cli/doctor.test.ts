/**
 * Goal: what lvp doctor prints, and how it exits. Method: reports made up, and the real program as a child process on
 * this machine, which is no host of guests: it must say so in good order, whatever is there or not.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { exitCodeOfReport } from '../../src/cli/doctor.ts';
import { reportText } from '../../src/cli/doctor/doctor-text.ts';
import type { Finding, Severity } from '../../src/doctor/finding.ts';
import { countBySeverity, Report, worstOf } from '../../src/doctor/finding.ts';

const cli = path.resolve(import.meta.dirname, '../../src/cli.ts');

function finding(id: string, severity: Severity, more: Partial<Finding> = {}): Finding {
  return {
    ...{ id, severity, title: `title of ${id}`, what: `what of ${id}`, why: 'Because.' },
    ...{ source: 'some document', fix: 'Do it.', fixable: false, ...more },
  };
}

function reportOf(...findings: Finding[]): Report {
  return { version: '1', worst: worstOf(findings), counts: countBySeverity(findings), findings, repairs: [] };
}

describe('the report', () => {
  const mixed = reportOf(
    finding('hook.present', 'ok'),
    finding('hook.known', 'warn', { fixable: true }),
    finding('files.config', 'fail'),
    finding('files.ledger', 'unknown'),
  );

  test('has a line for each check in its group, details of what is wrong, worst first, and numbers', () => {
    expect(reportText(mixed, false)).toMatchInlineSnapshot(`
      "hook
        ok       hook.present: what of hook.present
        warn     hook.known: what of hook.known

      files
        fail     files.config: what of files.config
        unknown  files.ledger: what of files.ledger

      fail     files.config: title of files.config
          what: what of files.config
          why:  Because. (some document)
          fix:  Do it.

      warn     hook.known: title of hook.known
          what: what of hook.known
          why:  Because. (some document)
          fix:  Do it. lvp doctor --fix does it.

      4 checks: 1 failed, 1 warnings, 1 unknown, 0 to know, 1 ok; 1 can be repaired with --fix"
    `);
  });

  test('says what was repaired and what was not', () => {
    const repairs = [
      { ids: ['hook.present', 'hook.known'], done: true, what: 'installed it' },
      { ids: ['files.config'], done: false, what: 'read-only file system' },
    ];
    expect(reportText({ ...mixed, repairs }, false)).toContain(
      'repairs\n  done: installed it (hook.present, hook.known)\n  not done: read-only file system (files.config)',
    );
  });

  test('is coloured where it is asked for, and only the severities are', () => {
    expect(reportText(mixed, true)).toContain('\u001b[31mfail   \u001b[39m  files.config: what');
    expect(reportText(mixed, false)).not.toContain('\u001b');
  });

  test.each([
    [['ok', 'info'], 0],
    [['ok', 'unknown'], 7],
    [['warn', 'unknown'], 7],
    [['ok', 'warn', 'fail'], 8],
  ] as const)('of %j ends with %i', (severities, code) => {
    const findings = severities.map((severity, index) => finding(`hook.x${index}`, severity));
    expect(exitCodeOfReport(reportOf(...findings))).toBe(code);
  });
});

describe('lvp doctor', () => {
  test('prints its report as JSON wherever it is run, without the keys, and fails where there is no hook', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'lvp-doctor-'));
    const secret = 'a-secret-key-that-is-long-enough-to-be-one';
    const keys = [path.join(folder, 'access'), path.join(folder, 'secret')] as const;
    await writeFile(keys[0], 'an-access-key', { mode: 0o600 });
    await writeFile(keys[1], secret, { mode: 0o600 });
    const config = path.join(folder, 'config.yaml');
    const minio = `minio: {endpoint: 'http://127.0.0.1:1', access_key_file: ${keys[0]}, secret_key_file: ${keys[1]}}`;
    await writeFile(config, `${minio}\nvolume_groups: [vg0]\nstate_dir: ${folder}\n# ${secret}\n`);
    const args = ['doctor', '--json', '--config', config, '--socket', path.join(folder, 'none')];
    const { stdout, stderr, exitCode } = await execa(process.execPath, [cli, ...args], { reject: false });
    await rm(folder, { recursive: true });
    const report = Report.parse(JSON.parse(stdout));
    const severityOf = (id: string) => report.findings.find((found) => found.id === id)?.severity;
    expect(severityOf('store.reachable')).toBe('fail');
    expect(severityOf('credentials.not-in-configuration')).toBe('fail');
    expect(severityOf('health.config')).toBe('ok');
    expect(stdout + stderr).not.toContain(secret);
    expect(stderr).toBe('');
    expect(exitCode).toBe(8);
  });
});
