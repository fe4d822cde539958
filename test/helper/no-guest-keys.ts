/** For worlds without encrypted disks. */
import type { GuestKeys } from '../../src/provision/guest-keys.ts';

export const NO_GUEST_KEYS: Pick<GuestKeys, 'handOver' | 'heard' | 'pauseMs'> = {
  handOver: () => Promise.resolve([]),
  heard: () => undefined,
  pauseMs: () => undefined,
};
