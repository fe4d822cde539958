/** What opens the encrypted disks of guests: where it comes from, and who hands it to libvirt. */
import { systemClock } from '../adapters/clock.ts';
import { ProvisionError } from '../core/errors.ts';
import { GuestKeys } from '../provision/guest-keys.ts';
import type { GuestKeyNeeds } from '../provision/guest-keys.ts';
import type { Keys, LuksVolumes } from '../provision/ports.ts';
import type { Seeing } from './seeing.ts';

/** How often the grants of running guests are looked at again, in ms. */
const RECHECK_MS = 60_000;

type Parts = Pick<GuestKeyNeeds, 'secrets' | 'volumes' | 'domains' | 'ledger'>;

/** Nothing is looked at before start(). */
export function openGuestKeys(parts: Parts, { metrics, trail, log }: Seeing): GuestKeys {
  return new GuestKeys({
    ...{ ...parts, luks: NO_LUKS, keys: metrics.keys.measured(NO_KEYS) },
    ...{ clock: systemClock, trail, log, watch: metrics.keys },
  });
}

export function startGuestKeys(guestKeys: GuestKeys, isLibvirtReachable: () => boolean): void {
  guestKeys.start(RECHECK_MS, isLibvirtReachable);
}

const NO_KEYS: Keys = { read: () => Promise.reject(noProvider()) };
const NO_LUKS: Pick<LuksVolumes, 'checkLuks'> = { checkLuks: () => Promise.reject(noProvider()) };

function noProvider(): ProvisionError {
  return new ProvisionError({
    code: 'CONFIG_INVALID',
    message: 'This host has nothing that keys come from.',
  });
}
