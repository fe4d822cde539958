import { LIBRARY } from '../../../src/doctor/names.ts';
import { DAY_MS, NOW_MS } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

export const UPDATES: readonly Breakage[] = [
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
