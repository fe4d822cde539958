/** For each check at least one way in which a host is not as it should be, and what the doctor is to say to it. */
import type { Severity } from '../../src/doctor/finding.ts';
import { HOOK, LIBRARY } from '../../src/doctor/names.ts';
import type { FakeHost } from './fake-host.ts';
import { ACCESS_KEY, DAY_MS, ETC, NOW_MS, SECRET_KEY, STATE } from './fake-host.ts';

export interface Breakage {
  readonly id: string;
  readonly breaks: (host: FakeHost) => void;
  readonly severity: Severity;
  readonly says: RegExp;
  /** Whether --fix makes it well again. */
  readonly fixed?: true;
}

const KEY_FILE = `${ETC}/credentials/minio-secret-key`;
const CONTROL = '/run/libvirt-volume-provisioner/control.sock';
const LIBVIRT_SOCKET = '/run/libvirt/libvirt-sock';
const QEMU = '/etc/libvirt/qemu.conf';

function breakage(
  id: string,
  breaks: (host: FakeHost) => void,
  severity: Severity,
  says: RegExp,
  fixed?: true,
): Breakage {
  return { id, breaks, severity, says, ...(fixed === undefined ? {} : { fixed }) };
}

/** One property of a unit's, shown otherwise. */
function property(
  unit: 'daemon' | 'helper' | 'socket',
  check: string,
  name: string,
  value: string | readonly string[],
  severity: Severity = 'fail',
): Breakage {
  const breaks = (host: FakeHost) => {
    host.units[unit][name] = value;
  };
  return breakage(`units.${unit}.${check}`, breaks, severity, new RegExp(name));
}

