/** What GuestSecrets promise, kept by libvirt's and by those of the world in memory. */
import { expect, test } from 'vitest';
import type { GuestSecrets } from '../../src/provision/ports/libvirt.ts';
import { volumeKeyOf } from './fake-keys.ts';

export interface SecretsUnderTest {
  readonly secrets: GuestSecrets;
  /** Makes one that is not ours. */
  readonly defineOther: (path: string) => Promise<void>;
  readonly hasOther: (path: string) => Promise<boolean>;
  readonly removeOther: (path: string) => Promise<void>;
  /** Makes ours, or defines it anew, such that its value is kept on disk. */
  readonly change: (path: string) => Promise<void>;
  /** Whether anything of ours is on disk. */
  readonly isKept: (path: string) => Promise<boolean>;
}

const KEY = 'a key as long as one must be, at least';

export function guestSecretsContract(under: SecretsUnderTest): void {
  const { secrets } = under;
  const listed = async () => (await secrets.list()).toSorted((a, b) => a.path.localeCompare(b.path));
  const intact = (...paths: string[]) => paths.map((path) => ({ path, isIntact: true }));

  test('one is set, set again, listed and unset, each as often as one likes', async () => {
    const [path, other] = ['/dev/vg0/a+b', '/dev/vg0/b_c.d'];
    expect(await listed()).toEqual([]);
    await secrets.set(path, volumeKeyOf(KEY));
    await secrets.set(other, volumeKeyOf(KEY));
    await secrets.set(path, volumeKeyOf(`${KEY}, but another one`));
    expect(await listed()).toEqual(intact(path, other));
    expect(await secrets.unset(path)).toBe(true);
    expect(await secrets.unset(path)).toBe(false);
    expect(await listed()).toEqual(intact(other));
    await secrets.unset(other);
    expect(await listed()).toEqual([]);
  });

  test("somebody else's for the same volume is refused and left as it is", async () => {
    const path = '/dev/vg0/theirs';
    await under.defineOther(path);
    await expect(secrets.set(path, volumeKeyOf(KEY))).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(await secrets.unset(path)).toBe(false);
    expect(await listed()).toEqual([]);
    expect(await under.hasOther(path)).toBe(true);
    await under.removeOther(path);
    await secrets.set(path, volumeKeyOf(KEY));
    expect(await listed()).toEqual(intact(path));
    await secrets.unset(path);
  });

  test.each(['before it is set', 'when it is set'])(
    'ours that somebody has defined anew, %s, is seen, replaced and unset, and nothing of it stays on disk',
    async (when) => {
      const path = '/dev/vg0/changed';
      if (when === 'when it is set') await secrets.set(path, volumeKeyOf(KEY));
      await under.change(path);
      expect([await listed(), await under.isKept(path)]).toEqual([[{ path, isIntact: false }], true]);
      await secrets.set(path, volumeKeyOf(KEY));
      expect([await listed(), await under.isKept(path)]).toEqual([intact(path), false]);
      await under.change(path);
      expect(await under.isKept(path)).toBe(true);
      expect(await secrets.unset(path)).toBe(true);
      expect([await listed(), await under.isKept(path)]).toEqual([[], false]);
    },
  );
}
