import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

export const HEALTH: readonly Breakage[] = [
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
    'health.frozen',
    (host) => {
      const path = host.configPath.replace('config.yaml', 'frozen');
      host.file(path, 0o644, { uid: 0, gid: 0 }, '2026-11-30T12:00:00Z\nroot\nkeys leaked\n');
    },
    'warn',
    /since 2026-11-30T12:00:00Z, by root \(keys leaked\)/,
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