const UNITS: readonly Breakage[] = [
  breakage(
    'units.daemon.running',
    (host) => {
      host.units.daemon['ActiveState'] = 'failed';
    },
    'fail',
    /failed/,
  ),
  breakage(
    'units.daemon.running',
    (host) => {
      host.units.daemon['LoadState'] = 'not-found';
    },
    'fail',
    /not installed/,
  ),
  breakage(
    'units.daemon.enabled',
    (host) => {
      host.units.daemon['UnitFileState'] = 'disabled';
    },
    'fail',
    /disabled/,
    true,
  ),
  breakage(
    'units.daemon.enabled',
    (host) => {
      host.units.daemon['UnitFileState'] = 'masked';
    },
    'fail',
    /masked/,
  ),
  breakage(
    'units.daemon.before-libvirt',
    (host) => {
      host.units.daemon['Before'] = 'shutdown.target';
    },
    'fail',
    /not ordered before/,
  ),
  breakage(
    'units.daemon.restarts',
    (host) => {
      host.units.daemon['NRestarts'] = '12';
    },
    'warn',
    /12 times/,
  ),
  breakage(
    'units.daemon.loaded',
    (host) => {
      host.units.daemon['NeedDaemonReload'] = 'yes';
    },
    'warn',
    /changed since/,
  ),
  breakage(
    'units.daemon.loaded',
    (host) => {
      host.units.daemon['DropInPaths'] = '/etc/systemd/system/x.conf';
    },
    'info',
    /x\.conf/,
  ),
  breakage(
    'units.helper.loaded',
    (host) => {
      host.units.helper['NeedDaemonReload'] = 'yes';
    },
    'warn',
    /changed since/,
  ),
  breakage(
    'units.socket.loaded',
    (host) => {
      host.units.socket['NeedDaemonReload'] = 'yes';
    },
    'warn',
    /changed since/,
  ),
  breakage(
    'units.daemon.process',
    (host) => {
      host.status({ NoNewPrivs: '0' });
    },
    'fail',
    /NoNewPrivs/,
  ),
  breakage(
    'units.daemon.process',
    (host) => {
      host.status({ CapBnd: '000001ffffffffff' });
    },
    'fail',
    /capabilities/,
  ),
  breakage(
    'units.daemon.process',
    (host) => {
      host.status({ Seccomp: '0', Uid: '0\t0' });
    },
    'fail',
    /Seccomp.*user 0/,
  ),
  breakage(
    'units.socket.active',
    (host) => {
      host.units.socket['ActiveState'] = 'inactive';
    },
    'fail',
    /inactive/,
  ),
  breakage(
    'units.socket.enabled',
    (host) => {
      host.units.socket['UnitFileState'] = 'disabled';
    },
    'fail',
    /disabled/,
    true,
  ),
  breakage(
    'units.socket.rights',
    (host) => {
      host.units.socket['SocketMode'] = '0666';
    },
    'fail',
    /0666/,
  ),
  breakage(
    'units.socket.rights',
    (host) => {
      host.units.socket['Listen'] = '0.0.0.0:80 (Stream)';
    },
    'fail',
    /0\.0\.0\.0:80/,
  ),
  breakage(
    'units.socket.rights',
    (host) => {
      host.alter('/run/libvirt-volume-provisioner-helper.socket', { mode: 0o666 });
    },
    'fail',
    /other rights/,
  ),
  property('daemon', 'user', 'User', 'root'),
  property('daemon', 'capabilities', 'CapabilityBoundingSet', 'cap_sys_admin'),
  property('daemon', 'devices', 'DeviceAllow', ['block-device-mapper rw', '/dev/sda rw']),
  property('daemon', 'devices', 'DevicePolicy', 'auto'),
  property('daemon', 'write-paths', 'ReadWritePaths', '/var/lib/libvirt'),
  property('daemon', 'address-families', 'RestrictAddressFamilies', 'AF_UNIX AF_INET AF_PACKET'),
  property('daemon', 'address-families', 'RestrictAddressFamilies', ''),
  property('daemon', 'system-calls', 'SystemCallFilter', ''),
  property('daemon', 'system-calls', 'SystemCallFilter', '~mount'),
  property('daemon', 'system-calls', 'SystemCallFilter', 'read write io_uring_setup'),
  property('daemon', 'kernel', 'ProtectClock', 'no', 'warn'),
  property('daemon', 'other-processes', 'ProtectProc', 'default', 'warn'),
  property('daemon', 'files-open', 'LimitNOFILE', '256', 'warn'),
  property('helper', 'capabilities', 'CapabilityBoundingSet', 'cap_chown cap_sys_module'),
  property('helper', 'network', 'PrivateNetwork', 'no'),
  property('helper', 'network', 'RestrictAddressFamilies', 'AF_UNIX AF_INET'),
  property('helper', 'devices', 'DeviceAllow', ['block-* rwm', 'char-* rwm']),
  property('helper', 'write-paths', 'ReadWritePaths', '/etc'),
  property('helper', 'system-calls', 'SystemCallFilter', 'read init_module'),
  property('helper', 'kernel', 'ProtectKernelModules', 'no', 'warn'),
  ...(['daemon', 'helper'] as const).flatMap((unit) => [
    property(unit, 'no-new-privileges', 'NoNewPrivileges', 'no'),
    property(unit, 'private-tmp', 'PrivateTmp', 'no'),
    property(unit, 'protect-system', 'ProtectSystem', 'full'),
    property(unit, 'protect-home', 'ProtectHome', 'read-only'),
    property(unit, 'no-core-dumps', 'LimitCORE', 'infinity'),
    property(unit, 'memory', 'MemoryMax', 'infinity', 'warn'),
    property(unit, 'tasks', 'TasksMax', 'infinity', 'warn'),
    property(unit, 'umask', 'UMask', '0022', 'warn'),
    property(unit, 'own-kind', 'RestrictNamespaces', 'no', 'warn'),
    property(unit, 'own-kind', 'SystemCallArchitectures', '', 'warn'),
  ]),
];

const FILES: readonly Breakage[] = [
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
];

