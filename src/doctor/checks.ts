/** All checks, in the order in which they are shown. */
import type { Check } from './check.ts';
import { CREDENTIAL_CHECKS } from './checks/credentials.ts';
import { FILE_CHECKS } from './checks/files.ts';
import { HEALTH_CHECKS } from './checks/health.ts';
import { HOOK_CHECKS } from './checks/hook.ts';
import { HTTP_CHECKS } from './checks/http-api.ts';
import { JOURNAL_CHECKS } from './checks/journal.ts';
import { KEY_CHECKS } from './checks/keys.ts';
import { LIBVIRT_CHECKS } from './checks/libvirt.ts';
import { LVM_CHECKS } from './checks/lvm.ts';
import { STORE_CHECKS } from './checks/store.ts';
import { THIN_CHECKS } from './checks/thin.ts';
import { TRANSPORT_CHECKS } from './checks/transport.ts';
import { UNIT_CHECKS } from './checks/units.ts';
import { UPDATE_CHECKS } from './checks/updates.ts';

export const CHECKS: readonly Check[] = [
  ...HEALTH_CHECKS,
  ...HOOK_CHECKS,
  ...UNIT_CHECKS,
  ...FILE_CHECKS,
  ...CREDENTIAL_CHECKS,
  ...TRANSPORT_CHECKS,
  ...HTTP_CHECKS,
  ...STORE_CHECKS,
  ...KEY_CHECKS,
  ...LIBVIRT_CHECKS,
  ...LVM_CHECKS,
  ...THIN_CHECKS,
  ...JOURNAL_CHECKS,
  ...UPDATE_CHECKS,
];
