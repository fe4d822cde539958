/**
 * Goal: whatever the order of define, start, undefine, failure and restart, a volume gets its final name
 * only when finished, and nothing is left behind. Method: the real verbs over a world in memory.
 */
import { describe, expect, it } from 'vitest';
import { readMark, sealTags } from '../../src/core/volume.ts';
import { admitStart } from '../../src/provision/admit-start.ts';
import { domainXml, MIB, until, World } from './world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';
const vm1 = { uuid, name: 'vm1' };

const isReady = (world: World, lv = 'vm1') => readMark(world.volume(lv)?.tags ?? []).state === 'ready';
const recordOf = (world: World, of = uuid) => world.ledger.fillOf(of, 'vda');
const privateNames = (world: World) => world.names().filter((name) => name.includes('lvp-fill-'));

/** A world in which vm1's fill has begun and stands still. */
async function midFill(): Promise<World> {
  const world = new World();
  world.images.hold();
  world.define(vm1);
  await until('a private volume', () => privateNames(world).length === 1);
  return world;
}

describe('a defined domain', () => {
  it('gets a published volume with the image and zeros to its end, and the pool is refreshed', async () => {
    const world = new World();
    world.define({ ...vm1, attributes: "size='8MiB'" });
    await until('published', () => recordOf(world)?.state === 'ready');
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.isFilled('vm1')).toBe(true);
    expect(world.volume('vm1')?.bytes.length).toBe(8 * MIB);
    expect(world.libvirt.refreshed).toContain('guests');
  });

  it('has its blank volume taken over', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    world.define(vm1);
    await until('published', () => recordOf(world)?.state === 'ready');
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('has its volume with content left alone', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB, 0x77));
    const xml = world.define(vm1);
    const answer = await admitStart(world.admit, 'prepare', xml);
    expect(answer.problems.map(({ code }) => code)).toEqual(['VOLUME_NOT_BLANK']);
    expect(world.volume('vm1')?.bytes.every((byte) => byte === 0x77)).toBe(true);
  });

  it('has a blank volume that is too small left alone', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(MIB));
    world.define(vm1);
    await until('failed', () => recordOf(world)?.problem?.code === 'IMAGE_TOO_LARGE');
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.volume('vm1')?.tags).toEqual([]);
  });

  it('is refused a wrong digest, and the space comes back', async () => {
    const world = new World();
    world.define({ ...vm1, attributes: `sha256='${'0'.repeat(64)}'` });
    await until('failed', () => recordOf(world)?.problem?.code === 'DIGEST_MISMATCH');
    await until('space returned', () => world.names().length === 0);
  });

  it('is refused an image without any digest', async () => {
    const world = new World();
    world.images.objects.delete('images/small.raw.sha256');
    world.define(vm1);
    await until('failed', () => recordOf(world)?.problem?.code === 'DIGEST_MISSING');
    expect(world.names()).toEqual([]);
  });

  it('is filled by itself after the bucket came back', async () => {
    const world = new World();
    world.images.isAway = true;
    world.define(vm1);
    await until('failed', () => recordOf(world)?.problem?.code === 'STORE_UNREACHABLE');
    world.images.isAway = false;
    world.clock.advance(6_000);
    world.reconciler.request(uuid);
    await until('published', () => isReady(world));
  });
});