const CREDENTIALS: readonly Breakage[] = [
  breakage(
    'credentials.folder',
    (host) => {
      host.alter(`${ETC}/credentials`, { mode: 0o755 });
    },
    'fail',
    /0755/,
    true,
  ),
  breakage(
    'credentials.files',
    (host) => {
      host.alter(KEY_FILE, { mode: 0o644 });
    },
    'fail',
    /0644/,
    true,
  ),
  breakage(
    'credentials.files',
    (host) => {
      host.alter(KEY_FILE, { uid: 1000 });
    },
    'fail',
    /user 1000/,
  ),
  breakage(
    'credentials.files',
    (host) => {
      host.append(host.configPath, '  secret_key_file: "/srv/key"\n');
      host.file('/srv/key', 0o640, { uid: 0, gid: 0 }, 'x');
    },
    'fail',
    /\/srv\/key has mode 0640/,
    true,
  ),
  breakage(
    'credentials.not-default',
    (host) => {
      withKeys(host, 'minioadmin', SECRET_KEY);
    },
    'fail',
    /minioadmin/,
  ),
  breakage(
    'credentials.length',
    (host) => {
      withKeys(host, ACCESS_KEY, 'short-secret');
    },
    'warn',
    /shorter than 32/,
  ),
  breakage(
    'credentials.rotated',
    (host) => {
      host.alter(KEY_FILE, { mtimeMs: NOW_MS - 200 * DAY_MS });
    },
    'warn',
    /200 days/,
  ),
  breakage(
    'credentials.not-in-configuration',
    (host) => {
      host.append(host.configPath, `  # ${SECRET_KEY}\n`);
    },
    'fail',
    /one of the keys/,
  ),
  breakage(
    'credentials.not-in-configuration',
    (host) => {
      host.append(host.configPath, '  secret_key: abc\n');
    },
    'fail',
    /a key of that name/,
  ),
  breakage(
    'credentials.not-in-environment',
    (host) => {
      host.units.daemon['Environment'] = `MINIO_SECRET_KEY=${SECRET_KEY}`;
    },
    'warn',
    /found: MINIO_SECRET_KEY$/,
  ),
  breakage(
    'credentials.not-in-environment',
    (host) => {
      host.units.daemon['EnvironmentFiles'] = ['/etc/default/provisioner (ignore_errors=no)'];
      host.file('/etc/default/provisioner', 0o600, { uid: 0, gid: 0 }, `MINIO_ACCESS_KEY="${ACCESS_KEY}"\n`);
    },
    'warn',
    /found: MINIO_ACCESS_KEY$/,
  ),
  breakage(
    'credentials.not-in-environment',
    (host) => {
      host.append('/proc/4711/environ', `MINIO_SECRET_KEY=${SECRET_KEY}\0`);
    },
    'warn',
    /MINIO_SECRET_KEY/,
  ),
];

const TRANSPORT: readonly Breakage[] = [
  breakage(
    'transport.no-listener',
    (host) => {
      host.listening = ['tcp 0.0.0.0:8080'];
    },
    'fail',
    /0\.0\.0\.0:8080/,
  ),
  breakage(
    'transport.firewall',
    (host) => {
      host.says('firewall-chains', 'chain input { type filter hook input priority 0; policy accept; }');
    },
    'info',
    /no input chain/,
  ),
  breakage(
    'transport.firewall',
    (host) => {
      host.commands.set('firewall-chains', { is: 'absent' });
    },
    'info',
    /no nft/,
  ),
  breakage(
    'transport.store-https',
    (host) => {
      withEndpoint(host, 'http://minio.example.net:9000');
    },
    'fail',
    /plain http/,
  ),
  breakage(
    'transport.store-https',
    (host) => {
      withEndpoint(host, 'http://127.0.0.1:9000');
    },
    'info',
    /without TLS/,
  ),
  breakage(
    'transport.store-certificate',
    (host) => {
      withCertificate(host, { mistake: 'self-signed certificate' });
    },
    'fail',
    /self-signed/,
  ),
  breakage(
    'transport.store-certificate',
    (host) => {
      withCertificate(host, { protocol: 'TLSv1.1' });
    },
    'fail',
    /TLSv1\.1/,
  ),
  breakage(
    'transport.store-certificate-expiry',
    (host) => {
      withCertificate(host, { expiresMs: NOW_MS + 5 * DAY_MS });
    },
    'warn',
    /in 5 days/,
  ),
  breakage(
    'transport.store-certificate-expiry',
    (host) => {
      withCertificate(host, { expiresMs: NOW_MS - 1 });
    },
    'fail',
    /has run out/,
  ),
  breakage(
    'transport.store-certificate-expiry',
    (host) => {
      host.stored = { ...host.stored, certificate: undefined };
    },
    'unknown',
    /without TLS/,
  ),
  breakage(
    'transport.tls-not-disabled',
    (host) => {
      host.units.daemon['Environment'] = 'A=b NODE_TLS_REJECT_UNAUTHORIZED=0';
    },
    'fail',
    /is set/,
  ),
  breakage(
    'transport.tls-not-disabled',
    (host) => {
      host.append('/proc/4711/environ', 'NODE_TLS_REJECT_UNAUTHORIZED=0\0');
    },
    'fail',
    /is set/,
  ),
];

