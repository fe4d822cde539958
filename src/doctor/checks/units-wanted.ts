/** What the service manager is to take away from the daemon and the helper, property by property. */
import { SOURCE } from '../check.ts';
import { USER } from '../names.ts';
import type { Shown } from '../settings.ts';

/** A demand on a unit. */
export interface Wanted {
  /** The rest of the check's id. */
  readonly name: string;
  readonly properties: readonly string[];
  readonly isSo: (unit: Shown) => boolean;
  /** How it stands in our unit. */
  readonly line: string;
  readonly why: string;
  readonly source?: string;
  /** What costs less than a barrier of its own. */
  readonly severity?: 'warn';
}

export const GUIDE = SOURCE.guide('Systemd Security');
/** All of these properties are on. */
export const isYes =
  (...names: readonly string[]) =>
  (unit: Shown) =>
    names.every((name) => unit.get(name) === 'yes');
/** The property names nothing but these. */
export const isWithin = (property: string, allowed: readonly string[]) => (unit: Shown) =>
  unit.words(property).every((word) => allowed.includes(word));
const isAtMost = (property: string, max: number) => (unit: Shown) => Number(unit.get(property) || 'x') <= max;

/** Not needed by us, and the way into the kernel or into other processes. */
const REFUSED_CALLS = ['mount', 'ptrace', 'bpf', 'init_module', 'kexec_load', 'reboot', 'io_uring_setup'];

/** The unit has a list of system calls that are allowed, with none of the dangerous ones but those named. */
export function refusesCalls(unit: Shown, allowed: readonly string[] = []): boolean {
  const calls = unit.words('SystemCallFilter');
  const isAllowList = calls.length > 0 && !calls[0]?.startsWith('~');
  return isAllowList && REFUSED_CALLS.every((call) => allowed.includes(call) || !calls.includes(call));
}

export const BOTH: readonly Wanted[] = [
  {
    name: 'no-new-privileges',
    properties: ['NoNewPrivileges'],
    isSo: isYes('NoNewPrivileges'),
    line: 'NoNewPrivileges=yes',
    why: 'Otherwise a set-uid program lends it root. It also forbids sudo, which is why the helper is a unit of its own.',
  },
  {
    name: 'private-tmp',
    properties: ['PrivateTmp'],
    isSo: isYes('PrivateTmp'),
    line: 'PrivateTmp=yes',
    why: 'Files in /tmp are where other users lay traps.',
  },
  {
    name: 'protect-system',
    properties: ['ProtectSystem'],
    isSo: (unit) => unit.get('ProtectSystem') === 'strict',
    line: 'ProtectSystem=strict',
    why: 'Nothing outside its own folders can be written.',
  },
  {
    name: 'protect-home',
    properties: ['ProtectHome'],
    isSo: isYes('ProtectHome'),
    line: 'ProtectHome=yes',
    why: 'It has no business in homes, where keys of people lie.',
  },
  {
    name: 'no-core-dumps',
    properties: ['LimitCORE'],
    isSo: (unit) => unit.get('LimitCORE') === '1',
    line: 'LimitCORE=1',
    why: 'A core dump would hold credentials; with a limit of 0 the kernel still gives it to a program in kernel.core_pattern, with 1 to nobody.',
    source: SOURCE.guide('MinIO Credentials'),
  },
  {
    name: 'no-swap',
    properties: ['MemorySwapMax'],
    isSo: (unit) => unit.get('MemorySwapMax') === '0',
    line: 'MemorySwapMax=0',
    why: 'The keys of encrypted volumes are in its memory for a moment, and a disk keeps what was swapped to it.',
    source: SOURCE.design('Rights'),
    severity: 'warn',
  },
  {
    name: 'memory',
    properties: ['MemoryMax'],
    isSo: isAtMost('MemoryMax', 4 * 2 ** 30),
    line: 'MemoryMax=1G',
    why: 'The guide caps it at 4G, by MemoryLimit=, which current systemd no longer reads; an image must not take memory from guests.',
    source: `${GUIDE}, corrected`,
    severity: 'warn',
  },
  {
    name: 'tasks',
    properties: ['TasksMax'],
    isSo: isAtMost('TasksMax', 1024),
    line: 'TasksMax=128',
    why: 'It needs a few threads and no more.',
    severity: 'warn',
  },
  {
    name: 'umask',
    properties: ['UMask'],
    isSo: (unit) => (parseInt(unit.get('UMask') || '0', 8) & 0o077) === 0o077,
    line: 'UMask=0077',
    why: 'What it makes is nobody else’s to read.',
    source: SOURCE.guide('File Permissions'),
    severity: 'warn',
  },
  {
    name: 'own-kind',
    properties: [
      'RestrictNamespaces',
      'RestrictSUIDSGID',
      'LockPersonality',
      'RestrictRealtime',
      'SystemCallArchitectures',
    ],
    isSo: (unit) =>
      isYes('RestrictNamespaces', 'RestrictSUIDSGID', 'LockPersonality', 'RestrictRealtime')(unit) &&
      unit.get('SystemCallArchitectures') === 'native',
    line: 'RestrictNamespaces=, RestrictSUIDSGID=, LockPersonality=, RestrictRealtime=yes and SystemCallArchitectures=native',
    why: 'Parts of the kernel that it does not need are no way out.',
    severity: 'warn',
  },
];

