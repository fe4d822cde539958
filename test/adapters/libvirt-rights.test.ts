/** What the bus lets the daemon call of libvirt is what the daemon calls, and nothing else. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { CALLED } from '../../src/adapters/libvirt-dbus/rights.ts';

const UNIT = 'libvirt-volume-provisioner';
const systemdFile = (name: string) => readFileSync(new URL(`../../systemd/${name}`, import.meta.url), 'utf8');

it('the policy of the bus names each method that is called, and no other', () => {
  const rules = [...systemdFile(`${UNIT}.dbus.conf`).matchAll(/<(\/?\w+)((?: \w+="[^"]*")*)\/?>/g)].map(
    ([, element = '', attributes = '']) => `${element}${attributes}`,
  );
  const allowed = Object.entries(CALLED).flatMap(([name, members]) =>
    members.map(
      (member) => `allow send_destination="org.libvirt" send_interface="${name}" send_member="${member}"`,
    ),
  );
  expect(rules).toEqual(['busconfig', `policy user="${UNIT}"`, ...allowed, '/policy', '/busconfig']);
});

it('the daemon is in no group that may do more', () => {
  const unit = systemdFile(`${UNIT}.service`);
  expect(unit).not.toContain('SupplementaryGroups=');
  expect(systemdFile(`${UNIT}.sysusers`)).not.toMatch(/^m /m);
});
