/** What GuestSecrets promise, kept by libvirt's and by those of the world in memory. */
import { expect, test } from 'vitest';
import { secretUuid } from '../../src/core/secret-name.ts';
import type { GuestSecrets } from '../../src/provision/ports/libvirt.ts';
import { volumeKeyOf } from './fake-keys.ts';

export interface SecretsUnderTest {
  readonly secrets: GuestSecrets;
  /** Makes one that is not ours. */
  readonly defineOther: (path: string, uuid: string) => Promise<void>;
  readonly hasOther: (uuid: string) => Promise<boolean>;
  readonly removeOther: (uuid: string) => Promise<void>;
}

const KEY = 'a key as long as one must be, at least';

export function guestSecretsContract({
  secrets,
  defineOther,
  hasOther,
  removeOther,
}: SecretsUnderTest): void {
  test('one is set, set again, listed and unset, each as often as one likes', async () => {
    const [path, other] = ['/dev/vg0/a+b', '/dev/vg0/b_c.d'];
    expect(await secrets.list()).toEqual([]);
    await secrets.set(path, volumeKeyOf(KEY));
    await secrets.set(other, volumeKeyOf(KEY));
    await secrets.set(path, volumeKeyOf(`${KEY}, but another one`));
    expect([...(await secrets.list())].sort()).toEqual([path, other]);
    await secrets.unset(path);
    await secrets.unset(path);
    expect(await secrets.list()).toEqual([other]);
    await secrets.unset(other);
    expect(await secrets.list()).toEqual([]);
  });

  test.each([
    ['under a UUID of its own', () => '0c1d2e3f-1111-4111-8111-000000000001'],
    ['under the UUID that ours would have', secretUuid],
  ])("somebody else's for the same volume, %s, is refused and left as it is", async (_where, uuidOf) => {
    const path = '/dev/vg0/theirs';
    const uuid = uuidOf(path);
    await defineOther(path, uuid);
    await expect(secrets.set(path, volumeKeyOf(KEY))).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    await secrets.unset(path);
    expect(await secrets.list()).toEqual([]);
    expect(await hasOther(uuid)).toBe(true);
    await removeOther(uuid);
    await secrets.set(path, volumeKeyOf(KEY));
    expect(await secrets.list()).toEqual([path]);
    await secrets.unset(path);
  });
}