describe('during a fill', () => {
  it('a start is refused after the grace, with the progress', async () => {
    const world = await midFill();
    const answer = admitStart(world.admit, 'prepare', domainXml(vm1));
    for (let second = 0; second < 4; second++) {
      await new Promise((resolve) => setImmediate(resolve));
      world.clock.advance(1_000);
    }
    expect(await answer).toMatchObject({ allowed: false, problems: [{ code: 'VOLUME_STATE' }] });
    expect((await answer).problems[0]?.message).toMatch(/vda is being filled from images\/small.raw: \d+ %/);
    world.images.letGo();
    await until('published all the same', () => isReady(world));
  });

  it('a start that waits goes through if the fill ends within the grace', async () => {
    const world = await midFill();
    const answer = admitStart(world.admit, 'prepare', domainXml(vm1));
    await new Promise((resolve) => setImmediate(resolve));
    world.images.letGo();
    expect(await answer).toMatchObject({ allowed: true });
    expect(isReady(world)).toBe(true);
  });

  it('undefine ends it, and nothing is left', async () => {
    const world = await midFill();
    world.undefine(uuid);
    await until('forgotten', () => recordOf(world) === undefined && world.names().length === 0);
  });

  it('a changed annotation ends it and begins another', async () => {
    const world = await midFill();
    const before = recordOf(world)?.fillId;
    world.define({ ...vm1, attributes: "size='8MiB'" });
    await until('another fill', () => recordOf(world)?.fillId !== before);
    world.images.letGo();
    await until('published', () => isReady(world));
    expect(world.volume('vm1')?.bytes.length).toBe(8 * MIB);
    expect(privateNames(world)).toEqual([]);
  });

  it('a second domain that names the same volume is refused', async () => {
    const world = await midFill();
    const answer = await admitStart(
      world.admit,
      'prepare',
      domainXml({ uuid: other, name: 'vm2', lv: 'vm1' }),
    );
    expect(answer.problems.map(({ code }) => code)).toEqual(['VOLUME_OF_OTHER_DOMAIN']);
    world.images.letGo();
    await until('published', () => isReady(world));
    const later = await admitStart(
      world.admit,
      'prepare',
      domainXml({ uuid: other, name: 'vm2', lv: 'vm1' }),
    );
    expect(later.problems.map(({ code }) => code)).toEqual(['VOLUME_OF_OTHER_DOMAIN']);
  });

  it.each(['comes back', 'is not waited for'])(
    'what is there is kept while the store is away, and it %s',
    async (how) => {
      const world = await midFill();
      const names = privateNames(world);
      world.images.isAway = true;
      world.images.letGo();
      await until('failed', () => {
        world.clock.advance(15_000);
        return recordOf(world)?.problem?.code === 'STORE_UNREACHABLE' && world.fills.running.size === 0;
      });
      await world.reconciler.reclaim();
      expect(privateNames(world)).toEqual(names);
      if (how === 'comes back') {
        world.images.isAway = false;
        world.clock.advance(700_000);
        world.reconciler.request(uuid);
        await until('published', () => isReady(world));
        expect(readMark(world.volume('vm1')?.tags ?? [])).toMatchObject({ fillId: names[0]?.slice(-16) });
      } else {
        world.undefine(uuid);
        await until('forgotten', () => recordOf(world) === undefined);
        await world.reconciler.reclaim();
        expect(privateNames(world)).toEqual([]);
      }
    },
  );

  it('a killed daemon takes it up again on the same private volume', async () => {
    const world = await midFill();
    const names = privateNames(world);
    const unfinished = recordOf(world);
    await world.fills.stop();
    // A kill leaves volume and row as they stood; stop() above only ends what this process cannot outlive.
    if (unfinished === undefined) throw new Error('no record');
    expect(unfinished.state).toBe('filling');
    world.images.letGo();
    world.restart();
    world.reconciler.request(uuid);
    await until('published', () => isReady(world));
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(readMark(world.volume('vm1')?.tags ?? [])).toMatchObject({ fillId: names[0]?.slice(-16) });
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('a blank volume made under the final name meanwhile gives way', async () => {
    const world = await midFill();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    world.images.letGo();
    await until('published', () => isReady(world));
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('a volume with content under the final name stays, and the fill fails', async () => {
    const world = await midFill();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB, 0x77));
    world.images.letGo();
    await until('failed', () => recordOf(world)?.problem?.code === 'VOLUME_NOT_BLANK');
    await until('space returned', () => privateNames(world).length === 0);
    expect(world.volume('vm1')?.bytes.every((byte) => byte === 0x77)).toBe(true);
  });
});

describe('a first start, before any define', () => {
  const first = domainXml(vm1);

  it('is filled from the XML of the gate and starts', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: true });
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('is refused when slow, and the fill outlives the domain', async () => {
    const world = new World();
    world.images.hold();
    const answer = admitStart(world.admit, 'prepare', first);
    await until('filling', () => privateNames(world).length === 1);
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false });
    // The transient domain has vanished; libvirt says so in every event.
    world.reconciler.request(uuid);
    world.images.letGo();
    await until('published', () => isReady(world));
    expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: true });
  });

  it.each(['migrate', 'restore'] as const)('after `%s begin` nothing is ever filled', async (operation) => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    expect(await admitStart(world.admit, operation, first)).toMatchObject({ allowed: false });
    expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: false });
    expect(world.volume('vm1')?.tags).toEqual([]);
    expect(world.ledger.fills()).toEqual([]);
  });
});

