/**
 * What the package's scripts do on hosts that the real tests do not have: libvirt's modular daemons, AppArmor, a
 * reload that fails. They work below DPKG_ROOT, and the system's programs are stand-ins that note their words.
 */
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync } from 'node:fs';
import { readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CHECKOUT } from '../../packaging/runtime-packages.ts';

const NAME = 'libvirt-volume-provisioner';
const HOOK = `etc/libvirt/hooks/qemu.d/50-${NAME}`;
const PROFILES = [NAME, `${NAME}-helper`];

const STAND_INS = [
  ...['aa-enabled', 'apparmor_parser', 'deb-systemd-helper', 'deb-systemd-invoke', 'lvs', 'systemctl'],
  ...['systemd-sysusers', 'systemd-tmpfiles', 'udevadm'],
];
/** It notes its words, fails if they stand in fails, and knows which units are active. */
const STAND_IN = `#!/bin/sh
said="\${0##*/} $*"
case $said in
  'systemctl is-active --quiet '*) grep -qxF "$3" "$FAKES/active"; exit ;;
esac
echo "$said" >>"$FAKES/said"
! grep -qxF "$said" "$FAKES/fails"
`;

let folder = '';
const path = (name: string): string => join(folder, 'root', name);
const fake = (name: string): string => join(folder, 'fakes', name);

function write(name: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(name), { recursive: true });
  writeFileSync(name, text);
  chmodSync(name, mode);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-scripts-'));
  for (const name of STAND_INS) write(fake(name), STAND_IN, 0o755);
  write(fake('active'), 'libvirtd.service\n');
  write(fake('fails'), 'aa-enabled --quiet\n');
  mkdirSync(path('run/systemd/system'), { recursive: true });
  cpSync(join(CHECKOUT, 'hooks'), path(`usr/lib/${NAME}/hooks`), { recursive: true });
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Runs one of the scripts as dpkg does; answers what the system's programs were told, and what was printed. */
async function run(script: string, ...words: readonly string[]): Promise<{ told: string[]; said: string }> {
  write(fake('said'), '');
  const { all } = await execa(join(CHECKOUT, 'packaging', script), words, {
    extendEnv: false,
    env: {
      PATH: `${join(folder, 'fakes')}:/usr/sbin:/usr/bin:/sbin:/bin`,
      ...{ DPKG_ROOT: join(folder, 'root'), FAKES: join(folder, 'fakes') },
    },
    all: true,
  });
  const told = readFileSync(fake('said'), 'utf8').split('\n').slice(0, -1);
  return { told: told.map((line) => line.replaceAll(path(''), '')), said: all };
}

const reloads = (told: readonly string[]): readonly string[] =>
  told.filter((line) => /^systemctl reload (?!dbus)/.test(line));
const profilesToldOf = (told: readonly string[]): readonly string[] =>
  told.filter((line) => line.startsWith('apparmor_parser '));
const placeIn = (told: readonly string[], words: string): number =>
  told.findIndex((line) => line.startsWith(words));

describe('the hook', () => {
  it.each([
    ['the one daemon', ['libvirtd'], ['libvirtd']],
    ['modular daemons', ['virtqemud', 'virtstoraged', 'virtsecretd'], ['virtqemud']],
    ['a daemon that will be started by its socket', ['virtstoraged'], []],
  ])('is made known to %s', async (_, active, reloaded) => {
    write(fake('active'), active.map((daemon) => `${daemon}.service\n`).join(''));
    const { told } = await run('postinst', 'configure', '');
    expect(readFileSync(path(HOOK), 'utf8')).toBe(readFileSync(join(CHECKOUT, 'hooks/qemu'), 'utf8'));
    expect(statSync(path(HOOK)).mode & 0o777).toBe(0o755);
    expect(reloads(told)).toEqual(reloaded.map((daemon) => `systemctl reload ${daemon}.service`));
    // Before it is taken away, libvirt must not ask a daemon that has gone.
    const { told: removing } = await run('prerm', 'remove');
    expect(existsSync(path(HOOK))).toBe(false);
    expect(reloads(removing)).toEqual(reloads(told));
    if (reloaded.length > 0) expect(removing[0]).toBe(reloads(told)[0]);
    expect(removing).toContain(`deb-systemd-invoke stop ${NAME}.service`);
  });

  it('is told of once, and stands beside those of others', async () => {
    write(path('etc/libvirt/hooks/qemu'), 'foreign', 0o700);
    await run('postinst', 'configure', '');
    const { told } = await run('postinst', 'configure', '0.1.0');
    expect(reloads(told)).toEqual([]);
    await run('prerm', 'remove');
    expect(readFileSync(path('etc/libvirt/hooks/qemu'), 'utf8')).toBe('foreign');
  });

  it('stays when the package is upgraded, and while libvirt cannot be reloaded', async () => {
    write(fake('fails'), 'systemctl reload libvirtd.service\naa-enabled --quiet\n');
    const { told, said } = await run('postinst', 'configure', '');
    expect(said).toContain('systemctl reload libvirtd');
    expect(told).toContain(`deb-systemd-invoke restart ${NAME}-helper.socket ${NAME}.service`);
    await run('prerm', 'upgrade', '0.2.0');
    expect(existsSync(path(HOOK))).toBe(true);
  });

  it('is put there also where no systemd runs', async () => {
    rmSync(path('run/systemd'), { recursive: true });
    const { told } = await run('postinst', 'configure', '');
    expect(existsSync(path(HOOK))).toBe(true);
    expect(told.filter((line) => /^(systemctl|deb-systemd-invoke|udevadm) /.test(line))).toEqual([]);
  });
});

