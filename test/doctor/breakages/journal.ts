import type { Breakage } from './breakage.ts';
import { breakage, withLog } from './breakage.ts';

export const JOURNAL: readonly Breakage[] = [
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
