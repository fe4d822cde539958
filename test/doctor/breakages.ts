/** For each check at least one way in which a host is not as it should be. */
import type { Breakage } from './breakages/breakage.ts';
import { CREDENTIALS } from './breakages/credentials.ts';
import { FILES } from './breakages/files.ts';
import { HEALTH } from './breakages/health.ts';
import { HOOKS } from './breakages/hook.ts';
import { HTTP } from './breakages/http-api.ts';
import { JOURNAL } from './breakages/journal.ts';
import { KEYS } from './breakages/keys.ts';
import { LIBVIRT } from './breakages/libvirt.ts';
import { LVM } from './breakages/lvm.ts';
import { STORE } from './breakages/store.ts';
import { TRANSPORT } from './breakages/transport.ts';
import { UNITS } from './breakages/units.ts';
import { UPDATES } from './breakages/updates.ts';

export const BREAKAGES: readonly Breakage[] = [
  ...UNITS,
  ...FILES,
  ...CREDENTIALS,
  ...TRANSPORT,
  ...HTTP,
  ...STORE,
  ...KEYS,
  ...LIBVIRT,
  ...LVM,
  ...JOURNAL,
  ...HEALTH,
  ...HOOKS,
  ...UPDATES,
];
