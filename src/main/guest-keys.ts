/** What opens encrypted disks: where it comes from, and who hands it to libvirt. */
import { systemClock } from '../adapters/clock.ts';
import type { Config } from '../adapters/config-file.ts';
import { KeyProviders } from '../adapters/key-providers.ts';
import { GuestKeys } from '../provision/guest-keys.ts';
import type { GuestKeyNeeds } from '../provision/guest-keys.ts';
import type { KeyFiles, Keys } from '../provision/ports.ts';
import type { Seeing } from './seeing.ts';

/** The keys of all providers, read as this host; root's helper decrypts those of files. */
export function openKeys({ keys }: Config, files: KeyFiles, { metrics }: Seeing): Keys {
  return metrics.keys.measured(new KeyProviders(keys, files));
}

/** Nothing is looked at before its start(). */
export function openGuestKeys(
  parts: Pick<GuestKeyNeeds, 'keys' | 'luks' | 'secrets' | 'volumes' | 'domains' | 'ledger'>,
  { metrics, trail, log }: Seeing,
): GuestKeys {
  return new GuestKeys({ ...parts, clock: systemClock, trail, log, watch: metrics.keys });
}
