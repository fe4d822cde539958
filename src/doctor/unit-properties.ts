/** Which properties of our units are looked at, as the service manager has them loaded, drop-ins and all. */
const OF_ANY_UNIT = [
  ...['LoadState', 'ActiveState', 'SubState', 'UnitFileState', 'NeedDaemonReload', 'DropInPaths'],
  ...['MainPID', 'ActiveEnterTimestamp'],
] as const;

const SANDBOX = [
  ...['NoNewPrivileges', 'CapabilityBoundingSet', 'AmbientCapabilities', 'ProtectSystem', 'ProtectHome'],
  ...['PrivateTmp', 'ReadWritePaths', 'DevicePolicy', 'DeviceAllow', 'RestrictAddressFamilies'],
  ...['SystemCallFilter', 'SystemCallArchitectures', 'ProtectKernelModules', 'ProtectKernelLogs'],
  ...['ProtectKernelTunables', 'ProtectControlGroups', 'ProtectHostname', 'LockPersonality'],
  ...['RestrictNamespaces', 'RestrictRealtime', 'RestrictSUIDSGID', 'UMask'],
  ...[
    'MemoryMax',
    'MemorySwapMax',
    'TasksMax',
    'LimitCORE',
    'LimitNOFILE',
    'StandardOutput',
    'StandardError',
  ],
] as const;

export const DAEMON_PROPERTIES: readonly string[] = [
  ...OF_ANY_UNIT,
  ...SANDBOX,
  ...['User', 'Group', 'SupplementaryGroups', 'ProtectClock', 'ProtectProc', 'Before', 'NRestarts'],
  ...['Environment', 'EnvironmentFiles'],
];

export const HELPER_PROPERTIES: readonly string[] = [
  ...OF_ANY_UNIT,
  ...SANDBOX,
  ...['PrivateNetwork', 'Environment'],
];

export const SOCKET_PROPERTIES: readonly string[] = [
  ...OF_ANY_UNIT,
  ...['Listen', 'SocketMode', 'SocketUser', 'SocketGroup'],
];
