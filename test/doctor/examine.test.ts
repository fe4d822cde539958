/**
 * Goal: every check sees what it is for, says it without ever showing a secret, and --fix mends what it says it can
 * and touches nothing else. Method: a host in memory on which all is well is broken in one way at a time.
 */
import { describe, expect, it } from 'vitest';
import type { Check } from '../../src/doctor/check.ts';
import { CHECKS } from '../../src/doctor/checks.ts';
import { examine } from '../../src/doctor/examine.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import { Report } from '../../src/doctor/finding.ts';
import { BREAKAGES } from './breakages.ts';
import { withKeys } from './breakages/breakage.ts';
import { encryptKeys } from './breakages/credentials.ts';
import { offerKeys } from './breakages/keys.ts';
import { offerHttp } from './breakages/http-api.ts';
import { ACCESS_KEY, ETC, FakeHost, SECRET_KEY, SERVICE_UID } from './fake-host.ts';

const look = (host: FakeHost, fix = false) => examine(host, { checks: CHECKS, fix });

function findingOf(report: Report, id: string): Finding {
  return report.findings.find((finding) => finding.id === id) ?? expect.fail(`there is no check ${id}`);
}

describe('a host on which all is well', () => {
  it('has no other findings than what nobody can see from there', async () => {
    const report = await look(new FakeHost());
    const odd = report.findings.filter(({ severity }) => severity !== 'ok');
    expect(odd.map(({ id, severity }) => `${severity} ${id}`)).toEqual(['info updates.backups']);
    expect(report.worst).toBe('info');
    expect(Report.parse(report)).toEqual(report);
  });

  it.each([
    [
      'libvirt is modular',
      (host: FakeHost): void => {
        host.becomeModular();
      },
    ],
    ['the keys are encrypted', encryptKeys],
    ['the HTTP API is set up', offerHttp],
    ['there are keys of encrypted volumes', offerKeys],
  ])('is well also where %s', async (_, alter) => {
    const host = new FakeHost();
    alter(host);
    const odd = (await look(host)).findings.filter(({ severity }) => severity !== 'ok');
    expect(odd.map(({ id, severity }) => `${severity} ${id}`)).toEqual(['info updates.backups']);
  });

  it('is not changed by --fix', async () => {
    const host = new FakeHost();
    const report = await look(host, true);
    expect(host.changes).toEqual([]);
    expect(report.repairs).toEqual([]);
  });
});

describe('each check', () => {
  it('has a breakage of its own', () => {
    const broken = new Set(BREAKAGES.map(({ id }) => id));
    expect(CHECKS.map(({ id }) => id).filter((id) => !broken.has(id))).toEqual([]);
  });

  it('has an id of its own, that begins with its group', () => {
    const ids = CHECKS.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^[a-z]+(\.[a-z-]+){1,2}$/);
  });

  it.each(BREAKAGES.map((breakage, index) => ({ ...breakage, index })))(
    '$id sees breakage $index ($severity)',
    async ({ id, breaks, severity, says }) => {
      const host = new FakeHost();
      breaks(host);
      const finding = findingOf(await look(host), id);
      expect(finding.what).toMatch(says);
      expect(finding.severity).toBe(severity);
      expect(finding.fix).toMatch(/.{10}/);
      expect(host.changes).toEqual([]);
    },
  );

  it.each(
    BREAKAGES.map((breakage, index) => ({ ...breakage, index })).filter(({ severity }) => severity !== 'ok'),
  )('$id is mended by --fix, or says that it is not (breakage $index)', async ({ id, breaks, fixed }) => {
    const host = new FakeHost();
    breaks(host);
    expect(findingOf(await look(host), id).fixable).toBe(fixed === true);
    const report = await look(host, true);
    const { severity } = findingOf(report, id);
    if (fixed === true) {
      expect(severity).toBe('ok');
      expect(report.repairs.map(({ done }) => done)).toContain(true);
      expect(report.repairs.flatMap(({ ids }) => ids)).toContain(id);
    } else {
      expect(severity).not.toBe('ok');
    }
  });
});

describe('--fix', () => {
  it('installs the hook once, and reloads libvirt once, however much is wrong with it', async () => {
    const host = new FakeHost();
    const hook = '/etc/libvirt/hooks/qemu.d/50-libvirt-volume-provisioner';
    host.alter(hook, { mode: 0o666, uid: 1000, text: 'exit 0\n' });
    const report = await look(host, true);
    expect(host.changes.filter((change) => change === 'hook')).toHaveLength(1);
    expect(report.repairs.find(({ what }) => what.startsWith('installed'))?.ids).toEqual([
      'hook.executable',
      'hook.owner',
      'hook.unchanged',
    ]);
  });

  it('leaves a key to the service that reads it', async () => {
    const host = new FakeHost();
    const key = `${ETC}/credentials/minio-secret-key`;
    host.alter(key, { mode: 0o640, uid: SERVICE_UID });
    await look(host, true);
    expect(host.files.get(key)).toMatchObject({ mode: 0o600, uid: SERVICE_UID });
  });

  it('says what it could not do, and goes on', async () => {
    const host = new FakeHost();
    host.units.daemon['UnitFileState'] = 'disabled';
    host.alter(ETC, { mode: 0o777 });
    host.change = () => Promise.reject(new Error('read-only file system'));
    const report = await look(host, true);
    expect(report.repairs.find(({ done }) => !done)).toEqual({
      ...{ ids: ['units.daemon.enabled'], done: false, what: 'read-only file system' },
    });
    expect(findingOf(report, 'files.config-folder').severity).toBe('ok');
  });
});

