/** Goal: what the tests of this folder take for the helper keeps what the helper keeps. */
import { describe, expect, it } from 'vitest';
import { LUKS_HEADER_BYTES, privateName } from '../../src/core/volume/volume.ts';
import { encryptedVolume, keepsContractOfLuksVolumes, keyOf } from '../helper/luks-contract.ts';
import { keepsContractOfVolumes } from '../helper/volumes-contract.ts';
import { MIB, World } from './world.ts';

describe('volumes in memory', () => {
  keepsContractOfVolumes(() => {
    const { volumes } = new World();
    volumes.thinPools.set('vg0', 'pool0');
    if (volumes.lvm.find('pool0') === undefined) volumes.lvm.addPool('pool0');
    return Promise.resolve({ volumes, model: volumes.lvm });
  });
});

describe('encrypted volumes in memory', () => {
  keepsContractOfLuksVolumes(() => {
    const { volumes } = new World();
    return Promise.resolve({ volumes, luks: volumes });
  });

  it('hold what was written only for those who have the key', async () => {
    const { volumes } = new World();
    const lv = privateName(encryptedVolume.fillId);
    await volumes.create(encryptedVolume, 5 * MIB);
    await volumes.formatLuks(encryptedVolume, keyOf('a'));
    await volumes.closeLuks(encryptedVolume);
    await expect(volumes.open('vg0', lv, 'luks1')).rejects.toMatchObject({ code: 'VOLUME_MISSING' });
    expect(() => volumes.open('vg0', lv)).toThrow();
    await volumes.openLuks(encryptedVolume, keyOf('a'));
    const device = await volumes.open('vg0', lv, 'luks1');
    const content = Buffer.alloc(1024, 'plain text ');
    await device.write(content, 4096);
    const read = Buffer.alloc(content.length);
    await device.read(read, 4096);
    expect(read).toEqual(content);
    const raw = volumes.get(lv)?.bytes ?? Buffer.alloc(0);
    expect(raw.includes('plain text')).toBe(false);
    expect(raw.length).toBe(device.sizeBytes + LUKS_HEADER_BYTES);
    expect(volumes.plain(lv, 'a'.repeat(48))?.subarray(4096, 5120)).toEqual(content);
    expect(volumes.plain(lv, 'b'.repeat(48))).toBeUndefined();
  });
});
