/** What everything behind the ports `LuksVolumes` and `VolumeDevices` must keep for encrypted volumes. */
import { expect, it } from 'vitest';
import type { ReceivingMark, Seal } from '../../src/core/volume/volume.ts';
import { LUKS_HEADER_BYTES, privateName, readMark } from '../../src/core/volume/volume.ts';
import type { VolumeKey } from '../../src/provision/ports/keys.ts';
import type { LuksVolumes, Volumes } from '../../src/provision/ports/volumes.ts';

const MIB = 1 << 20;
export const encryptedVolume = {
  ...{ vg: 'vg0', fillId: '0123456789abcdef', target: 'web-root' },
  ...{ domainUuid: '11111111-2222-3333-4444-555555555555', encryption: 'luks1' as const },
};
const volume = encryptedVolume;
export const encryptedSeal: Seal & { readonly encryption: 'luks1' } = {
  ...{ state: 'ready', fillId: volume.fillId, target: volume.target, domainUuid: volume.domainUuid },
  ...{ image: 'images/debian.qcow2', sha256: 'ab'.repeat(32), generation: 1, encryption: 'luks1' },
};
const seal = encryptedSeal;
const receiving: ReceivingMark = { ...seal, state: 'receiving' };

/** A key of that letter. */
export function keyOf(letter: string): VolumeKey {
  const bytes = Buffer.alloc(48, letter);
  return { bytes, wipe: () => bytes.fill(0) };
}

const refused = (code: string) => ({ code });