const STORE: readonly Breakage[] = [
  breakage(
    'store.reachable',
    (host) => {
      host.storeMistake = 'connect ECONNREFUSED';
    },
    'fail',
    /ECONNREFUSED/,
  ),
  breakage(
    'store.reachable',
    (host) => {
      withAnswer(host, { status: 503 });
    },
    'fail',
    /status 503/,
  ),
  breakage(
    'store.keys',
    (host) => {
      withAnswer(host, { status: 403, code: 'SignatureDoesNotMatch' });
    },
    'fail',
    /SignatureDoesNotMatch/,
  ),
  breakage(
    'store.keys',
    (host) => {
      withAnswer(host, { status: 503 });
    },
    'unknown',
    /503/,
  ),
  breakage(
    'store.clock',
    (host) => {
      withAnswer(host, { clockAheadMs: -120_000 });
    },
    'warn',
    /120 s apart/,
  ),
  breakage(
    'store.clock',
    (host) => {
      withAnswer(host, { clockAheadMs: 3_600_000 });
    },
    'fail',
    /3600 s apart/,
  ),
  breakage(
    'store.buckets',
    (host) => {
      withBuckets(host, undefined);
    },
    'warn',
    /not set/,
  ),
  breakage(
    'store.sees-few',
    (host) => {
      host.stored = { ...host.stored, buckets: ['images', 'payroll'] };
    },
    'warn',
    /payroll/,
  ),
  breakage(
    'store.sees-few',
    (host) => {
      withBuckets(host, undefined);
    },
    'info',
    /it sees 1/,
  ),
  breakage(
    'store.writes-nothing',
    (host) => {
      host.stored = { ...host.stored, writableBuckets: ['images'] };
    },
    'warn',
    /write to images/,
  ),
  breakage(
    'store.writes-nothing',
    (host) => {
      host.stored = { ...host.stored, writableBuckets: undefined };
    },
    'info',
    /does not say/,
  ),
  breakage(
    'store.digest-required',
    (host) => {
      host.configured = { ...host.configured, integrity: { requireDigest: false } };
    },
    'warn',
    /false/,
  ),
  breakage(
    'store.size-limit',
    (host) => {
      host.configMistake = 'mistakes';
    },
    'unknown',
    /see health\.config/,
  ),
];

const LIBVIRT: readonly Breakage[] = [
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
      host.status({ Groups: '991' });
    },
    'fail',
    /not a member/,
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

