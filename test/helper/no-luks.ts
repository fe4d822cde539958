/** For worlds without encrypted volumes. */
import type { Keys, LuksVolumes } from '../../src/provision/ports.ts';

const none = (): Promise<never> => Promise.reject(new Error('no volume is encrypted here'));

export const NO_LUKS: LuksVolumes = {
  ...{ formatLuks: none, openLuks: none, closeLuks: none, checkLuks: none },
  ...{ addLuksKey: none, keepOnlyLuksKey: none, eraseLuks: none },
};

export const NO_KEYS: Keys = { read: none };