describe('a check that cannot be made', () => {
  const broken = (check: Partial<Check>): Check => ({
    ...{ id: 'health.x', title: 'x', why: 'x', source: 'x', fix: 'x' },
    look: () => Promise.reject(new Error('no such thing')),
    ...check,
  });

  it('is unknown with the reason, whatever it throws', async () => {
    const throwing = () => {
      throw new TypeError('at once');
    };
    const checks = [broken({}), broken({ id: 'hook.x', look: throwing })];
    const { findings, worst } = await examine(new FakeHost(), { checks, fix: false });
    expect(findings.map(({ severity }) => severity)).toEqual(['unknown', 'unknown']);
    expect(findings.map(({ what }) => what).join()).toMatch(/no such thing.*at once/);
    expect(worst).toBe('unknown');
  });

  it('is left when the time of all is over, and those after it are not begun', async () => {
    const never = broken({ look: () => new Promise<never>(() => undefined) });
    const checks = [never, broken({ id: 'health.y' })];
    const startedMs = performance.now();
    const { findings } = await examine(new FakeHost(), { checks, fix: false, timeMaxMs: 50 });
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    expect(findings.map(({ what }) => what).join()).toMatch(/no answer within.*no time left/);
  });

  it('is so for all when nothing answers, and nothing is thrown', async () => {
    const host = new FakeHost();
    const silent = () => Promise.resolve({ is: 'unknown', why: 'permission denied' } as const);
    const mute = Object.assign(host, {
      ...{
        readText: silent,
        stat: silent,
        list: silent,
        run: silent,
        listeners: silent,
        hostListeners: silent,
      },
      ...{ config: silent, store: silent, domains: silent, garbage: silent, isRoot: false },
    });
    const { findings } = await examine(mute, { checks: CHECKS, fix: true });
    expect(findings.filter(({ severity }) => severity === 'ok').map(({ id }) => id)).toEqual([
      'updates.node',
    ]);
    expect(findings.find(({ id }) => id === 'files.config')?.what).toMatch(/permission denied .*run as root/);
    expect(host.changes).toEqual([]);
  });
});

describe('no secret is ever said', () => {
  const everywhere = (host: FakeHost) => {
    const text = `x ${SECRET_KEY} ${ACCESS_KEY}`;
    host.append(host.configPath, `  secret_key: ${SECRET_KEY}\n`);
    host.units.daemon['Environment'] = `MINIO_SECRET_KEY=${SECRET_KEY} MINIO_ACCESS_KEY=${ACCESS_KEY}`;
    host.append('/proc/4711/environ', `MINIO_SECRET_KEY=${SECRET_KEY}\0`);
    for (const path of ['/etc/libvirt/qemu.conf', '/etc/libvirt/libvirtd.conf', '/etc/fstab'])
      host.append(path, `${text}\n`);
    host.append('/etc/libvirt/qemu/web1.xml', `<graphics passwd='${SECRET_KEY}'/>`);
  };

  it('when every file, environment and program that may hold one does', async () => {
    const host = new FakeHost();
    everywhere(host);
    for (const command of ['firewall-chains', 'packages-own', 'journald-settings'] as const)
      host.says(command, `${SECRET_KEY} ${ACCESS_KEY}`);
    const said = JSON.stringify(await look(host, true));
    expect(said).not.toContain(SECRET_KEY);
    expect(said).not.toContain(ACCESS_KEY);
  });

  it('when nobody knows that it is one, because the configuration is wrong', async () => {
    const host = new FakeHost();
    everywhere(host);
    host.configMistake = 'it has mistakes';
    const said = JSON.stringify(await look(host, true));
    expect(said).not.toContain(SECRET_KEY);
    expect(said).not.toContain(ACCESS_KEY);
  });

  it('when a program puts one into its complaint', async () => {
    const host = new FakeHost();
    host.commands.set('volume-groups', { is: 'unknown', why: `bad word ${SECRET_KEY}` });
    const report = await look(host);
    expect(findingOf(report, 'lvm.groups').what).toContain('bad word [redacted]');
    expect(JSON.stringify(report)).not.toContain(SECRET_KEY);
  });

  it('and a short or usual key does not black out the words around it', async () => {
    const host = new FakeHost();
    withKeys(host, 'minioadmin', 'a');
    expect(findingOf(await look(host), 'credentials.not-default').what).toContain("'minioadmin'");
  });
});