describe('a published volume', () => {
  async function published(provision = ''): Promise<World> {
    const world = new World();
    world.define({ ...vm1, provision });
    await until('published', () => recordOf(world)?.state === 'ready');
    return world;
  }

  it('outlives the domain, untouched', async () => {
    const world = await published();
    world.volume('vm1')?.bytes.fill(0x99, 0, 512);
    world.undefine(uuid);
    await until('forgotten', () => world.ledger.domainOf(uuid) === undefined);
    expect(world.volume('vm1')?.bytes[0]).toBe(0x99);
  });

  it('is never made again unasked when it is gone', async () => {
    const world = await published();
    world.volumes.byName.delete('vg0/vm1');
    const answer = await admitStart(world.admit, 'prepare', domainXml(vm1));
    expect(answer.problems.map(({ code }) => code)).toEqual(['VOLUME_MISSING']);
    expect(world.names()).toEqual([]);
  });

  it('is recognised by its seal alone when the ledger is lost', async () => {
    const world = await published();
    const { ledger } = new World();
    const admit = { ...world.admit, ledger };
    expect(await admitStart(admit, 'prepare', domainXml(vm1))).toMatchObject({ allowed: true });
  });

  it('is started once by the daemon if the annotation says so', async () => {
    const world = await published("start='when-ready'");
    await until('started', () => world.libvirt.started.length === 1);
    world.reconciler.request(uuid);
    await until('looked at again', () => world.ledger.domainOf(uuid)?.startWish === 'no');
    expect(world.libvirt.started).toEqual([uuid]);
  });

  it('sealed but not renamed is finished, not filled again', async () => {
    const world = new World();
    const fillId = 'f'.repeat(16);
    const seal = {
      fillId,
      target: 'vm1',
      domainUuid: uuid,
      image: 'images/small.raw',
      sha256: 'a'.repeat(64),
      generation: 1,
    };
    world.volumes.add(`lvp-fill-${fillId}`, Buffer.alloc(MIB, 0x55), sealTags(seal));
    world.define(vm1);
    await until('published', () => isReady(world));
    expect(world.volume('vm1')?.bytes[0]).toBe(0x55);
  });
});

describe('a start refused at boot', () => {
  it.each([
    [true, [uuid]],
    [false, []],
  ])('with autostart=%s is made good once when the volume is ready', async (autostart, started) => {
    const world = await midFill();
    world.define({ ...vm1, autostart });
    const answer = admitStart({ ...world.admit, isLibvirtReachable: () => false }, 'prepare', domainXml(vm1));
    await new Promise((resolve) => setImmediate(resolve));
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false });
    world.images.letGo();
    await until('published', () => recordOf(world)?.state === 'ready');
    await until('wish dealt with', () => world.ledger.domainOf(uuid)?.startWish === 'no');
    expect(world.libvirt.started).toEqual(started);
  });
});

describe('reclaim', () => {
  it('removes what a lost ledger left behind, and no other volume', async () => {
    const world = await midFill();
    await world.fills.stop();
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    world.libvirt.domains.clear();
    world.volumes.add('somebody-elses', Buffer.alloc(MIB, 1));
    world.restart();
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(['vg0/somebody-elses']);
  });
});
