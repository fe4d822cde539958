import type { Severity } from '../../../src/doctor/finding.ts';
import type { FakeHost } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

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

export const UNITS: readonly Breakage[] = [
  breakage(
    'units.daemon.apparmor',
    (host) => {
      host.alter('/proc/4711/attr/current', { text: 'unconfined\n' });
    },
    'warn',
    /runs under unconfined/,
  ),
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
    property(unit, 'no-core-dumps', 'LimitCORE', '0'),
    property(unit, 'memory', 'MemoryMax', 'infinity', 'warn'),
    property(unit, 'no-swap', 'MemorySwapMax', 'infinity', 'warn'),
    property(unit, 'tasks', 'TasksMax', 'infinity', 'warn'),
    property(unit, 'umask', 'UMask', '0022', 'warn'),
    property(unit, 'own-kind', 'RestrictNamespaces', 'no', 'warn'),
    property(unit, 'own-kind', 'SystemCallArchitectures', '', 'warn'),
  ]),
];
