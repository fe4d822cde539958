/** What the service manager is to leave to the helper, which is root for LVM alone. */
import { SOURCE } from '../check.ts';
import type { Wanted } from './units-wanted.ts';
import { isWithin, isYes, refusesCalls } from './units-wanted.ts';

/** What our unit leaves the helper, and no more. */
const HELPER_CAPABILITIES = [
  ...['cap_sys_admin', 'cap_dac_override', 'cap_chown', 'cap_fowner', 'cap_sys_rawio', 'cap_mknod'],
  ...['cap_ipc_lock', 'cap_ipc_owner', 'cap_sys_nice', 'cap_sys_resource'],
];

const RIGHTS = SOURCE.design('Rights');

export const HELPER_ONLY: readonly Wanted[] = [
  {
    name: 'capabilities',
    properties: ['CapabilityBoundingSet'],
    isSo: (unit) =>
      unit.get('CapabilityBoundingSet') !== '' &&
      isWithin('CapabilityBoundingSet', HELPER_CAPABILITIES)(unit),
    line: 'CapabilityBoundingSet= as in our unit',
    why: 'It is root for LVM, and as little of it as LVM can do with.',
    source: RIGHTS,
  },
  {
    name: 'network',
    properties: ['PrivateNetwork', 'RestrictAddressFamilies'],
    isSo: (unit) =>
      unit.get('PrivateNetwork') === 'yes' &&
      unit.get('RestrictAddressFamilies') !== '' &&
      isWithin('RestrictAddressFamilies', ['AF_UNIX', 'AF_NETLINK'])(unit),
    line: 'PrivateNetwork=yes and RestrictAddressFamilies=AF_UNIX AF_NETLINK',
    why: 'What is root has no network.',
    source: RIGHTS,
  },
  {
    name: 'devices',
    properties: ['DevicePolicy', 'DeviceAllow'],
    isSo: (unit) =>
      unit.get('DevicePolicy') === 'closed' &&
      unit
        .all('DeviceAllow')
        .every((device) => /^(block-\* rwm|\/dev\/mapper\/control rwm|\/dev\/tpmrm0 rw)?$/.test(device)),
    line: 'DevicePolicy=closed, DeviceAllow=block-*, /dev/mapper/control and /dev/tpmrm0',
    why: 'LVM needs block devices, and a key on this host perhaps its TPM; neither needs memory, terminals or KVM.',
    source: RIGHTS,
  },
  {
    name: 'write-paths',
    properties: ['ReadWritePaths'],
    isSo: isWithin('ReadWritePaths', ['/etc/lvm', '/run', '-/var/lib/lvm']),
    line: 'ReadWritePaths=/etc/lvm /run -/var/lib/lvm',
    why: 'LVM keeps its locks and backups there.',
    source: RIGHTS,
  },
  {
    name: 'system-calls',
    properties: ['SystemCallFilter'],
    isSo: (unit) => refusesCalls(unit, ['mount', 'bpf']),
    line: 'SystemCallFilter=@system-service @privileged, without modules, reboot, clock and io_uring',
    why: 'What is root gets no more of the kernel than LVM needs.',
    source: RIGHTS,
  },
  {
    name: 'kernel',
    properties: ['ProtectKernelModules', 'ProtectKernelLogs', 'ProtectControlGroups', 'ProtectHostname'],
    isSo: isYes('ProtectKernelModules', 'ProtectKernelLogs', 'ProtectControlGroups', 'ProtectHostname'),
    line: 'ProtectKernelModules=, ProtectKernelLogs=, ProtectControlGroups=, ProtectHostname=yes',
    why: 'Settings of the host are none of its business.',
    source: RIGHTS,
    severity: 'warn',
  },
];
