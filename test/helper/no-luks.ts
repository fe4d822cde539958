/** For worlds without encrypted volumes. */
import type { GuestKeys } from '../../src/provision/keys/guest-keys.ts';
import type { Keys } from '../../src/provision/ports/keys.ts';
import type { LuksVolumes } from '../../src/provision/ports/volumes.ts';

const none = (): Promise<never> => Promise.reject(new Error('no volume is encrypted here'));

export const NO_LUKS: LuksVolumes = {
  ...{ formatLuks: none, openLuks: none, closeLuks: none, checkLuks: none },
  ...{ addLuksKey: none, keepOnlyLuksKey: none, eraseLuks: none },
};

export const NO_KEYS: Keys = { read: none };

const NO_GUEST_KEYS: Pick<GuestKeys, 'handOver' | 'heard' | 'pauseMs'> = {
  handOver: () => Promise.resolve([]),
  heard: () => undefined,
  pauseMs: () => undefined,
};

/** What the verbs need for encrypted volumes, where there are none. */
export function nothingEncrypted() {
  return {
    ...{ luks: NO_LUKS, keys: NO_KEYS, guestKeys: NO_GUEST_KEYS },
    changingKeys: new Set<string>(),
  };
}