const LVM: readonly Breakage[] = [
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

const JOURNAL: readonly Breakage[] = [
  breakage(
    'journal.persistent',
    (host) => {
      host.says('journald-settings', 'Storage=persistent\nStorage=volatile\n');
    },
    'fail',
    /volatile/,
  ),
  breakage(
    'journal.persistent',
    (host) => {
      host.says('journald-settings', '');
      host.files.delete('/var/log/journal');
    },
    'fail',
    /no \/var\/log\/journal/,
  ),
  breakage(
    'journal.size',
    (host) => {
      host.says('journald-settings', 'SystemMaxUse=16M\n');
    },
    'warn',
    /16M/,
  ),
  breakage(
    'journal.retention',
    (host) => {
      host.says('journald-settings', 'MaxRetentionSec=2day 3h\n');
    },
    'warn',
    /2day 3h/,
  ),
  breakage(
    'journal.unit-output',
    (host) => {
      host.units.daemon['StandardOutput'] = 'null';
    },
    'warn',
    /null/,
  ),
  breakage(
    'journal.format',
    (host) => {
      withLog(host, { format: 'pretty' });
    },
    'warn',
    /pretty/,
  ),
  breakage(
    'journal.level',
    (host) => {
      withLog(host, { level: 'error' });
    },
    'warn',
    /error/,
  ),
  breakage(
    'journal.level',
    (host) => {
      withLog(host, { level: 'debug' });
    },
    'info',
    /debug/,
  ),
];

const HEALTH: readonly Breakage[] = [
  breakage(
    'health.config',
    (host) => {
      host.configMistake = 'three mistakes';
    },
    'fail',
    /three mistakes/,
  ),
  breakage(
    'health.config',
    (host) => {
      host.files.delete(host.configPath);
    },
    'fail',
    /there is no/,
  ),
  breakage(
    'health.config',
    (host) => {
      host.configured = { ...host.configured, warnings: ['DB_PATH is ignored'] };
    },
    'warn',
    /DB_PATH/,
  ),
  breakage(
    'health.daemon-answers',
    (host) => {
      host.daemonMistake = 'nobody listens there';
    },
    'fail',
    /nobody listens/,
  ),
  breakage(
    'health.volumes',
    (host) => {
      host.annotated = [
        {
          uuid: 'x',
          name: 'web1',
          active: false,
          startWhenReady: false,
          volumes: [],
          problems: [{ code: 'DISK_UNSUITABLE', message: 'no' }],
        },
      ];
    },
    'warn',
    /web1/,
  ),
  breakage(
    'health.ledger-and-tags',
    (host) => {
      host.leftOver = [{ kind: 'unclear', name: 'vg0/odd', action: 'none', done: false, why: 'tags' }];
    },
    'warn',
    /vg0\/odd \(unclear\)/,
  ),
  breakage(
    'health.ledger-and-tags',
    (host) => {
      host.leftOver = [{ kind: 'orphan', name: 'vg0/old', action: 'none', done: false, why: 'gone' }];
    },
    'info',
    /vg0\/old/,
  ),
];

const HOOKS: readonly Breakage[] = [
  breakage(
    'hook.present',
    (host) => {
      host.files.delete(HOOK);
    },
    'fail',
    /there is no/,
    true,
  ),
  breakage(
    'hook.executable',
    (host) => {
      host.alter(HOOK, { mode: 0o644 });
    },
    'fail',
    /0644/,
    true,
  ),
  breakage(
    'hook.executable',
    (host) => {
      host.alter(HOOK, { kind: 'link' });
    },
    'fail',
    /link/,
    true,
  ),
  breakage(
    'hook.owner',
    (host) => {
      host.alter(HOOK, { uid: 1000 });
    },
    'fail',
    /user 1000/,
    true,
  ),
  breakage(
    'hook.owner',
    (host) => {
      host.alter(HOOK, { mode: 0o775 });
    },
    'fail',
    /0775/,
    true,
  ),
  breakage(
    'hook.unchanged',
    (host) => {
      host.append(HOOK, 'exit 0\n');
    },
    'fail',
    /differs/,
    true,
  ),
  breakage(
    'hook.known',
    (host) => {
      host.alter(HOOK, { ctimeMs: NOW_MS - 60_000 });
    },
    'warn',
    /cannot be told/,
    true,
  ),
];

const UPDATES: readonly Breakage[] = [
  breakage(
    'updates.program',
    (host) => {
      host.says('packages-own', 'libvirt-volume-provisioner:\n  Installed: 0.1.0\n  Candidate: 0.2.0\n');
    },
    'warn',
    /0\.2\.0/,
  ),
  breakage(
    'updates.program',
    (host) => {
      host.says('packages-own', '');
    },
    'info',
    /not from a package/,
  ),
  breakage(
    'updates.daemon-restarted',
    (host) => {
      host.alter(LIBRARY, { ctimeMs: NOW_MS - 60_000 });
    },
    'warn',
    /before the program/,
  ),
  breakage(
    'updates.node',
    (host) => {
      host.versions = { ...host.versions, node: 'v22.1.0' };
    },
    'fail',
    /at least 24/,
  ),
  breakage(
    'updates.node',
    (host) => {
      host.versions = { ...host.versions, node: 'v27.0.0' };
    },
    'unknown',
    /not known/,
  ),
  breakage(
    'updates.package-lists',
    (host) => {
      host.alter('/var/lib/apt/lists', { mtimeMs: NOW_MS - 40 * DAY_MS });
    },
    'warn',
    /40 days/,
  ),
  breakage('updates.backups', () => undefined, 'info', /without its keys/),
];

export const BREAKAGES: readonly Breakage[] = [
  ...UNITS,
  ...FILES,
  ...CREDENTIALS,
  ...TRANSPORT,
  ...STORE,
  ...LIBVIRT,
  ...LVM,
  ...JOURNAL,
  ...HEALTH,
  ...HOOKS,
  ...UPDATES,
];

function withMinio(host: FakeHost, changed: Partial<FakeHost['configured']['minio']>): void {
  host.configured = { ...host.configured, minio: { ...host.configured.minio, ...changed } };
}

export function withKeys(host: FakeHost, access: string, secret: string): void {
  withMinio(host, { accessKey: { reveal: () => access }, secretKey: { reveal: () => secret } });
}

function withEndpoint(host: FakeHost, url: string): void {
  withMinio(host, { endpoint: new URL(url) });
}

function withBuckets(host: FakeHost, buckets: readonly string[] | undefined): void {
  withMinio(host, { buckets });
}

function withLog(host: FakeHost, changed: Partial<FakeHost['configured']['log']>): void {
  host.configured = { ...host.configured, log: { ...host.configured.log, ...changed } };
}

function withCertificate(
  host: FakeHost,
  changed: Partial<NonNullable<FakeHost['stored']['certificate']>>,
): void {
  const { certificate } = host.stored;
  if (certificate !== undefined)
    host.stored = { ...host.stored, certificate: { ...certificate, ...changed } };
}

function withAnswer(host: FakeHost, changed: Partial<NonNullable<FakeHost['stored']['answer']>>): void {
  const { answer } = host.stored;
  if (answer !== undefined) host.stored = { ...host.stored, answer: { ...answer, ...changed } };
}
