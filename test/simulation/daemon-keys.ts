/** What one life of the daemon has for encrypted volumes, in runs that have any. */
import { GuestKeys } from '../../src/provision/keys/guest-keys.ts';
import { KeyChanges } from '../../src/provision/keys/key-changes.ts';
import type { KeyChangeNeeds } from '../../src/provision/keys/key-changes.ts';
import type { AuditTrail } from '../../src/provision/ports/audit.ts';
import type { Clock } from '../../src/provision/ports/host.ts';
import type { Ledger } from '../../src/provision/ports/ledger.ts';
import type { Domains } from '../../src/provision/ports/libvirt.ts';
import type { Volumes } from '../../src/provision/ports/volumes.ts';
import { NO_KEYS, NO_LUKS, nothingEncrypted } from '../helper/no-luks.ts';
import type { Host } from './daemon.ts';
import type { Life } from './life.ts';

/** As the configuration has it by default. */
const RECHECK_MS = 60_000;
const NO_TRAIL: AuditTrail = { record: () => undefined };

interface Parts {
  readonly volumes: Volumes;
  readonly domains: Domains;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly isLibvirtReachable: () => boolean;
}

/** What its verbs need; `heard` is told when libvirt answers again. */
export function openDaemonKeys({ helper, libvirt, keys, log }: Host, life: Life, parts: Parts) {
  if (keys === undefined) return { ...nothingEncrypted(), luks: NO_LUKS, keys: NO_KEYS, guests: undefined };
  const luks = helper.luks(life);
  const port = keys.port(life);
  const guests = new GuestKeys({
    ...{ ...parts, luks, keys: port, log, trail: NO_TRAIL },
    secrets: libvirt.secretsPort(life),
    watch: { handedOver: () => undefined, revoked: () => undefined },
  });
  guests.start(RECHECK_MS, parts.isLibvirtReachable);
  return { luks, keys: port, guestKeys: guests, changingKeys: new Set<string>(), guests };
}

export function openKeyChanges(needs: Omit<KeyChangeNeeds, 'sharedGroups' | 'trail'>): KeyChanges {
  return new KeyChanges({ ...needs, sharedGroups: new Set(), trail: NO_TRAIL });
}
