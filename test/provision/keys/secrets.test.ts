/** The secrets of the world in memory are like libvirt's: test/host/libvirt-dbus.test.ts asks those for the same. */
import { describe } from 'vitest';
import { MemorySecrets } from '../fake-keys.ts';
import { guestSecretsContract } from '../secrets-contract.ts';

describe('secrets in memory', () => {
  const secrets = new MemorySecrets();
  const others = new Map<string, string>();
  guestSecretsContract({
    secrets,
    defineOther: (path, uuid) => {
      secrets.others.add(path);
      others.set(uuid, path);
      return Promise.resolve();
    },
    hasOther: (uuid) => Promise.resolve(secrets.others.has(others.get(uuid) ?? '')),
    removeOther: (uuid) => {
      secrets.others.delete(others.get(uuid) ?? '');
      return Promise.resolve();
    },
  });
});
