import { BUS_POLICY } from '../../../src/doctor/names.ts';
import { LIBVIRT_GID } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

const LIBVIRT_SOCKET = '/run/libvirt/libvirt-sock';
const QEMU = '/etc/libvirt/qemu.conf';

export const LIBVIRT: readonly Breakage[] = [
  breakage(
    'libvirt.listen-tcp',
    (host) => {
      host.says('show-libvirt-sockets', 'Id=libvirtd-tcp.socket\nActiveState=active\n');
      host.append('/etc/libvirt/libvirtd.conf', 'auth_tcp = "none"\n');
    },
    'fail',
    /tcp\.socket is active; auth_tcp = none/,
  ),
  breakage(
    'libvirt.listen-tcp',
    (host) => {
      host.hostListening.push('tcp [0000:0000:0000:0000:0000:0000:0000:0000]:16509');
    },
    'fail',
    /16509/,
  ),
  breakage(
    'libvirt.listen-tcp',
    (host) => {
      host.append('/etc/libvirt/libvirtd.conf', 'listen_tcp = 1\n');
    },
    'warn',
    /listen_tcp = 1/,
  ),
  breakage(
    'libvirt.listen-tls',
    (host) => {
      host.hostListening.push('tcp 0.0.0.0:16514');
      host.append('/etc/libvirt/libvirtd.conf', 'tls_no_verify_certificate = 1\n');
    },
    'fail',
    /no certificate is checked/,
  ),
  breakage(
    'libvirt.listen-tls',
    (host) => {
      host.hostListening.push('tcp 0.0.0.0:16514');
    },
    'warn',
    /everybody/,
  ),
  breakage(
    'libvirt.socket',
    (host) => {
      host.alter(LIBVIRT_SOCKET, { mode: 0o777 });
      host.append('/etc/libvirt/libvirtd.conf', 'auth_unix_rw = "none"\n');
    },
    'fail',
    /open to all/,
  ),
  breakage(
    'libvirt.listen-tcp',
    (host) => {
      host.becomeModular();
      host.append('/etc/libvirt/virtproxyd.conf', 'listen_tcp = 1\n');
    },
    'warn',
    /listen_tcp = 1/,
  ),
  breakage(
    'libvirt.listen-tls',
    (host) => {
      host.becomeModular();
      host.hostListening.push('tcp 0.0.0.0:16514');
      host.append('/etc/libvirt/virtproxyd.conf', 'tls_no_verify_certificate = 1\n');
    },
    'fail',
    /no certificate is checked/,
  ),
  breakage(
    'libvirt.socket',
    (host) => {
      host.becomeModular();
      host.alter('/run/libvirt/virtqemud-sock', { mode: 0o666 });
      host.append('/etc/libvirt/virtqemud.conf', 'auth_unix_rw = "none"\n');
    },
    'fail',
    /virtqemud-sock is open to all, and auth_unix_rw is none in virtqemud.conf/,
  ),
  breakage(
    'libvirt.socket',
    (host) => {
      host.becomeModular();
      host.alter(LIBVIRT_SOCKET, { mode: 0o666 });
      host.append('/etc/libvirt/virtproxyd.conf', 'auth_unix_rw = "none"\n');
    },
    'fail',
    /libvirt-sock is open to all/,
  ),
  breakage(
    'libvirt.group',
    (host) => {
      host.alter('/etc/group', { text: 'libvirt:x:64055:eve,bob\n' });
    },
    'info',
    /eve, bob/,
  ),
  breakage(
    'libvirt.migration-address',
    (host) => {
      host.append(QEMU, 'migration_address = "0.0.0.0"\n');
    },
    'warn',
    /all addresses/,
  ),
  breakage(
    'libvirt.migration-address',
    (host) => {
      host.alter(QEMU, { text: '' });
    },
    'info',
    /not set/,
  ),
  breakage(
    'libvirt.migration-tls',
    (host) => {
      host.alter(QEMU, { text: '' });
    },
    'info',
    /each migration/,
  ),
  breakage(
    'libvirt.format-probing',
    (host) => {
      host.append(QEMU, 'allow_disk_format_probing = 1\n');
    },
    'fail',
    /= 1/,
  ),
  breakage(
    'libvirt.confinement',
    (host) => {
      host.files.delete('/sys/module/apparmor/parameters/enabled');
    },
    'warn',
    /neither/,
  ),
  breakage(
    'libvirt.confinement',
    (host) => {
      host.append(QEMU, 'security_driver = "none"\n');
    },
    'fail',
    /none/,
  ),
  breakage(
    'libvirt.guest-user',
    (host) => {
      host.append(QEMU, 'user = "root"\n');
    },
    'fail',
    /root/,
  ),
  breakage(
    'libvirt.lock-manager',
    (host) => {
      host.alter(QEMU, { text: '' });
    },
    'info',
    /no lock manager/,
  ),
  breakage(
    'libvirt.dbus-rights',
    (host) => {
      host.status({ Groups: `${LIBVIRT_GID} 991` });
    },
    'fail',
    /is a member of libvirt/,
  ),
  breakage(
    'libvirt.dbus-rights',
    (host) => {
      host.files.delete(BUS_POLICY);
    },
    'fail',
    /is missing/,
  ),
  breakage(
    'libvirt.dbus-rights',
    (host) => {
      host.append(BUS_POLICY, '<allow send_destination="org.libvirt"/>');
    },
    'fail',
    /is not ours/,
  ),
  breakage(
    'libvirt.dbus-answers',
    (host) => {
      host.commands.set('libvirt-over-dbus', { is: 'unknown', why: 'Access denied' });
    },
    'fail',
    /Access denied/,
  ),
  breakage(
    'libvirt.packages',
    (host) => {
      host.says('packages-below', 'lvm2:\n  Installed: 2.03.31-1\n  Candidate: 2.03.31-2\n');
    },
    'warn',
    /lvm2 2\.03\.31-1 \(2\.03\.31-2\)/,
  ),
];
