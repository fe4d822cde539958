import { HOOK } from '../../../src/doctor/names.ts';
import { NOW_MS } from '../fake-host.ts';
import type { Breakage } from './breakage.ts';
import { breakage } from './breakage.ts';

export const HOOKS: readonly Breakage[] = [
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
  breakage(
    'hook.known',
    (host) => {
      host.becomeModular();
      host.alter(HOOK, { ctimeMs: NOW_MS - 60_000 });
    },
    'warn',
    /virtqemud\.service was last started/,
    true,
  ),
];