/** `begin` gives the ports and the group vg0 behind them, with room for some volumes. */
export function keepsContractOfLuksVolumes(
  begin: () => Promise<{ readonly volumes: Volumes; readonly luks: LuksVolumes }>,
): void {
  const made = async () => {
    const ports = await begin();
    await ports.volumes.create(volume, 5 * MIB);
    return ports;
  };
  const published = async (key: VolumeKey) => {
    const ports = await made();
    await ports.luks.formatLuks(volume, key);
    await ports.luks.closeLuks(volume);
    await ports.volumes.publish(volume, seal, key);
    return ports;
  };

  it('is formatted, opened as often as one likes, closed and published', async () => {
    const { volumes, luks } = await made();
    const opened = { sizeBytes: 8 * MIB - LUKS_HEADER_BYTES };
    for (const letter of ['a', 'b']) expect(await luks.formatLuks(volume, keyOf(letter))).toEqual(opened);
    for (let times = 0; times < 2; times += 1) {
      expect(await luks.openLuks(volume, keyOf('b'))).toEqual(opened);
    }
    await expect(luks.openLuks(volume, keyOf('a'))).rejects.toMatchObject(refused('KEY_WRONG'));
    await luks.openLuks(volume, keyOf('b'));
    await expect(volumes.publish(volume, seal, keyOf('b'))).rejects.toMatchObject(refused('VOLUME_STATE'));
    for (let times = 0; times < 2; times += 1) await luks.closeLuks(volume);
    for (let times = 0; times < 2; times += 1) await volumes.publish(volume, seal, keyOf('b'));
    const found = (await volumes.list()).volumes.find(({ lv }) => lv === volume.target);
    expect(readMark(found?.tags ?? [])).toEqual(seal);
    expect(await luks.checkLuks('vg0', seal, keyOf('b'))).toEqual({ keys: 1 });
    await expect(luks.checkLuks('vg0', seal, keyOf('a'))).rejects.toMatchObject(refused('KEY_WRONG'));
  });

  it('is published with the key that opens it, and again without', async () => {
    const { volumes, luks } = await made();
    await luks.formatLuks(volume, keyOf('a'));
    await luks.closeLuks(volume);
    await expect(volumes.publish(volume, seal)).rejects.toMatchObject(refused('USAGE'));
    await expect(volumes.publish(volume, seal, keyOf('b'))).rejects.toMatchObject(refused('KEY_WRONG'));
    const found = (await volumes.list()).volumes.find(({ lv }) => lv === privateName(volume.fillId));
    expect(readMark(found?.tags ?? [])).toMatchObject({ state: 'filling' });
    await volumes.publish(volume, seal, keyOf('a'));
    await volumes.publish(volume, seal);
  });

  it('is not opened, nor published, without a header', async () => {
    const { volumes, luks } = await made();
    await expect(luks.openLuks(volume, keyOf('a'))).rejects.toMatchObject(refused('VOLUME_STATE'));
    await expect(volumes.publish(volume, seal, keyOf('a'))).rejects.toMatchObject(refused('VOLUME_STATE'));
  });

  it('is never sealed as a plain one, nor a plain one as encrypted, nor formatted', async () => {
    const { volumes, luks } = await begin();
    const plainVolume = { ...volume, encryption: undefined };
    const plainSeal = { ...seal, encryption: undefined };
    await volumes.create(plainVolume, 5 * MIB);
    await expect(luks.formatLuks(volume, keyOf('a'))).rejects.toMatchObject(refused('VOLUME_STATE'));
    await expect(volumes.publish(volume, seal)).rejects.toMatchObject(refused('VOLUME_STATE'));
    await expect(volumes.publish(plainVolume, seal)).rejects.toMatchObject(refused('USAGE'));
    await volumes.discard(volume);
    await volumes.create(volume, 5 * MIB);
    await luks.formatLuks(volume, keyOf('a'));
    await expect(volumes.publish(plainVolume, plainSeal)).rejects.toMatchObject(refused('VOLUME_STATE'));
    await expect(volumes.publish(volume, plainSeal)).rejects.toMatchObject(refused('USAGE'));
  });

  it('has its mapping closed when it is discarded', async () => {
    const { volumes, luks } = await made();
    await luks.formatLuks(volume, keyOf('a'));
    await luks.openLuks(volume, keyOf('a'));
    for (let times = 0; times < 2; times += 1) await volumes.discard(volume);
    expect((await volumes.list()).volumes.map(({ lv }) => lv)).not.toContain(privateName(volume.fillId));
    await luks.closeLuks(volume);
  });

  it('has a key added, and the others taken away', async () => {
    const { luks } = await published(keyOf('a'));
    for (let times = 0; times < 2; times += 1) await luks.addLuksKey('vg0', seal, keyOf('a'), keyOf('b'));
    expect(await luks.checkLuks('vg0', seal, keyOf('b'))).toEqual({ keys: 2 });
    const strange = luks.addLuksKey('vg0', seal, keyOf('x'), keyOf('c'));
    await expect(strange).rejects.toMatchObject(refused('KEY_WRONG'));
    await expect(luks.keepOnlyLuksKey('vg0', seal, keyOf('x'))).rejects.toMatchObject(refused('KEY_WRONG'));
    expect(await luks.checkLuks('vg0', seal, keyOf('a'))).toEqual({ keys: 2 });
    for (let times = 0; times < 2; times += 1) await luks.keepOnlyLuksKey('vg0', seal, keyOf('b'));
    expect(await luks.checkLuks('vg0', seal, keyOf('b'))).toEqual({ keys: 1 });
    await expect(luks.checkLuks('vg0', seal, keyOf('a'))).rejects.toMatchObject(refused('KEY_WRONG'));
  });

  it('is opened by no key once it is erased', async () => {
    const { luks } = await published(keyOf('a'));
    for (let times = 0; times < 2; times += 1) await luks.eraseLuks('vg0', seal);
    await expect(luks.checkLuks('vg0', seal, keyOf('a'))).rejects.toMatchObject(refused('KEY_WRONG'));
  });

  it('is set aside for a domain that arrives, and recalled as it was', async () => {
    const { volumes, luks } = await made();
    await luks.formatLuks(volume, keyOf('a'));
    await luks.closeLuks(volume);
    await volumes.publish(volume, receiving, keyOf('a'));
    expect(await luks.checkLuks('vg0', receiving, keyOf('a'))).toEqual({ keys: 1 });
    await expect(volumes.arrive('vg0', seal)).rejects.toMatchObject(refused('VOLUME_STATE'));
    await volumes.recall('vg0', volume.fillId);
    const found = (await volumes.list()).volumes.find(({ lv }) => lv === privateName(volume.fillId));
    expect(readMark(found?.tags ?? [])).toMatchObject({ state: 'filling', encryption: 'luks1' });
    await luks.openLuks(volume, keyOf('a'));
    await volumes.discard(volume);
  });

  it('keeps its encryption when another domain claims it, and is aside and back', async () => {
    const { volumes, luks } = await published(keyOf('a'));
    await volumes.retire('vg0', seal);
    expect(await luks.checkLuks('vg0', seal, keyOf('a'))).toEqual({ keys: 1 });
    await volumes.restore('vg0', seal);
    const domainUuid = seal.domainUuid.replace('1', '2');
    await volumes.claim('vg0', seal, domainUuid);
    expect(await luks.checkLuks('vg0', { ...seal, domainUuid }, keyOf('a'))).toEqual({ keys: 1 });
  });

  it('that has gone is VOLUME_MISSING, and closing it is done', async () => {
    const { luks } = await begin();
    await expect(luks.formatLuks(volume, keyOf('a'))).rejects.toMatchObject(refused('VOLUME_MISSING'));
    await expect(luks.openLuks(volume, keyOf('a'))).rejects.toMatchObject(refused('VOLUME_MISSING'));
    await expect(luks.checkLuks('vg0', seal, keyOf('a'))).rejects.toMatchObject(refused('VOLUME_MISSING'));
    await expect(luks.eraseLuks('vg0', seal)).rejects.toMatchObject(refused('VOLUME_MISSING'));
    await luks.closeLuks(volume);
  });
}
