/**
 * Goal: thin volumes are clones of golden ones, of which there is one for each image, which nobody can write to and which
 * no guest gets; what is wrong with one costs nobody more than making it again. Method: the real verbs of daemon and
 * helper over a world in memory.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import { goldenVolumes } from '../../../src/core/thin/golden.ts';
import { readMark } from '../../../src/core/volume/volume.ts';
import { run, thinWorld } from '../thin-world.ts';
import { MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';
const third = '33333333-3333-4333-8333-333333333333';
const vm1 = { uuid, name: 'vm1', source: 'block' } as const;
const vm2 = { uuid: other, name: 'vm2', source: 'block' } as const;
const vm3 = { uuid: third, name: 'vm3', source: 'block' } as const;

const row = (world: World, of = uuid) => world.ledger.fillOf(of, 'vda');
const isReady = (world: World, of = uuid) => row(world, of)?.state === 'ready';
const model = (world: World, lv: string) => world.volumes.lvm.find(lv);
const goldens = async (world: World) => goldenVolumes((await world.volumes.list()).volumes);
const digestOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

async function ready(world: World, ...domains: readonly { readonly uuid: string }[]): Promise<void> {
  await until('published', () => domains.every((domain) => isReady(world, domain.uuid)));
}

describe('a domain whose disk names a device in a group with a thin pool', () => {
  it('gets a clone of a golden volume, grown, and zeros to its end', async () => {
    const world = thinWorld();
    world.define({ ...vm1, attributes: "size='8MiB'" });
    await ready(world, vm1);
    expect(model(world, 'vm1')).toMatchObject({ thinPool: 'pool0', sizeBytes: 8 * MIB, owner: 'root' });
    expect(world.isFilled('vm1')).toBe(true);
    const [golden, ...more] = await goldens(world);
    expect(more).toEqual([]);
    expect(golden).toMatchObject({
      thinPool: 'pool0',
      seal: { sizeBytes: world.image.length, format: 'raw' },
    });
    expect(golden?.unfit).toBeUndefined();
    expect(world.libvirt.refreshed).toEqual([]);
  });

  it('gets the same where each step of a fill is told to a trace', async () => {
    const nothing = () => undefined;
    const trace = {
      begun: nothing,
      entered: nothing,
      learned: nothing,
      ended: nothing,
      close: () => Promise.resolve(),
    };
    const world = thinWorld({ trace });
    world.define(vm1);
    await ready(world, vm1);
    expect(model(world, 'vm1')?.thinPool).toBe('pool0');
    expect(await goldens(world)).toHaveLength(1);
  });

  it('needs no libvirt pool, and does not mind one that is stopped', async () => {
    const world = thinWorld();
    world.libvirt.pool = 'undefined';
    world.define(vm1);
    await ready(world, vm1);
    world.libvirt.pool = 'inactive';
    world.define(vm2);
    await ready(world, vm2);
    expect(model(world, 'vm2')?.thinPool).toBe('pool0');
  });

  it('has a blank thick volume taken over that a tool has made', async () => {
    const world = thinWorld();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    world.define(vm1);
    await ready(world, vm1);
    expect(model(world, 'vm1')?.thinPool).toBeUndefined();
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('is refused a thin volume that somebody else has made', async () => {
    const world = thinWorld();
    world.volumes.lvm.add('vm1', { segmentType: 'thin', thinPool: 'pool0', sizeBytes: 4 * MIB });
    world.define(vm1);
    await until('looked at', () => !world.reconciler.isBusy);
    const { volumes } = await world.verbs.domain('vm1');
    expect(volumes[0]).toMatchObject({ state: 'refused', problem: { code: 'VOLUME_NOT_BLANK' } });
    expect(model(world, 'vm1')?.tags).toEqual([]);
  });

  it('is cloned by the reading that it was planned by, where the golden volume is there', async () => {
    const world = thinWorld();
    world.define(vm1);
    await ready(world, vm1);
    await until('idle', () => !world.reconciler.isBusy);
    const { volumes } = world;
    let lists = 0;
    let listsBefore = -1;
    const [list, clone] = [volumes.list.bind(volumes), volumes.clone.bind(volumes)];
    volumes.list = () => {
      lists += 1;
      return list();
    };
    volumes.clone = (...asked) => {
      listsBefore = lists;
      return clone(...asked);
    };
    world.define(vm2);
    await ready(world, vm2);
    expect(listsBefore).toBe(1);
    // One that has gone since is made again.
    const [golden] = await goldens(world);
    volumes.clone = (...asked) => {
      volumes.clone = clone;
      volumes.remove(golden?.lv ?? '');
      return clone(...asked);
    };
    world.define(vm3);
    await ready(world, vm3);
    expect(world.isFilled('vm3')).toBe(true);
    expect((await goldens(world)).map(({ lv }) => lv)).not.toContain(golden?.lv);
  });

  it('asks the store for nothing where the annotation has the digest and the golden volume is there', async () => {
    const world = thinWorld();
    world.define(vm1);
    await ready(world, vm1);
    world.images.isAway = true;
    world.images.objects.clear();
    world.define({ ...vm2, attributes: `sha256='${digestOf(world.image)}'` });
    await ready(world, vm2);
    expect(world.isFilled('vm2')).toBe(true);
    expect(await goldens(world)).toHaveLength(1);
  });

  it('has the image written to it where nothing says what the digest is', async () => {
    const world = thinWorld({ requireDigest: false });
    world.images.objects.delete('images/small.raw.sha256');
    world.define(vm1);
    await ready(world, vm1);
    expect(model(world, 'vm1')?.thinPool).toBe('pool0');
    expect(world.isFilled('vm1')).toBe(true);
    expect(await goldens(world)).toEqual([]);
  });

  it('is refused a size below that of the image', async () => {
    const world = thinWorld();
    world.define({ ...vm1, attributes: "size='1MiB'" });
    await until('failed', () => row(world)?.problem?.code === 'IMAGE_TOO_LARGE');
    expect(model(world, 'vm1')).toBeUndefined();
  });

  it('says of what its volume is a clone', async () => {
    const world = thinWorld();
    world.define(vm1);
    await ready(world, vm1);
    const { volumes } = await world.verbs.domain('vm1');
    const [golden] = await goldens(world);
    expect(volumes[0]).toMatchObject({ pool: 'vg0', thinPool: 'pool0', cloneOf: `vg0/${golden?.lv ?? ''}` });
    const { steps } = await world.verbs.explain('vm1');
    expect(steps[0]?.why).toContain(`a clone of vg0/${golden?.lv ?? ''}`);
  });

  it('deletes it without libvirt when its annotation says so', async () => {
    const world = thinWorld();
    world.define({ ...vm1, attributes: "on-undefine='delete'" });
    await ready(world, vm1);
    await until('seen', () => world.ledger.domainOf(uuid) !== undefined);
    world.reconciler.heard(uuid, 'begun');
    world.reconciler.heard(uuid, 'ended');
    world.undefine(uuid);
    world.reconciler.heard(uuid, 'ended');
    await until('looked', () => !world.reconciler.isBusy);
    world.clock.advance(60_000);
    await until('deleted', () => model(world, 'vm1') === undefined);
    expect(await goldens(world)).toHaveLength(1);
  });
});

describe('many domains that want one image', () => {
  it('have one golden volume made, and all see how far it is', async () => {
    const world = thinWorld({ limits: { concurrentMax: 3 } });
    world.images.hold();
    for (const vm of [vm1, vm2, vm3]) world.define(vm);
    await until('all wait', () =>
      [vm1, vm2, vm3].every((vm) => {
        const fillId = row(world, vm.uuid)?.fillId ?? '';
        return world.fills.progressOf(fillId)?.phase === 'filling';
      }),
    );
    world.images.letGo();
    await ready(world, vm1, vm2, vm3);
    expect(await goldens(world)).toHaveLength(1);
    for (const lv of ['vm1', 'vm2', 'vm3']) expect(world.isFilled(lv)).toBe(true);
    const [golden] = await goldens(world);
    expect(world.volumes.lvm.volumes.filter(({ originUuid }) => originUuid === golden?.uuid)).toHaveLength(3);
  });

  it('have it made by the next one when the first is cancelled', async () => {
    const world = thinWorld();
    world.images.hold();
    world.define(vm1);
    await until('being made', () => world.names().some((name) => name.includes('lvp-fill-')));
    world.define(vm2);
    await until('waiting', () => world.fills.activeCount === 2);
    const cancelled = world.verbs.cancel('vm1');
    world.images.letGo();
    await cancelled;
    await ready(world, vm2);
    expect(row(world)?.state).toBe('cancelled');
    expect(await goldens(world)).toHaveLength(1);
    await until('tidy', () => !world.names().some((name) => name.includes('lvp-fill-')));
  });

  it('all fail when the image is another one', async () => {
    const world = thinWorld();
    const attributes = `sha256='${'0'.repeat(64)}'`;
    for (const vm of [vm1, vm2]) world.define({ ...vm, attributes });
    await until('failed', () =>
      [vm1, vm2].every(({ uuid: of }) => row(world, of)?.problem?.code === 'DIGEST_MISMATCH'),
    );
    expect(world.names()).toEqual(['vg0/pool0']);
  });
});

describe('a golden volume', () => {
  const request = (world: World) => ({
    image: { bucket: 'images', key: 'small.raw' },
    format: 'raw' as const,
    sha256: digestOf(world.image),
  });

  it('can be written to by nobody, has no device, and is found again after a restart', async () => {
    const world = thinWorld();
    const made = await world.goldens.ensure('vg0', request(world), run());
    expect(model(world, made.lv)).toMatchObject({ writable: false, active: false });
    world.restart();
    expect(await world.goldens.ensure('vg0', request(world), run())).toEqual(made);
  });

  it('is not made where there is no thin pool', async () => {
    const world = new World();
    await expect(world.goldens.ensure('vg0', request(world), run())).rejects.toMatchObject({
      code: 'POOL_UNSUITABLE',
    });
  });

  it('that a crash has left unfinished is removed, and one that only lacks its name gets it', async () => {
    const world = thinWorld();
    const { lv } = await world.goldens.ensure('vg0', request(world), run());
    const golden = world.volumes.lvm.get(lv);
    const fillId = lv.slice('lvp-gold-'.length);
    golden.lv = `lvp-fill-${fillId}`;
    world.volumes.lvm
      .add('lvp-fill-0000000000000001', {
        ...{ segmentType: 'thin', thinPool: 'pool0' },
        tags: ['lvp:filling', 'lvp:fill:0000000000000001', 'lvp:domain:golden'],
      })
      .tags.push('lvp:target:lvp-gold-0000000000000001');
    world.restart();
    await world.reconciler.requestAll();
    expect(world.names().sort()).toEqual([`vg0/${lv}`, 'vg0/pool0']);
  });

  it('is not removed while it is being cloned, and is made again when it went right before', async () => {
    const world = thinWorld();
    const golden = await world.goldens.ensure('vg0', request(world), run());
    const volume = { vg: 'vg0', fillId: '00000000000000aa', target: 'x', domainUuid: uuid };
    const cloning = world.goldens.clone(golden, volume, MIB * 8);
    await expect(world.goldens.drop(golden)).rejects.toMatchObject({ code: 'GOLDEN_IN_USE' });
    await cloning;
    const dropping = world.goldens.drop(golden);
    const late = { ...volume, fillId: '00000000000000ab' };
    await expect(world.goldens.clone(golden, late, MIB * 8)).rejects.toMatchObject({
      code: 'VOLUME_MISSING',
    });
    await dropping;
    world.define(vm1);
    await ready(world, vm1);
    expect((await goldens(world)).map(({ lv }) => lv)).not.toContain(golden.lv);
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('beside another one that holds the same, or that was made writable, is removed', async () => {
    const world = thinWorld();
    const golden = await world.goldens.ensure('vg0', request(world), run());
    const second = world.volumes.lvm.add('lvp-gold-ffffffffffffffff', {
      ...world.volumes.lvm.get(golden.lv),
      ...{ lv: 'lvp-gold-ffffffffffffffff', uuid: 'second' },
    });
    second.tags = second.tags.map((tag) => (tag.startsWith('lvp:fill:') ? 'lvp:fill:ffffffffffffffff' : tag));
    await world.reconciler.requestAll();
    expect((await goldens(world)).map(({ lv }) => lv)).toEqual([golden.lv]);
    world.volumes.lvm.get(golden.lv).writable = true;
    await world.reconciler.requestAll();
    expect(await goldens(world)).toEqual([]);
  });

  it('that holds something else by now is noticed, removed, and made again', async () => {
    const world = thinWorld();
    const golden = await world.goldens.ensure('vg0', request(world), run());
    const pass = async () => {
      const checking = world.goldens.check(golden, new AbortController().signal);
      let isOver = false;
      void checking.finally(() => (isOver = true)).catch(() => undefined);
      await until('checked', () => {
        world.clock.advance(20);
        return isOver;
      });
      return checking;
    };
    expect(await pass()).toBe('sound');
    expect(world.names().sort()).toEqual([`vg0/${golden.lv}`, 'vg0/pool0']);
    // Behind the image, where clones read zeros.
    world.volume(golden.lv)?.bytes.subarray(-4).fill(0x11);
    expect(await pass()).toMatchObject({ code: 'GOLDEN_DAMAGED' });
    expect(world.names()).toEqual(['vg0/pool0']);
    world.define(vm1);
    await ready(world, vm1);
    expect(world.isFilled('vm1')).toBe(true);
  });
});

describe('room in a thin pool', () => {
  it('is promised once: a volume that could not grow to its end is not made, and is when there is room', async () => {
    const world = thinWorld();
    world.define({ ...vm1, attributes: "size='200MiB'" });
    await ready(world, vm1);
    world.define({ ...vm2, attributes: "size='60MiB'" });
    await until('refused', () => row(world, other)?.problem?.code === 'VG_FULL');
    expect(row(world, other)?.problem?.message).toContain('vg0/pool0');
    world.volumes.remove('vm1');
    world.undefine(uuid);
    await world.reconciler.requestAll();
    await ready(world, vm2);
  });

  it('can be promised more than once where the configuration says so', async () => {
    const world = thinWorld({ overcommit: 2 });
    for (const vm of [vm1, vm2]) world.define({ ...vm, attributes: "size='200MiB'" });
    await ready(world, vm1, vm2);
    world.define({ ...vm3, attributes: "size='200MiB'" });
    await until('refused', () => row(world, third)?.problem?.code === 'VG_FULL');
  });

  it('is not given out any more when the pool is nearly full', async () => {
    const world = thinWorld();
    const { pool } = world.volumes.lvm.get('pool0');
    if (pool !== undefined) Object.assign(pool, { metadataUsedBytes: pool.metadataBytes });
    world.define(vm1);
    await until('refused', () => row(world)?.problem?.code === 'VG_FULL');
    expect(world.names()).toEqual(['vg0/pool0']);
  });

  it('is not looked for in a pool that must be repaired; once it is, whoever waits goes on', async () => {
    const world = thinWorld();
    const { pool } = world.volumes.lvm.get('pool0');
    if (pool === undefined) throw new Error('no pool');
    world.define(vm2);
    await ready(world, vm2);
    Object.assign(pool, { health: 'needs_check' });
    world.define(vm1);
    await until('refused', () => row(world)?.problem?.code === 'POOL_UNSUITABLE');
    expect(row(world)?.problem).toMatchObject({
      message: expect.stringContaining('The thin pool vg0/pool0 must be checked') as string,
      hint: expect.stringContaining('lvconvert --repair vg0/pool0') as string,
    });
    Object.assign(pool, { health: undefined });
    await world.reconciler.requestAll();
    // No pause has passed.
    await ready(world, vm1);
  });

  it('that ends during a fill is what the fill says, and not that some device has failed', async () => {
    const world = thinWorld();
    const { pool } = world.volumes.lvm.get('pool0');
    if (pool === undefined) throw new Error('no pool');
    world.volumes.onSync = () => {
      Object.assign(pool, { health: 'metadata_read_only', metadataUsedBytes: pool.metadataBytes });
      throw new ProvisionError({ code: 'DEVICE_FAILED', message: 'Cannot sync /dev/vg0/lvp-fill-1: EIO.' });
    };
    world.define(vm1);
    await until('failed', () => row(world)?.problem !== undefined);
    expect(row(world)?.problem).toMatchObject({
      code: 'VG_FULL',
      message: expect.stringMatching(
        /^The thin pool vg0\/pool0 has no space left for metadata.*EIO/,
      ) as string,
      hint: expect.stringContaining('--poolmetadatasize') as string,
    });
    expect(world.names()).toEqual(['vg0/pool0']);
  });
});

describe('making a thin volume again', () => {
  it('swaps in a fresh clone, and the old one goes without libvirt', async () => {
    const world = thinWorld();
    world.define(vm1);
    await ready(world, vm1);
    const before = model(world, 'vm1')?.uuid;
    world.volume('vm1')?.bytes.fill(0x66);
    world.libvirt.pool = 'undefined';
    await world.verbs.reprovision('vm1', { target: 'vda', confirm: 'vm1/vda' });
    await until('made again', () => isReady(world) && !world.names().some((name) => name.includes('-old-')));
    expect(model(world, 'vm1')?.uuid).not.toBe(before);
    expect(world.isFilled('vm1')).toBe(true);
    expect(readMark(model(world, 'vm1')?.tags ?? []).state).toBe('ready');
  });
});
