/** What everything behind the port `Volumes` must keep, the adapter of the real helper and fakes alike. */
import { expect, it } from 'vitest';
import { GOLDEN_OWNER } from '../../src/core/owner.ts';
import type { GoldenSeal, NewGoldenSeal, Seal } from '../../src/core/volume/volume.ts';
import { goldenName, privateName, readMark } from '../../src/core/volume/volume.ts';
import type { Volumes } from '../../src/provision/ports/volumes.ts';
import type { MemoryLvm } from './memory-lvm.ts';

const MIB = 1 << 20;
const image = { image: 'images/debian.qcow2', sha256: 'ab'.repeat(32) };
const volume = {
  ...{ vg: 'vg0', fillId: '0123456789abcdef', target: 'web-root' },
  domainUuid: '11111111-2222-3333-4444-555555555555',
};
const seal: Seal = {
  ...{ state: 'ready', fillId: volume.fillId, target: volume.target, domainUuid: volume.domainUuid },
  ...{ ...image, generation: 1 },
};
const golden = { fillId: 'fedcba9876543210', sha256: image.sha256, format: 'qcow2' };
const future = {
  ...{ vg: 'vg0', fillId: golden.fillId, target: goldenName(golden.fillId), domainUuid: GOLDEN_OWNER },
};
const newSeal: NewGoldenSeal = {
  ...{ state: 'golden', ...golden, image: image.image, sizeBytes: 6 * MIB, contentSha256: 'cd'.repeat(32) },
};

/** `begin` gives the port and the group vg0 behind it, whose thin pool pool0 is configured. */
export function keepsContractOfVolumes(
  begin: () => Promise<{ readonly volumes: Volumes; readonly model: MemoryLvm }>,
): void {
  const find = async (volumes: Volumes, lv: string) =>
    (await volumes.list()).volumes.find((found) => found.lv === lv);

  it('makes, publishes, retires, restores and claims a thick volume', async () => {
    const { volumes } = await begin();
    expect(await volumes.create(volume, 5 * MIB)).toEqual({ made: 'created', sizeBytes: 8 * MIB });
    expect(await volumes.create(volume, 5 * MIB)).toEqual({ made: 'existing', sizeBytes: 8 * MIB });
    await volumes.publish(volume, seal);
    await volumes.retire('vg0', seal);
    await volumes.restore('vg0', seal);
    const other = volume.domainUuid.replace('1', '2');
    await volumes.claim('vg0', seal, other);
    const found = await find(volumes, volume.target);
    expect(readMark(found?.tags ?? [])).toEqual({ ...seal, domainUuid: other });
    expect(found?.thinPool).toBeUndefined();
    await expect(volumes.drop('vg0', { ...seal, domainUuid: other })).rejects.toMatchObject({
      code: 'VOLUME_STATE',
    });
  });

  it('makes a golden volume, and clones it as often as it is asked to', async () => {
    const { volumes } = await begin();
    expect(await volumes.create(future, 6 * MIB, 'pool0')).toEqual({ made: 'created', sizeBytes: 8 * MIB });
    await volumes.publish(future, newSeal);
    await volumes.publish(future, newSeal);
    const made = await find(volumes, future.target);
    expect(made).toMatchObject({ active: false, writable: false, thinPool: 'pool0' });
    const mark = readMark(made?.tags ?? []) as GoldenSeal;
    expect(mark).toEqual({ ...newSeal, mappedBytes: expect.any(Number) as number });
    for (const how of ['created', 'existing'] as const) {
      expect(await volumes.clone(volume, golden, 20 * MIB)).toEqual({ made: how, sizeBytes: 20 * MIB });
    }
    const clone = await find(volumes, privateName(volume.fillId));
    expect(clone).toMatchObject({ origin: future.target, thinPool: 'pool0', writable: true, active: false });
    await volumes.publish(volume, seal);
    expect((await find(volumes, volume.target))?.active).toBe(true);
    // Dropped, gone already, and nothing of it left in what was made of it.
    for (let times = 0; times < 2; times++) await volumes.drop('vg0', mark);
    expect(await find(volumes, future.target)).toBeUndefined();
    expect(readMark((await find(volumes, volume.target))?.tags ?? [])).toEqual(seal);
    expect((await find(volumes, volume.target))?.origin).toBeUndefined();
    for (let times = 0; times < 2; times++) await volumes.drop('vg0', seal);
    expect(await find(volumes, volume.target)).toBeUndefined();
    await expect(volumes.clone(volume, golden, 20 * MIB)).rejects.toMatchObject({ code: 'VOLUME_MISSING' });
  });

  it('removes a private thin volume without libvirt, and lists its pool', async () => {
    const { volumes, model } = await begin();
    await volumes.create(volume, 5 * MIB, 'pool0');
    await volumes.discard(volume);
    await volumes.discard(volume);
    expect(await find(volumes, privateName(volume.fillId))).toBeUndefined();
    const sizeBytes = model.get('pool0').sizeBytes;
    expect((await volumes.list()).thinPools).toMatchObject([
      { vg: 'vg0', lv: 'pool0', zeroes: true, sizeBytes },
    ]);
  });

  it('makes nothing in a pool that does not zero, nor in one that is not the configured one', async () => {
    const { volumes, model } = await begin();
    await expect(volumes.create(volume, MIB, 'pool1')).rejects.toMatchObject({ code: 'POOL_UNSUITABLE' });
    const pool = model.get('pool0');
    if (pool.pool !== undefined) pool.pool = { ...pool.pool, zeroes: false };
    await expect(volumes.create(volume, MIB, 'pool0')).rejects.toMatchObject({
      ...{ code: 'POOL_UNSUITABLE', hint: expect.stringContaining('lvchange --zero y vg0/pool0') as string },
    });
    expect(await find(volumes, privateName(volume.fillId))).toBeUndefined();
  });
}
