/** The secrets of the world in memory are like libvirt's: test/host/libvirt-dbus.test.ts asks those for the same. */
import { describe } from 'vitest';
import { MemorySecrets } from '../fake-keys.ts';
import { guestSecretsContract } from '../secrets-contract.ts';

describe('secrets in memory', () => {
  const secrets = new MemorySecrets();
  guestSecretsContract({
    secrets,
    defineOther: (path) => {
      secrets.others.add(path);
      return Promise.resolve();
    },
    hasOther: (path) => Promise.resolve(secrets.others.has(path)),
    removeOther: (path) => {
      secrets.others.delete(path);
      return Promise.resolve();
    },
    change: (path) => {
      secrets.change(path);
      return Promise.resolve();
    },
    isKept: (path) => Promise.resolve(secrets.isChanged(path)),
  });
});
