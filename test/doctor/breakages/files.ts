import { LIBRARY, USER } from '../../../src/doctor/names.ts';
import { ETC, STATE } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

const CONTROL = '/run/libvirt-volume-provisioner/control.sock';

export const FILES: readonly Breakage[] = [
  breakage(
    'files.config-folder',
    (host) => {
      host.alter(ETC, { mode: 0o755 });
    },
    'fail',
    /mode 0755/,
    true,
  ),
  breakage(
    'files.config-folder',
    (host) => {
      host.alter(ETC, { uid: 990 });
    },
    'fail',
    /user 990/,
    true,
  ),
  breakage(
    'files.config',
    (host) => {
      host.alter(host.configPath, { mode: 0o666 });
    },
    'fail',
    /mode 0666/,
    true,
  ),
  breakage(
    'files.config',
    (host) => {
      host.alter(host.configPath, { uid: 1000 });
    },
    'fail',
    /user 1000/,
  ),
  breakage(
    'files.program',
    (host) => {
      host.alter(`${LIBRARY}/hooks/qemu`, { mode: 0o666 });
    },
    'fail',
    /hooks\/qemu/,
  ),
  breakage(
    'files.config',
    (host) => {
      host.alter(host.configPath, { gid: 100 });
    },
    'fail',
    /group 100/,
    true,
  ),
  breakage(
    'files.config',
    (host) => {
      host.alter(host.configPath, { kind: 'link' });
    },
    'fail',
    /no file/,
  ),
  breakage(
    'files.state-folder',
    (host) => {
      host.alter(STATE, { mode: 0o755, uid: 0 });
    },
    'fail',
    /0755.*user 0/,
    true,
  ),
  breakage(
    'files.ledger',
    (host) => {
      host.alter(`${STATE}/ledger.db`, { mode: 0o644 });
    },
    'fail',
    /0644/,
    true,
  ),
  breakage(
    'files.ledger',
    (host) => {
      host.alter(`${STATE}/ledger.db`, { uid: 0 });
    },
    'fail',
    /user 0/,
  ),
  breakage(
    'files.control-socket',
    (host) => {
      host.alter(CONTROL, { mode: 0o666 });
    },
    'fail',
    /0666/,
  ),
  breakage(
    'files.control-group',
    (host) => {
      host.append('/etc/group', '');
      host.alter('/etc/group', { text: 'libvirt-volume-provisioner:x:991:eve\n' });
    },
    'info',
    /eve/,
  ),
  breakage(
    'files.program',
    (host) => {
      host.alter(`${LIBRARY}/src/helper/main.ts`, { mode: 0o666 });
    },
    'fail',
    /helper\/main\.ts/,
  ),
  breakage(
    'files.program',
    (host) => {
      host.alter(`${LIBRARY}/bin/node`, { uid: 1000 });
    },
    'fail',
    /bin\/node/,
  ),
  breakage(
    'files.udev-rule',
    (host) => {
      host.file('/etc/udev/rules.d/60-libvirt-volume-provisioner.rules', 0o644, { uid: 0, gid: 0 }, '');
    },
    'fail',
    /in its place/,
  ),
  breakage(
    'files.udev-rule',
    (host) => {
      host.alter('/usr/lib/udev/rules.d/60-libvirt-volume-provisioner.rules', {
        text: 'ENV{DM_VG_NAME}=="vg0", OWNER="x"',
      });
    },
    'fail',
    /not ours/,
  ),
  breakage(
    'files.udev-rule',
    (host) => {
      const path = '/usr/lib/udev/rules.d/60-libvirt-volume-provisioner.rules';
      const rule = host.files.get(path)?.text ?? '';
      host.alter(path, { text: rule.replace('MODE="0600"', `OWNER="${USER}", MODE="0600"`) });
    },
    'fail',
    /not ours/,
  ),
  breakage(
    'files.udev-rule',
    (host) => {
      host.alter('/usr/lib/udev/rules.d/60-libvirt-volume-provisioner.rules', {
        text: 'ENV{DM_LV_NAME}=="lvp-fill-[0-9a-f]*", MODE="0600"\nENV{DM_NAME}=="lvp-crypt-[0-9a-f]*", MODE="0600"',
      });
    },
    'fail',
    /not ours/,
  ),
];