describe('AppArmor profiles', () => {
  const link = (profile: string): string => path(`etc/apparmor.d/force-complain/${profile}`);
  function unpack(): void {
    for (const profile of PROFILES) write(path(`etc/apparmor.d/${profile}`), '');
  }

  it('only complain, until somebody decides otherwise', async () => {
    await run('preinst', 'install');
    unpack();
    expect(PROFILES.map((profile) => readlinkSync(link(profile)))).toEqual(
      PROFILES.map((name) => `../${name}`),
    );
    rmSync(link(NAME));
    await run('preinst', 'upgrade', '0.1.0');
    expect(PROFILES.map((profile) => existsSync(link(profile)))).toEqual([false, true]);
  });

  it('are none of our business without AppArmor', async () => {
    unpack();
    expect(profilesToldOf((await run('postinst', 'configure', '')).told)).toEqual([]);
    expect(profilesToldOf((await run('postrm', 'remove')).told)).toEqual([]);
  });

  it('are loaded before the units start, but for one that was deleted, and unloaded in the end', async () => {
    write(fake('fails'), '');
    unpack();
    const { told } = await run('postinst', 'configure', '');
    expect(profilesToldOf(told)).toEqual(
      PROFILES.map(
        (name) => `apparmor_parser --quiet --replace --skip-read-cache --write-cache /etc/apparmor.d/${name}`,
      ),
    );
    expect(placeIn(told, 'apparmor_parser ')).toBeLessThan(placeIn(told, 'deb-systemd-invoke restart'));
    rmSync(path(`etc/apparmor.d/${NAME}`));
    expect(profilesToldOf((await run('postinst', 'configure', '0.1.0')).told)).toHaveLength(1);
    expect(profilesToldOf((await run('postrm', 'remove')).told)).toEqual([
      `apparmor_parser --remove /etc/apparmor.d/${NAME}-helper`,
    ]);
  });

  it('that AppArmor does not take stop nothing', async () => {
    unpack();
    const words = '--quiet --replace --skip-read-cache --write-cache';
    write(fake('fails'), `apparmor_parser ${words} ${path(`etc/apparmor.d/${NAME}`)}\n`);
    const { told, said } = await run('postinst', 'configure', '');
    expect(said).toContain(`does not take the profile ${NAME}`);
    expect(placeIn(told, 'deb-systemd-invoke restart')).toBeGreaterThan(0);
  });

  it('leave nothing behind when the package is purged', async () => {
    await run('preinst', 'install');
    write(path(`etc/apparmor.d/local/${NAME}`), '/srv/state/** rwk,\n');
    write(path('etc/apparmor.d/local/other'), '');
    await run('postrm', 'purge');
    expect(PROFILES.filter((name) => lstatSync(link(name), { throwIfNoEntry: false }) !== undefined)).toEqual(
      [],
    );
    expect(existsSync(path(`etc/apparmor.d/local/${NAME}`))).toBe(false);
    expect(existsSync(path('etc/apparmor.d/local/other'))).toBe(true);
  });
});
