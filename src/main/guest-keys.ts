/** What opens the encrypted disks of guests: where it comes from, and who hands it to libvirt. */
import { systemClock } from '../adapters/clock.ts';
import type { Config } from '../adapters/config-file.ts';
import { KeyProviders } from '../adapters/key/providers.ts';
import type { Metrics } from '../adapters/metrics.ts';
import { GuestKeys } from '../provision/keys/guest-keys.ts';
import type { GuestKeyNeeds } from '../provision/keys/guest-keys.ts';
import type { KeyFiles, Keys } from '../provision/ports/keys.ts';
import type { Seeing } from './seeing.ts';

/** All providers of this host: its key server, and the files that the helper decrypts. */
export function openKeys(
  { keys }: Config,
  files: KeyFiles,
  { keys: counted }: Metrics,
): Keys & Pick<KeyProviders, 'replace'> {
  const providers = new KeyProviders(keys, files);
  return { ...counted.measured(providers), replace: (settings) => providers.replace(settings) };
}

type Parts = Pick<GuestKeyNeeds, 'secrets' | 'volumes' | 'luks' | 'keys' | 'domains' | 'ledger'>;

/** Nothing is looked at before start(). */
export function openGuestKeys(parts: Parts, { metrics, trail, log }: Seeing): GuestKeys {
  return new GuestKeys({ ...parts, clock: systemClock, trail, log, watch: metrics.keys });
}
