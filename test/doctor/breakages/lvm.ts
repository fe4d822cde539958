import type { Breakage } from './breakage.ts';
import type { FakeHost } from '../fake-host.ts';
import { breakage } from './breakage.ts';

/** What lvs says of thin pools: names, data and metadata in use, zeroing, monitoring, health; whether they must be checked, and how much metadata they have. */
const thinPool =
  (text: string, check = '', metadataBytes = 1 << 30) =>
  (host: FakeHost) => {
    host.says('thin-pools', `${text},${check},${metadataBytes}\n`);
  };

const THIN: readonly Breakage[] = [
  breakage('lvm.thin-pools', thinPool('  vg0,pool0,1.00,1.00,,monitored,'), 'fail', /pool0 does not zero/),
  breakage('lvm.thin-pools', thinPool('  vg1,pool0,1.00,1.00,zero,monitored,'), 'fail', /missing/),
  breakage(
    'lvm.thin-pools',
    thinPool('  vg0,pool0,100.00,1.00,zero,monitored,out_of_data'),
    'fail',
    /pool0 is out_of_data/,
  ),
  breakage(
    'lvm.thin-pools',
    thinPool('  vg0,pool0,1.00,1.00,zero,monitored,metadata_read_only', 'check needed'),
    'fail',
    /pool0 is to be checked/,
  ),
  breakage('lvm.thin-room', thinPool('  vg0,pool0,80.00,1.00,zero,monitored,'), 'warn', /data 80%/),
  breakage('lvm.thin-room', thinPool('  vg0,pool0,1.00,95.50,zero,monitored,'), 'fail', /metadata 95.5%/),
  // LVM makes none any more with less than 4 MiB of metadata left, or a quarter of it.
  breakage(
    'lvm.thin-room',
    thinPool('  vg0,pool0,1.00,75.00,zero,monitored,', '', 8 << 20),
    'fail',
    /metadata 75%/,
  ),
  breakage(
    'lvm.thin-room',
    thinPool('  vg0,pool0,1.00,90.00,zero,monitored,', 'unknown', 40 << 20),
    'fail',
    /metadata 90%/,
  ),
  breakage('lvm.thin-growth', thinPool('  vg0,pool0,1.00,1.00,zero,not monitored,'), 'warn', /not monitored/),
  breakage(
    'lvm.thin-growth',
    (host) => {
      host.configured = { ...host.configured, thin: { ...host.configured.thin, overcommit: 2 } };
    },
    'warn',
    /overcommit is 2/,
  ),
];

export const LVM: readonly Breakage[] = [
  ...THIN,
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
      host.configured = { ...host.configured, thinPools: new Map() };
      host.says('pools-all', '\n');
    },
    'fail',
    /no logical pool on vg0/,
  ),
  breakage(
    'lvm.pools',
    (host) => {
      host.says('pools-all', '\n');
    },
    'ok',
    /none, and a thin pool/,
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
