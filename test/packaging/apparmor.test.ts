/**
 * AppArmor's own parser on the profiles. No kernel of a test enforces them: what they allow is not tested, and so
 * they are installed to complain only (packaging/preinst).
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHECKOUT } from '../../packaging/runtime-packages.ts';

const PROFILES = ['libvirt-volume-provisioner', 'libvirt-volume-provisioner-helper'];

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-apparmor-'));
  cpSync(join(CHECKOUT, 'packaging/apparmor'), folder, { recursive: true });
  mkdirSync(join(folder, 'force-complain'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const parse = (profile: string, ...options: readonly string[]) =>
  execa('apparmor_parser', [
    ...['--base', folder, '--Include', '/etc/apparmor.d', '--skip-kernel-load', '--skip-cache'],
    ...[...options, join(folder, profile)],
  ]);

const unit = (name: string): string => readFileSync(join(CHECKOUT, `systemd/${name}.service`), 'utf8');
const profileText = (name: string): string =>
  readFileSync(join(CHECKOUT, 'packaging/apparmor', name), 'utf8');

describe.each(PROFILES)('the profile %s', (name) => {
  it('is one for AppArmor, with the name under which the unit asks for it', async () => {
    const { stdout } = await parse(name, '--names');
    expect(stdout).toBe(name);
    // The minus: a host without it runs the unit all the same.
    expect(unit(name)).toContain(`\nAppArmorProfile=-${name}\n`);
    await parse(name);
  });

  it('has no capability that its unit does not have', () => {
    const [, allowed = ''] = /^CapabilityBoundingSet=(.*)$/m.exec(unit(name)) ?? [];
    const wanted = [...profileText(name).matchAll(/^ {2}capability (\w+),$/gm)];
    expect(wanted.map(([, capability = '']) => `CAP_${capability.toUpperCase()}`).sort()).toEqual(
      allowed.split(' ').filter(Boolean).sort(),
    );
  });

  it('complains only, where the package has put the link', async () => {
    symlinkSync(`../${name}`, join(folder, 'force-complain', name));
    const { stderr } = await parse(name);
    expect(stderr).toContain('forcing complain mode');
  });
});
