/**
 * Goal: a pool that stops pauses what is done in it, and whoever starts it sets it going again; one that stopped
 * because a refresh failed is started by us, one that an operator stopped never. Method: the real verbs over a
 * world in memory whose pool stops as libvirt's does.
 */
import { describe, expect, it } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import { readMark } from '../../../src/core/volume/volume.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { STARTS_MAX } from '../../../src/provision/pools/pool-keeper.ts';
import { MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const vm1 = { uuid, name: 'vm1' };

const isReady = (world: World, lv = 'vm1') => readMark(world.volume(lv)?.tags ?? []).state === 'ready';
const recordOf = (world: World) => world.ledger.fillOf(uuid, 'vda');
const isFilling = (world: World) => recordOf(world)?.state === 'filling' && isOpen(world);
const isOpen = (world: World) => world.volumes.lvm.volumes.some(({ openLooks }) => openLooks > 0);
const privateNames = (world: World) => world.names().filter((name) => name.includes('lvp-fill-'));
const statusOf = async (world: World) => (await world.verbs.domain('vm1')).volumes[0];

/** What libvirt's event leads to: everything known is looked at again, and done with. */
async function poolEvent(world: World): Promise<void> {
  world.reconciler.requestKnown();
  await settle();
}

/** Time for whatever can happen without the clock moving. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function midFill(): Promise<World> {
  const world = new World();
  world.images.hold();
  world.define(vm1);
  await until('a fill under way', () => isFilling(world));
  await poolEvent(world);
  return world;
}

async function publishedWorld(): Promise<World> {
  const world = new World();
  world.define(vm1);
  await until('published', () => recordOf(world)?.state === 'ready');
  await settle();
  return world;
}

describe('a pool that an operator has stopped', () => {
  it('has nothing begun in it, says so, and the fill begins by itself when it is started', async () => {
    const world = new World();
    world.libvirt.stopPool();
    const xml = world.define(vm1);
    await settle();
    expect(world.names()).toEqual([]);
    expect(await statusOf(world)).toMatchObject({
      state: 'held',
      problem: { code: 'POOL_INACTIVE', hint: expect.stringContaining('virsh pool-start guests') as unknown },
    });
    const { allowed, problems } = await admitStart(world.admit, 'prepare', xml);
    expect(allowed).toBe(false);
    expect(problems.map(({ code }) => code)).toEqual(['POOL_INACTIVE']);
    await world.libvirt.startPool('guests');
    await poolEvent(world);
    await until('published', () => isReady(world));
    expect(world.libvirt.poolStarts).toBe(1);
  });

  it('is never started by us, whatever looks at it and for however long', async () => {
    const world = await publishedWorld();
    world.libvirt.stopPool();
    for (let hour = 0; hour < 24; hour++) {
      await poolEvent(world);
      await world.reconciler.requestAll();
      await settle();
      world.clock.advance(3_600_000);
    }
    expect(world.libvirt.poolStarts).toBe(0);
    expect(await statusOf(world)).toMatchObject({ state: 'ready', problem: { code: 'POOL_INACTIVE' } });
  });

  it('is not started by us either when it was read in the middle of it: guest gone, then stopped', async () => {
    const world = await publishedWorld();
    const guest = world.volumes.lvm.get('vm1');
    guest.openLooks = Infinity;
    await poolEvent(world);
    // Open in the reading of the volumes, closed when the pool is read.
    guest.openLooks = 1;
    const list = world.volumes.list.bind(world.volumes);
    world.volumes.list = async () => {
      world.volumes.list = list;
      const answer = await list();
      world.libvirt.stopPool();
      return answer;
    };
    const pools = world.libvirt.pools.bind(world.libvirt);
    world.libvirt.pools = async () => {
      await until('stopped', () => world.libvirt.pool === 'inactive');
      return pools();
    };
    await poolEvent(world);
    expect(world.libvirt.pool).toBe('inactive');
    expect(world.libvirt.poolStarts).toBe(0);
  });

  it('keeps what was cut off, and it goes on there when the pool is started', async () => {
    const world = await midFill();
    const [name] = privateNames(world);
    await world.fills.stop();
    world.restart();
    world.libvirt.stopPool();
    world.images.letGo();
    await world.reconciler.requestAll();
    await settle();
    expect(privateNames(world)).toEqual([name]);
    expect(await statusOf(world)).toMatchObject({ state: 'held' });
    await world.libvirt.startPool('guests');
    await poolEvent(world);
    await until('published', () => isReady(world));
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('does not keep a blank volume from being taken over once it is started', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    world.libvirt.stopPool();
    world.define(vm1);
    await settle();
    // Not VOLUME_NOT_BLANK: what cannot be read now is not judged now.
    expect(await statusOf(world)).toMatchObject({ state: 'held', problem: { code: 'POOL_INACTIVE' } });
    await world.libvirt.startPool('guests');
    await poolEvent(world);
    await until('published', () => isReady(world));
  });

  it('keeps a cancelled fill cancelled, and gives its space back', async () => {
    const world = await midFill();
    world.libvirt.breakPool();
    await world.verbs.cancel('vm1');
    await until('space returned', () => world.names().length === 0);
    expect(await statusOf(world)).toMatchObject({ state: 'cancelled' });
  });
});

describe('a fill whose pool stops in the middle', () => {
  it('goes on to its end, is published, and libvirt learns of it when the pool is started', async () => {
    const world = await midFill();
    // Nobody is told of it, so nobody looks.
    world.libvirt.breakPool();
    world.images.letGo();
    await until('published', () => recordOf(world)?.state === 'ready');
    // It has not failed in between.
    expect(recordOf(world)?.attempts).toBe(0);
    expect(world.isFilled('vm1')).toBe(true);
    expect(world.names()).toEqual(['vg0/vm1']);
    await settle();
    const { refreshed } = world.libvirt;
    const before = refreshed.length;
    for (let minute = 0; minute < 10; minute++) {
      world.clock.advance(60_000);
      await settle();
    }
    expect(refreshed.length).toBe(before);
  });

  it('is finished although the pool is undefined meanwhile', async () => {
    const world = await midFill();
    world.libvirt.pool = 'undefined';
    await poolEvent(world);
    expect((await world.verbs.domain('vm1')).problems).toMatchObject([{ code: 'POOL_UNSUITABLE' }]);
    world.libvirt.pool = 'active';
    world.images.letGo();
    await poolEvent(world);
    await until('published', () => isReady(world));
  });

  it('leaves nothing when it is cancelled in a group that no pool is on any more', async () => {
    const world = await midFill();
    world.libvirt.pool = 'undefined';
    await world.verbs.cancel('vm1');
    await until('space returned', () => world.names().length === 0);
  });

  it('leaves nothing when its domain goes in a group that no pool is on any more', async () => {
    const world = await midFill();
    world.libvirt.pool = 'undefined';
    world.undefine(uuid);
    await until('ended', () => recordOf(world) === undefined);
    await world.reconciler.requestAll();
    await until('space returned', () => world.names().length === 0);
  });
});

describe('a pool that has stopped by itself', () => {
  it('because our own refresh failed is started at once, and the volume is published', async () => {
    const world = new World();
    world.libvirt.brokenRefreshes = 1;
    world.define(vm1);
    await until('published', () => recordOf(world)?.state === 'ready');
    expect(world.libvirt).toMatchObject({ pool: 'active', poolStarts: 1 });
  });

  it('while an LV was in use is started: nobody can have asked for that', async () => {
    const world = await midFill();
    world.libvirt.breakPool();
    await poolEvent(world);
    expect(world.libvirt).toMatchObject({ pool: 'active', poolStarts: 1 });
    world.images.letGo();
    await until('published', () => isReady(world));
  });

  it('is tried a number of times with longer and longer pauses, says so, and is then left to people', async () => {
    const world = await midFill();
    world.libvirt.unstartable = 1000;
    world.libvirt.breakPool();
    await poolEvent(world);
    expect(world.libvirt.poolStarts).toBe(1);
    world.images.letGo();
    await until('published', () => recordOf(world)?.state === 'ready');
    const problem = (await statusOf(world))?.problem;
    expect(problem?.message).toMatch(
      /stopped by itself: .* in use\. It is being started again \(1 of 9 tries\)/,
    );
    world.clock.advance(4_000);
    await settle();
    expect(world.libvirt.poolStarts).toBe(1);
    for (let count = 0; count < 48; count++) {
      world.clock.advance(3_600_000);
      await poolEvent(world);
    }
    expect(world.libvirt.poolStarts).toBe(STARTS_MAX);
    const last = (await statusOf(world))?.problem;
    expect(last?.message).toContain(`could not be started again in ${STARTS_MAX} tries`);
    expect(last?.hint).toContain('virsh pool-start guests');
  });

  it('and was started by the operator is not started a second time', async () => {
    const world = await midFill();
    world.libvirt.unstartable = 1;
    world.libvirt.breakPool();
    await poolEvent(world);
    await world.libvirt.startPool('guests');
    await poolEvent(world);
    world.clock.advance(60_000);
    await poolEvent(world);
    expect(world.libvirt.poolStarts).toBe(2);
  });

  it('again and again is started again and again, but not for ever', async () => {
    const world = await midFill();
    for (let count = 0; count < 3 * STARTS_MAX; count++) {
      world.libvirt.breakPool();
      await poolEvent(world);
      // As long as its pause, and not a moment longer.
      for (let tries = 0; tries < 130 && world.libvirt.pool !== 'active'; tries++) {
        world.clock.advance(5_000);
        await settle();
      }
      await poolEvent(world);
    }
    expect(world.libvirt.poolStarts).toBe(STARTS_MAX);
  });
});

describe('a refresh of ours that fails every time', () => {
  it('has the pool started again some times, and then says what is wrong', async () => {
    const world = await publishedWorld();
    world.libvirt.brokenRefreshes = 1000;
    let refusals = 0;
    for (let count = 0; count < 3 * STARTS_MAX; count++) {
      await world.poolKeeper.refresh('guests').catch(() => (refusals += 1));
    }
    expect(world.libvirt.poolStarts).toBe(STARTS_MAX);
    expect(refusals).toBe(2 * STARTS_MAX);
  });
});

describe('a refresh that fails for a reason of another kind', () => {
  it.each(['active', 'inactive'] as const)('starts nothing while the pool is %s', async (state) => {
    const world = await publishedWorld();
    if (state === 'inactive') world.libvirt.stopPool();
    const error = new ProvisionError({ code: 'LIBVIRT_FAILED', message: 'out of memory' });
    world.libvirt.refresh = () => Promise.reject(error);
    await expect(world.poolKeeper.refresh('guests')).rejects.toBe(error);
    await settle();
    expect(world.libvirt.poolStarts).toBe(0);
  });
});
