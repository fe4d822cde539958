/**
 * Goal: whatever the order of define, start, undefine, failure and restart, a volume gets its final name
 * only when finished, and nothing is left behind. Method: the real verbs over a world in memory.
 */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import { ADOPTING_TAG, fillTags, readMark, sealTags } from '../../../src/core/volume/volume.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { domainXml, MIB, until, World } from '../world.ts';

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

  it('is refused, without any digest, bytes that were not judged, and the space comes back', async () => {
    const world = new World({ requireDigest: false });
    const { objects } = world.images;
    objects.delete('images/small.raw.sha256');
    // Not made smaller, so that both have one size.
    objects.set('images/small.raw', gzipSync(world.image, { level: 0 }));
    const other = Buffer.from(world.image).fill('other', MIB, MIB + 5000);
    world.volumes.onCreate = () => {
      objects.set('images/small.raw', gzipSync(other, { level: 0 }));
    };
    world.define({ ...vm1, attributes: "compression='gzip'" });
    await until('failed', () => recordOf(world)?.problem !== undefined);
    expect(recordOf(world)?.problem?.code).toMatch(/^(DIGEST_MISMATCH|IMAGE_CHANGED)$/);
    await until('space returned', () => world.names().length === 0);
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

describe('a host whose volumes are read back', () => {
  const spoil = (bytes: Buffer) => {
    bytes[MIB] = 0x24;
  };

  it('says so while it does, and publishes what is right', async () => {
    const world = new World({ readBack: true });
    // From here on the image is read for the second time.
    world.volumes.onSync = () => {
      world.images.hold();
    };
    world.define(vm1);
    const phaseOf = () => world.fills.progressOf(recordOf(world)?.fillId ?? '')?.phase;
    await until('verifying', () => phaseOf() === 'verifying');
    expect((await world.verbs.domain('vm1')).volumes).toMatchObject([
      { state: 'filling', phase: 'verifying', bytesDone: 0, bytesTotal: world.image.length },
    ]);
    expect(world.names()).not.toContain('vg0/vm1');
    world.images.letGo();
    await until('published', () => isReady(world));
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('does not publish what the disk did not keep, gives the space back, and tries again', async () => {
    const world = new World({ readBack: true });
    world.volumes.onSync = spoil;
    world.define(vm1);
    await until('failed', () => recordOf(world)?.problem?.code === 'DEVICE_FAILED');
    expect(recordOf(world)?.problem?.message).toContain(`from byte ${MIB} on it reads 24 42 42 42`);
    await until('space returned', () => world.names().length === 0);
    world.volumes.onSync = () => undefined;
    world.clock.advance(6_000);
    world.reconciler.request(uuid);
    await until('published', () => isReady(world));
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('is what it takes to notice that', async () => {
    const world = new World();
    world.volumes.onSync = spoil;
    world.define(vm1);
    await until('published', () => isReady(world));
    expect(world.isFilled('vm1')).toBe(false);
  });

  it('is read back by the next life of the daemon when one ended while it read', async () => {
    const world = new World({ readBack: true });
    world.volumes.onSync = () => {
      world.images.hold();
    };
    world.define(vm1);
    const phaseOf = () => world.fills.progressOf(recordOf(world)?.fillId ?? '')?.phase;
    await until('verifying', () => phaseOf() === 'verifying');
    await world.fills.stop();
    expect(privateNames(world)).toHaveLength(1);
    world.images.letGo();
    world.volumes.onSync = spoil;
    world.restart();
    world.reconciler.request(uuid);
    await until('failed', () => recordOf(world)?.problem?.code === 'DEVICE_FAILED');
    expect(world.names()).not.toContain('vg0/vm1');
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

  it('undefine and define again at once begins it again', async () => {
    const world = await midFill();
    const before = recordOf(world)?.fillId;
    world.undefine(uuid);
    await until('cancelled', () => !world.fills.running.has(before ?? ''));
    world.define(vm1);
    world.images.letGo();
    await until('published', () => isReady(world));
    expect(privateNames(world)).toEqual([]);
  });

  it('cancel by hand ends it until it is retried', async () => {
    const world = await midFill();
    const cancelled = await world.verbs.cancel('vm1');
    expect(cancelled.volumes).toMatchObject([{ state: 'cancelled', problem: { code: 'CANCELLED' } }]);
    expect(world.names()).toEqual([]);
    world.reconciler.request(uuid);
    world.images.letGo();
    expect(await world.verbs.retry(uuid, 'vda')).toMatchObject({ volumes: [{ state: 'filling' }] });
    await until('published', () => isReady(world));
    expect(await world.verbs.domain('vm1')).toMatchObject({ volumes: [{ state: 'ready' }], problems: [] });
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

  it.each(['comes back', 'is not waited for', 'is given up by hand'])(
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
      await world.reconciler.requestAll();
      expect(privateNames(world)).toEqual(names);
      if (how === 'comes back') {
        world.images.isAway = false;
        await until('published', () => {
          world.clock.advance(15_000);
          return isReady(world);
        });
        expect(readMark(world.volume('vm1')?.tags ?? [])).toMatchObject({ fillId: names[0]?.slice(-16) });
      } else if (how === 'is given up by hand') {
        expect(await world.verbs.cancel('vm1')).toMatchObject({ volumes: [{ state: 'cancelled' }] });
        expect(privateNames(world)).toEqual([]);
      } else {
        world.undefine(uuid);
        await until('forgotten', () => recordOf(world) === undefined);
        await world.reconciler.requestAll();
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

  /** The first try was refused and its fill stands still. */
  async function refusedOnce(): Promise<World> {
    const world = new World();
    world.images.hold();
    const answer = admitStart(world.admit, 'prepare', first);
    await until('filling', () => privateNames(world).length === 1);
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false });
    return world;
  }

  it('is filled from the XML of the gate and starts', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: true });
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('is refused when slow, and the fill outlives the domain', async () => {
    const world = await refusedOnce();
    // The transient domain has vanished; libvirt says so in every event.
    world.reconciler.request(uuid);
    world.images.letGo();
    await until('published', () => isReady(world));
    expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: true });
  });

  describe('comes back with another UUID, as tools do, and', () => {
    const again = domainXml({ ...vm1, uuid: other });

    it('starts once the fill of the first try has ended', async () => {
      const world = await refusedOnce();
      world.images.letGo();
      await until('published', () => isReady(world));
      expect(await admitStart(world.admit, 'prepare', again)).toMatchObject({ allowed: true });
      expect(readMark(world.volume('vm1')?.tags ?? [])).toMatchObject({ state: 'ready', domainUuid: other });
      // The first one is over.
      expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: false });
    });

    it('is the only one known in the end, however many tries there were', async () => {
      const world = await refusedOnce();
      const second = admitStart(world.admit, 'prepare', again);
      await new Promise((resolve) => setImmediate(resolve));
      world.clock.advance(3_000);
      expect(await second).toMatchObject({ allowed: false });
      world.images.letGo();
      await until('published', () => isReady(world));
      const third = { ...vm1, uuid: '33333333-3333-4333-8333-333333333333' };
      expect(await admitStart(world.admit, 'prepare', domainXml(third))).toMatchObject({ allowed: true });
      expect(world.ledger.domains().map(({ domain }) => domain.uuid)).toEqual([third.uuid]);
    });

    it('waits for the fill of the first try', async () => {
      const world = await refusedOnce();
      // The tool has made its blank volume again.
      world.volumes.add('vm1', Buffer.alloc(4 * MIB));
      const answer = admitStart(world.admit, 'prepare', again);
      await new Promise((resolve) => setImmediate(resolve));
      world.images.letGo();
      expect(await answer).toMatchObject({ allowed: true });
      expect(world.names()).toEqual(['vg0/vm1']);
      expect(world.isFilled('vm1')).toBe(true);
    });

    it('is refused what a guest has been started on', async () => {
      const world = await refusedOnce();
      world.images.letGo();
      await until('published', () => isReady(world));
      expect(await admitStart(world.admit, 'prepare', first)).toMatchObject({ allowed: true });
      expect(await admitStart(world.admit, 'prepare', again)).toMatchObject({
        allowed: false,
        problems: [{ code: 'VOLUME_OF_OTHER_DOMAIN' }],
      });
    });

    it('is refused after a restart, when nobody can say that no guest was started', async () => {
      const world = await refusedOnce();
      world.images.letGo();
      await until('published', () => isReady(world));
      world.restart();
      expect(await admitStart(world.admit, 'prepare', again)).toMatchObject({ allowed: false });
    });
  });

  it('refused and cut off by a restart of the daemon is still filled', async () => {
    const world = await refusedOnce();
    await world.fills.stop();
    world.images.letGo();
    world.restart();
    await world.reconciler.requestAll();
    await until('published', () => isReady(world));
    // A day later nobody has defined it: forgotten, but what was published stays.
    world.clock.advance(25 * 3_600_000);
    world.reconciler.request(uuid);
    await until('forgotten', () => world.ledger.domainOf(uuid) === undefined);
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('on its way in is not filled when libvirt lists it either', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB));
    await admitStart(world.admit, 'migrate', first);
    world.define(vm1);
    await until('looked at', () => world.ledger.domainOf(uuid) !== undefined);
    expect(world.volume('vm1')?.tags).toEqual([]);
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
    world.volumes.remove('vm1');
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

  it('is known again to a ledger that fell behind, under the id on its seal', async () => {
    const world = await published();
    const fillId = recordOf(world)?.fillId;
    world.ledger.removeFill(uuid, 'vda');
    world.reconciler.request(uuid);
    await until('known again', () => recordOf(world)?.state === 'ready');
    expect(recordOf(world)?.fillId).toBe(fillId);
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

describe('what only says that nobody could look', () => {
  it.each([
    ['libvirt', (world: World) => (world.libvirt.isAway = true)],
    ['the helper', (world: World) => (world.volumes.isAway = true)],
  ])('is passed on to the hook, which goes by the seals: %s', async (_who, takeAway) => {
    const world = new World();
    world.define(vm1);
    await until('published', () => recordOf(world)?.state === 'ready');
    takeAway(world);
    await expect(admitStart(world.admit, 'prepare', domainXml(vm1))).rejects.toThrow(/away/);
  });

  it('of one volume does not keep another domain from being filled', async () => {
    const world = new World();
    world.volumes.add('odd', Buffer.alloc(4 * MIB));
    world.volumes.unexaminable.add('odd');
    world.define({ uuid: other, name: 'odd' });
    world.define(vm1);
    await until('published', () => isReady(world));
    expect(await world.verbs.domain('odd')).toMatchObject({
      volumes: [{ problem: { code: 'VOLUME_NOT_BLANK' } }],
    });
  });
});

describe('cut off at the end of a fill', () => {
  const fillId = 'f'.repeat(16);
  const mark = { fillId, target: 'vm1', domainUuid: uuid };
  const sealed = sealTags({ ...mark, image: 'images/small.raw', sha256: 'a'.repeat(64), generation: 1 });

  it('between rename and refresh, libvirt is told at the next look', async () => {
    const world = await midFill();
    const unfinished = recordOf(world);
    if (unfinished === undefined) throw new Error('no record');
    await world.reconciler.stop();
    await world.fills.stop();
    world.restart();
    world.volumes.lvm.volumes = [];
    world.volumes.add(
      'vm1',
      Buffer.alloc(4 * MIB, 1),
      sealTags({
        ...unfinished,
        target: 'vm1',
        image: 'images/small.raw',
        sha256: 'a'.repeat(64),
        generation: 1,
      }),
    );
    world.reconciler.request(uuid);
    await until('known', () => recordOf(world)?.state === 'ready');
    expect(world.libvirt.refreshed).toEqual(['guests']);
  });

  it('with a volume of somebody else in the way, it is not tried again and again', async () => {
    const world = new World();
    world.volumes.add(`lvp-fill-${fillId}`, Buffer.alloc(4 * MIB, 0x55), sealed);
    world.volumes.add('vm1', Buffer.alloc(4 * MIB, 0x77));
    world.define(vm1);
    await until('failed', () => recordOf(world)?.problem?.code === 'VOLUME_NOT_BLANK');
    const settled = world.fills.settledCount;
    for (let look = 0; look < 10; look++) {
      world.reconciler.request(uuid);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(world.fills.settledCount).toBe(settled);
    world.volumes.remove('vm1');
    await world.verbs.retry('vm1');
    await until('published', () => isReady(world));
  });

  it('with a volume that was being moved aside, that goes on', async () => {
    const world = new World();
    world.volumes.add(`lvp-fill-${fillId}`, Buffer.alloc(4 * MIB, 0x55), sealed);
    const aside = fillTags({ ...mark, fillId: 'e'.repeat(16) });
    world.volumes.add('vm1', Buffer.alloc(4 * MIB), [...aside, ADOPTING_TAG]);
    world.define(vm1);
    await until('published', () => isReady(world));
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.volume('vm1')?.bytes[0]).toBe(0x55);
  });
});

describe('what the simulation has found once:', () => {
  it('a pool that could not be refreshed after publishing is refreshed later', async () => {
    const world = new World();
    const refresh = world.libvirt.refresh.bind(world.libvirt);
    let failures = 2;
    world.libvirt.refresh = (pool) =>
      failures-- > 0
        ? Promise.reject(new ProvisionError({ code: 'LIBVIRT_FAILED', message: 'busy' }))
        : refresh(pool);
    world.define(vm1);
    await until('refused twice', () => failures === 0);
    await until('said so', () => recordOf(world)?.problem?.code === 'LIBVIRT_FAILED');
    world.clock.advance(5_000);
    await until('told', () => world.libvirt.refreshed.length === 1);
    await until('ready', () => recordOf(world)?.state === 'ready');
  });

  it('the ledger calls a sealed volume ready when libvirt has been told, not before', async () => {
    const world = new World();
    const mark = { fillId: 'f'.repeat(16), target: 'vm1', domainUuid: uuid };
    const sealed = sealTags({ ...mark, image: 'images/small.raw', sha256: 'a'.repeat(64), generation: 1 });
    world.volumes.add('vm1', Buffer.alloc(4 * MIB, 0x55), sealed);
    const refresh = Promise.withResolvers<undefined>();
    world.libvirt.refresh = () => refresh.promise;
    world.define(vm1);
    await until('known', () => world.ledger.domainOf(uuid) !== undefined);
    for (let look = 0; look < 10; look++) await new Promise((resolve) => setImmediate(resolve));
    // Ended here, the next life of the daemon would find nothing left to do.
    expect(recordOf(world)?.state).not.toBe('ready');
    refresh.resolve(undefined);
    await until('ready', () => recordOf(world)?.state === 'ready');
  });

  it('libvirt is told of a volume whose ledger was lost between renaming and refresh', async () => {
    const world = new World();
    const mark = { fillId: 'f'.repeat(16), target: 'vm1', domainUuid: uuid };
    const sealed = sealTags({ ...mark, image: 'images/small.raw', sha256: 'a'.repeat(64), generation: 1 });
    world.volumes.add('vm1', Buffer.alloc(4 * MIB, 0x55), sealed);
    world.define(vm1);
    await until('told', () => world.libvirt.refreshed.length === 1);
  });

  it.each(['filling', 'publishing', 'ready'] as const)(
    'a ledger that cannot take down the state `%s` does not end the fill',
    async (state) => {
      const world = new World();
      const putFill = world.ledger.putFill.bind(world.ledger);
      let failures = 1;
      world.ledger.putFill = (record) => {
        if (record.state === state && failures-- > 0) throw new Error('disk is full');
        putFill(record);
      };
      world.define(vm1);
      await until('published', () => recordOf(world)?.state === 'ready');
      expect(world.isFilled('vm1')).toBe(true);
    },
  );

  it('a fill that was cut off and may not go on any more gives its space back', async () => {
    const world = await midFill();
    await world.fills.stop();
    world.volumes.add('vm1', Buffer.alloc(4 * MIB, 0x77));
    world.restart();
    world.reconciler.request(uuid);
    await until('given up', () => recordOf(world) === undefined);
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(['vg0/vm1']);
    world.volumes.remove('vm1');
    world.images.letGo();
    world.reconciler.request(uuid);
    await until('published', () => isReady(world));
  });

  it('a sealed volume whose domain has gone before the last step gets its name', async () => {
    const world = new World();
    const fillId = 'f'.repeat(16);
    const mark = { fillId, target: 'vm1', domainUuid: uuid };
    const sealed = sealTags({ ...mark, image: 'images/small.raw', sha256: 'a'.repeat(64), generation: 1 });
    world.volumes.add(`lvp-fill-${fillId}`, Buffer.alloc(4 * MIB, 0x55), sealed);
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('a start after a failure is answered in time, however slow LVM is', async () => {
    const world = new World();
    world.images.isAway = true;
    world.define(vm1);
    await until('failed', () => recordOf(world)?.state === 'failed');
    world.images.isAway = false;
    world.images.hold();
    const list = world.volumes.list.bind(world.volumes);
    world.volumes.list = () => world.clock.sleep(1_800).then(list);
    const over = new AbortController();
    const answer = admitStart(world.admit, 'prepare', domainXml(vm1)).finally(() => {
      over.abort();
    });
    let tookMs = 0;
    for (; !over.signal.aborted; tookMs += 100) {
      for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
      world.clock.advance(100);
    }
    expect(await answer).toMatchObject({ allowed: false });
    expect(tookMs).toBeLessThan(7_000);
  });

  it.each([
    ['removed', false],
    ['removed and made again', true],
  ])(
    'a blank volume %s while it is taken over is not taken for the one that was marked',
    async (_what, again) => {
      const world = new World();
      world.volumes.add('vm1', Buffer.alloc(4 * MIB));
      let times = 1;
      world.volumes.lvm.beside = (step, model) => {
        if (step !== 'swapTags' || times-- <= 0) return;
        world.volumes.remove('vm1');
        if (again) model.add('vm1', { tags: ['of-a-tool'], content: 'data' });
      };
      world.define(vm1);
      await until('failed', () => recordOf(world)?.problem?.code === 'HELPER_FAILED');
      expect(world.names()).toEqual(again ? ['vg0/vm1'] : []);
      if (again) expect(world.volume('vm1')?.tags).toEqual(['of-a-tool']);
    },
  );
});

describe('reclaim', () => {
  it('removes what a lost ledger left behind, and no other volume', async () => {
    const world = await midFill();
    // As the daemon does: whoever has fills stopped begins no other ones.
    await Promise.all([world.reconciler.stop(), world.fills.stop()]);
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    world.libvirt.domains.clear();
    world.volumes.add('somebody-elses', Buffer.alloc(MIB, 1));
    world.restart();
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(['vg0/somebody-elses']);
  });
});
