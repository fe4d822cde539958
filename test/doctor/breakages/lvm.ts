import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

export const LVM: readonly Breakage[] = [
  breakage(
    'lvm.scan-lvs',
    (host) => {
      host.says('lvm-settings', 'devices {\n\tscan_lvs=1\n}\n');
    },
    'fail',
    /scan_lvs = 1/,
  ),
  breakage(
    'lvm.filter',
    (host) => {
      host.says('lvm-settings', 'devices {\n\tuse_devicesfile=1\n\tdevicesfile="system.devices"\n}\n');
    },
    'warn',
    /neither/,
  ),
  breakage(
    'lvm.filter',
    (host) => {
      host.says('lvm-settings', 'devices {\n\tglobal_filter=["a|.*|"]\n}\n');
    },
    'warn',
    /neither/,
  ),
  breakage(
    'lvm.fstab-labels',
    (host) => {
      host.append('/etc/fstab', 'LABEL=root / ext4 defaults 0 1\n');
    },
    'fail',
    /LABEL=root/,
  ),
  breakage(
    'lvm.fstab-labels',
    (host) => {
      host.append('/etc/fstab', '/dev/disk/by-label/data /srv ext4\n');
    },
    'fail',
    /by-label/,
  ),
  breakage(
    'lvm.kernel-labels',
    (host) => {
      host.alter('/proc/cmdline', { text: 'root=LABEL=root ro\n' });
    },
    'fail',
    /root=LABEL=root/,
  ),
  breakage(
    'lvm.whole-disks',
    (host) => {
      host.append('/etc/libvirt/qemu/web1.xml', "<source dev='/dev/sdb'/>");
    },
    'warn',
    /web1: \/dev\/sdb/,
  ),
  breakage(
    'lvm.groups',
    (host) => {
      host.says('volume-groups', '  other 1 1 1\n');
    },
    'fail',
    /missing: vg0/,
  ),
  breakage(
    'lvm.free-space',
    (host) => {
      host.says('volume-groups', '  vg0 107374182400 10737418240 4194304\n');
    },
    'warn',
    /no room in vg0/,
  ),
  breakage(
    'lvm.pools',
    (host) => {
      host.says('pools-active', '\n');
    },
    'fail',
    /stopped: guests/,
  ),
  breakage(
    'lvm.pools',
    (host) => {
      host.says('pools-all', '\n');
    },
    'fail',
    /no logical pool on vg0/,
  ),
  breakage(
    'lvm.pools-autostart',
    (host) => {
      host.says('pools-autostarted', '\n');
    },
    'info',
    /guests/,
  ),
];