export const DAEMON: readonly Wanted[] = [
  {
    name: 'user',
    properties: ['User', 'Group'],
    isSo: (unit) => unit.get('User') === USER && unit.get('Group') === USER,
    line: `User=${USER} and Group=${USER}`,
    why: 'The part that reads images from the network is not root.',
  },
  {
    name: 'capabilities',
    properties: ['CapabilityBoundingSet', 'AmbientCapabilities'],
    isSo: (unit) => unit.get('CapabilityBoundingSet') === '' && unit.get('AmbientCapabilities') === '',
    line: 'CapabilityBoundingSet= and AmbientCapabilities=',
    why: 'It needs none of the powers of root.',
  },
  {
    name: 'devices',
    properties: ['DevicePolicy', 'DeviceAllow'],
    // ProtectClock= adds the clock, to be read.
    isSo: (unit) =>
      unit.get('DevicePolicy') === 'closed' &&
      unit.all('DeviceAllow').every((device) => /^(block-device-mapper rw?|char-rtc r)?$/.test(device)),
    line: 'DevicePolicy=closed and DeviceAllow=block-device-mapper rw',
    why: 'The guide’s ReadWritePaths=/dev/mapper grants no device and suggests all; which volume it may write is decided by the owner that udev gives one node.',
    source: `${GUIDE}, corrected`,
  },
  {
    name: 'write-paths',
    properties: ['ReadWritePaths'],
    isSo: isWithin('ReadWritePaths', []),
    line: 'no ReadWritePaths=',
    why: 'The guide opens /var/lib/libvirt, where disks and sockets of all guests are; it needs its state folder alone.',
    source: `${GUIDE}, corrected`,
  },
  {
    name: 'address-families',
    properties: ['RestrictAddressFamilies'],
    isSo: (unit) =>
      unit.get('RestrictAddressFamilies') !== '' &&
      isWithin('RestrictAddressFamilies', ['AF_UNIX', 'AF_INET', 'AF_INET6'])(unit),
    line: 'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6',
    why: 'It talks to the store and to local sockets.',
  },
  {
    name: 'system-calls',
    properties: ['SystemCallFilter'],
    isSo: (unit) => refusesCalls(unit),
    line: 'SystemCallFilter=@system-service, without io_uring',
    why: 'What reads images from outside gets no more of the kernel than it needs.',
  },
  {
    name: 'kernel',
    properties: [
      ...['ProtectKernelTunables', 'ProtectKernelModules', 'ProtectKernelLogs', 'ProtectControlGroups'],
      ...['ProtectClock', 'ProtectHostname'],
    ],
    isSo: isYes(
      ...['ProtectKernelTunables', 'ProtectKernelModules', 'ProtectKernelLogs', 'ProtectControlGroups'],
      ...['ProtectClock', 'ProtectHostname'],
    ),
    line: 'ProtectKernelTunables=, …Modules=, …Logs=, ProtectControlGroups=, ProtectClock=, ProtectHostname=yes',
    why: 'Settings of the host are none of its business.',
    severity: 'warn',
  },
  {
    name: 'other-processes',
    properties: ['ProtectProc'],
    isSo: (unit) => unit.get('ProtectProc') === 'invisible',
    line: 'ProtectProc=invisible',
    why: 'Arguments and environments of other processes are not for it.',
    severity: 'warn',
  },
  {
    name: 'files-open',
    properties: ['LimitNOFILE'],
    isSo: (unit) => Number(unit.get('LimitNOFILE') || '0') >= 1024,
    line: 'LimitNOFILE=4096',
    why: 'The guide asks for 65535; it opens some hundred at most, and less is a smaller target.',
    source: `${GUIDE}, corrected`,
    severity: 'warn',
  },
];
