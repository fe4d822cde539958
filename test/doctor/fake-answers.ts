/** What programs of a host say on which all is well. */
import type { CommandName } from '../../src/doctor/commands.ts';
import type { Answer } from '../../src/doctor/host.ts';

export const PID = 4711;

export type Unit = Record<string, string | readonly string[]>;

export const known = <T>(value: T): Answer<T> => ({ is: 'known', value });

const SANDBOX: Unit = {
  ...{ LoadState: 'loaded', ActiveState: 'active', SubState: 'running', UnitFileState: 'enabled' },
  ...{ NeedDaemonReload: 'no', DropInPaths: '', NoNewPrivileges: 'yes', AmbientCapabilities: '' },
  ...{ ProtectSystem: 'strict', ProtectHome: 'yes', PrivateTmp: 'yes', ReadWritePaths: '' },
  ...{
    DevicePolicy: 'closed',
    SystemCallFilter: 'accept bind read write',
    SystemCallArchitectures: 'native',
  },
  ...{ ProtectKernelModules: 'yes', ProtectKernelLogs: 'yes', ProtectKernelTunables: 'yes' },
  ...{ ProtectControlGroups: 'yes', ProtectHostname: 'yes', LockPersonality: 'yes' },
  ...{ RestrictNamespaces: 'yes', RestrictRealtime: 'yes', RestrictSUIDSGID: 'yes', UMask: '0077' },
  ...{ MemoryMax: '1073741824', MemorySwapMax: '0', TasksMax: '128', LimitCORE: '1', LimitNOFILE: '4096' },
  ...{ StandardOutput: 'journal', StandardError: 'inherit' },
};

/** As systemctl shows our units. */
export function units(): Record<'daemon' | 'helper' | 'socket', Unit> {
  return {
    daemon: {
      ...SANDBOX,
      ...{
        User: 'libvirt-volume-provisioner',
        Group: 'libvirt-volume-provisioner',
        CapabilityBoundingSet: '',
      },
      ...{
        DeviceAllow: ['char-rtc r', 'block-device-mapper rw'],
        RestrictAddressFamilies: 'AF_UNIX AF_INET AF_INET6',
      },
      ...{ ProtectClock: 'yes', ProtectProc: 'invisible', SupplementaryGroups: '' },
      ...{ Before: 'shutdown.target libvirtd.service virtqemud.service multi-user.target', NRestarts: '0' },
      ...{ MainPID: String(PID), ActiveEnterTimestamp: 'Mon 2026-11-30 10:00:00.000000 UTC' },
      ...{ Environment: 'NODE_OPTIONS=--max-semi-space-size=1 MALLOC_ARENA_MAX=2', EnvironmentFiles: [] },
    },
    helper: {
      ...SANDBOX,
      ...{ ActiveState: 'inactive', SubState: 'dead', UnitFileState: 'static' },
      ...{ CapabilityBoundingSet: 'cap_chown cap_dac_override cap_sys_admin', PrivateNetwork: 'yes' },
      ...{ DeviceAllow: ['block-* rwm', '/dev/mapper/control rwm', '/dev/tpmrm0 rw'] },
      ...{ RestrictAddressFamilies: 'AF_UNIX AF_NETLINK', ReadWritePaths: '/etc/lvm /run -/var/lib/lvm' },
      ...{ SystemCallFilter: 'accept bind mount read write' },
    },
    socket: {
      ...{ LoadState: 'loaded', ActiveState: 'active', UnitFileState: 'enabled', NeedDaemonReload: 'no' },
      ...{ Listen: '/run/libvirt-volume-provisioner-helper.socket (Stream)', SocketMode: '0600' },
      ...{ SocketUser: 'libvirt-volume-provisioner', SocketGroup: 'libvirt-volume-provisioner' },
    },
  };
}

export const LIBVIRTD: Unit = {
  ...{ Id: 'libvirtd.service', LoadState: 'loaded', ActiveState: 'active' },
  ...{ StateChangeTimestamp: 'Mon 2026-11-30 09:00:00.000000 UTC' },
};

const policy = (name: string, installed: string, candidate = installed) =>
  `${name}:\n  Installed: ${installed}\n  Candidate: ${candidate}\n  Version table:\n`;

export const COMMANDS_THAT_ANSWER: readonly (readonly [CommandName, Answer<string>])[] = [
  [
    'show-libvirt-sockets',
    known('Id=libvirtd-tcp.socket\nActiveState=inactive\n\nId=libvirtd-tls.socket\nActiveState=inactive\n'),
  ],
  [
    'journald-settings',
    known(
      '# /etc/systemd/journald.conf\n[Journal]\n#Storage=auto\nStorage=persistent\nSystemMaxUse=4G\nMaxRetentionSec=14days\n',
    ),
  ],
  [
    'firewall-chains',
    known(
      'table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n',
    ),
  ],
  [
    'lvm-settings',
    known('devices {\n\tscan_lvs=0\n\tuse_devicesfile=0\n\tglobal_filter=["a|/dev/sda|","r|.*|"]\n}\n'),
  ],
  ['lvm-growth', known('activation {\n\tmonitoring=1\n\tthin_pool_autoextend_threshold=100\n}\n')],
  ['thin-pools', known('  vg0,pool0,41.20,12.50,zero,monitored,,,1073741824\n')],
  ['volume-groups', known('  vg0 107374182400 53687091200 4194304\n')],
  ['pools-active', known('guests\n')],
  ['pools-all', known('guests\n')],
  ['pools-autostarted', known('guests\n')],
  ['libvirt-over-dbus', known('t 11003000\n')],
  ['packages-own', known(policy('libvirt-volume-provisioner', '0.1.0'))],
  ['packages-below', known(policy('libvirt-daemon-system', '11.3.0-3') + policy('lvm2', '2.03.31-2'))],
];

export function showUnit(unit: Unit): string {
  return Object.entries(unit)
    .flatMap(([name, value]) => [value].flat().map((one) => `${name}=${one}\n`))
    .join('');
}
