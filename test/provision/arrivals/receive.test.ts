/**
 * Goal: a domain that arrives by migration with its storage finds a volume that was set aside for it and no
 * other, ends with the seal it had, and what was set aside in vain goes, unless it may hold the only copy.
 * Method: two worlds in memory, the verbs between them, and what QEMU does done by hand.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Handover } from '../../../src/core/handover.ts';
import {
  privateName,
  readMark,
  receivingTags,
  retiredName,
  sealTags,
} from '../../../src/core/volume/volume.ts';
import { EXPECTED_MS } from '../../../src/provision/arrivals/arrivals.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { domainXml, MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const vm1 = { uuid, name: 'vm1' };
const xml = domainXml(vm1);

/** What the host says that has vm1, with the image in an 8 MiB volume. */
async function handedOver(): Promise<Handover> {
  const source = new World();
  source.define({ ...vm1, attributes: "size='8MiB'" });
  await until('published', () => source.ledger.fillOf(uuid, 'vda')?.state === 'ready');
  return source.verbs.handover('vm1');
}

/** A host on which volumes are set aside for vm1. */
async function prepared(): Promise<{ readonly world: World; readonly handover: Handover }> {
  const world = new World();
  const handover = await handedOver();
  await world.verbs.receive(handover);
  return { world, handover };
}

const ask = async (world: World, operation: 'migrate' | 'prepare' | 'restore') =>
  (await admitStart(world.admit, operation, xml)).allowed;

/** libvirt lets the migration begin: QEMU has the volume open and the guest waits for its bytes. */
async function migrating(world: World): Promise<void> {
  expect(await ask(world, 'migrate')).toBe(true);
  expect(await ask(world, 'prepare')).toBe(true);
  world.libvirt.domains.set(uuid, {
    ...{ uuid, name: 'vm1', xml, active: true, persistent: false, autostart: false },
  });
  Object.assign(world.volumes.lvm.get('vm1'), { openLooks: Infinity, content: 'data' });
  await look(world);
}

/** The guest has ended; a persistent domain stays. */
function ended(world: World): void {
  world.libvirt.domains.delete(uuid);
  world.volumes.lvm.get('vm1').openLooks = 0;
}

async function look(world: World): Promise<void> {
  world.reconciler.request(uuid);
  await settled();
}

/** Everything in this world ends within some turns of the event loop. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const stateOf = (world: World) => readMark(world.volume('vm1')?.tags ?? []).state;

describe('a handover', () => {
  it('says size and seal, and only of volumes that are ready', async () => {
    const { volumes, ...domain } = await handedOver();
    expect(domain).toEqual(vm1);
    expect(volumes).toMatchObject([
      { target: 'vda', pool: 'guests', sizeBytes: 8 * MIB, seal: { state: 'ready', domainUuid: uuid } },
    ]);
    const world = new World();
    world.images.hold();
    world.define(vm1);
    await until('begun', () => world.names().length === 1);
    await expect(world.verbs.handover('vm1')).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    await expect(world.verbs.handover('vm2')).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' });
  });
});

describe('receive', () => {
  it('makes volumes of that size, all zeros, that no guest may start on', async () => {
    const { world, handover } = await prepared();
    const seal = handover.volumes[0]?.seal ?? expect.fail('no seal');
    expect(world.volume('vm1')?.tags.toSorted()).toEqual(receivingTags(seal).toSorted());
    expect(world.volume('vm1')?.bytes.equals(Buffer.alloc(8 * MIB))).toBe(true);
    expect(world.volumes.lvm.get('vm1').owner).toBe('root');
    expect(world.libvirt.refreshed).toContain('guests');
    for (const operation of ['prepare', 'restore'] as const) expect(await ask(world, operation)).toBe(false);
    world.define(vm1);
    await settled();
    expect(world.ledger.fills()).toEqual([]);
    expect(stateOf(world)).toBe('receiving');
  });

  it('can be repeated until the migration begins', async () => {
    const { world, handover } = await prepared();
    await expect(world.verbs.receive(handover)).resolves.toMatchObject({ volumes: [{ made: 'existing' }] });
    await migrating(world);
    await expect(world.verbs.receive(handover)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    ended(world);
    await expect(world.verbs.receive(handover)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
  });

  it.each([
    ['a blank volume', Buffer.alloc(8 * MIB)],
    ['a volume with data', Buffer.alloc(8 * MIB, 1)],
  ])('refuses to put %s in the way of what comes, and leaves it as it is', async (_name, bytes) => {
    const world = new World();
    world.volumes.add('vm1', bytes);
    await expect(world.verbs.receive(await handedOver())).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(world.volume('vm1')).toMatchObject({ tags: [] });
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('leaves nothing behind when it fails, whichever disk it fails at', async () => {
    const world = new World();
    const handover = await handedOver();
    const [first] = handover.volumes;
    if (first === undefined) expect.fail('no volume');
    const second = {
      ...first,
      target: 'vdb',
      seal: { ...first.seal, fillId: 'f'.repeat(16), target: 'vm1-b' },
    };
    world.volumes.lvm.freeExtents = 3;
    await expect(world.verbs.receive({ ...handover, volumes: [first, second] })).rejects.toMatchObject({
      code: 'VG_FULL',
    });
    expect(world.names()).toEqual([]);
    expect(await ask(world, 'migrate')).toBe(false);
  });

  it('is not taken for litter while it is made', async () => {
    const world = new World();
    const open = world.volumes.open.bind(world.volumes);
    const looked: string[][] = [];
    world.volumes.open = async (...volume) => {
      await world.reconciler.requestAll();
      await settled();
      looked.push(world.names());
      return open(...volume);
    };
    await world.verbs.receive(await handedOver());
    expect(looked).toHaveLength(1);
    expect(looked[0]).toHaveLength(1);
    await settled();
    expect(stateOf(world)).toBe('receiving');
  });

  it('refuses a domain that runs here and a pool that is not here', async () => {
    const world = new World();
    const handover = await handedOver();
    const elsewhere = { ...handover, volumes: handover.volumes.map((one) => ({ ...one, pool: 'other' })) };
    await expect(world.verbs.receive(elsewhere)).rejects.toMatchObject({ code: 'POOL_UNSUITABLE' });
    world.libvirt.domains.set(uuid, {
      ...{ uuid, name: 'vm1', xml, active: true, persistent: true, autostart: false },
    });
    await expect(world.verbs.receive(handover)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(world.names()).toEqual([]);
  });
});

/**
 * What another host says may be wrong, or meant to harm: nothing that was here before may be lost or seen by it.
 */
describe('receive, of what an enemy hands over,', () => {
  const seal = (handover: Handover) => handover.volumes[0]?.seal ?? expect.fail('no seal');

  /** The same, with some of it changed. */
  function withVolume(handover: Handover, change: object, sealChange: object = {}): Handover {
    const volumes = handover.volumes.map((one) => ({
      ...one,
      ...change,
      seal: { ...one.seal, ...sealChange },
    }));
    return { ...handover, volumes };
  }

  /** Names, tags and bytes of all volumes. */
  function everything(world: World): unknown {
    return world.names().map((key) => {
      const { tags = [], bytes = Buffer.of() } = world.volume(key.replace('vg0/', '')) ?? {};
      return [key, tags, createHash('sha256').update(bytes).digest('hex')];
    });
  }

  async function expectRefused(world: World, handover: Handover, code: string): Promise<void> {
    const before = everything(world);
    await expect(world.verbs.receive(handover)).rejects.toMatchObject({ code });
    await settled();
    expect(everything(world)).toEqual(before);
    expect(world.reconciler.arrivals.isWatched(handover.uuid)).toBe(false);
  }

  it('does not touch the volume of a fill whose id it has got to know', async () => {
    const handover = await handedOver();
    const world = new World();
    world.images.hold();
    world.define({ ...vm1, uuid: uuid.replace('1', '2'), name: 'vm2', lv: 'vm2' });
    await until('begun', () => world.names().length === 1);
    const [fill] = world.ledger.fills();
    await expectRefused(world, withVolume(handover, {}, { fillId: fill?.fillId }), 'VOLUME_STATE');
    // Of the same domain and under the same name it would be the very volume.
    const own = { fillId: fill?.fillId, target: 'vm2', domainUuid: uuid.replace('1', '2') };
    await expectRefused(world, { ...withVolume(handover, {}, own), uuid: own.domainUuid }, 'VOLUME_STATE');
    world.images.letGo();
    await until('published', () => world.ledger.fills()[0]?.state === 'ready');
  });

  it('does not take a name for which a volume is being filled, whoever it is for', async () => {
    const handover = await handedOver();
    const world = new World();
    world.images.hold();
    world.define({ ...vm1, uuid: uuid.replace('1', '2'), name: 'vm2', lv: 'vm1' });
    await until('begun', () => world.names().length === 1);
    await expectRefused(world, handover, 'VOLUME_STATE');
  });

  it('does not take a name for which a fill only waits its turn', async () => {
    const handover = await handedOver();
    const world = new World({ limits: { concurrentMax: 1 } });
    world.images.hold();
    world.define({ uuid: uuid.replace('1', '3'), name: 'vm3' });
    await until('begun', () => world.names().length === 1);
    world.define({ ...vm1, uuid: uuid.replace('1', '2'), name: 'vm2', lv: 'vm1' });
    await until('queued', () => world.ledger.fills().length === 2);
    await expectRefused(world, handover, 'VOLUME_STATE');
  });

  it('does not take the name of a volume that stands aside, nor its fill', async () => {
    const handover = await handedOver();
    const aside = { ...seal(handover), fillId: 'e'.repeat(16), domainUuid: uuid.replace('1', '2') };
    const world = new World();
    world.volumes.add(retiredName(aside.fillId), Buffer.alloc(8 * MIB, 1), sealTags(aside));
    await expectRefused(world, handover, 'VOLUME_STATE');
    await expectRefused(
      world,
      withVolume(handover, {}, { target: 'x', fillId: aside.fillId }),
      'VOLUME_STATE',
    );
  });

  it('makes no more than an image could have had made: not larger, and not beyond what is to stay free', async () => {
    const handover = await handedOver();
    await expectRefused(new World(), withVolume(handover, { sizeBytes: 2 ** 40 + 1 }), 'IMAGE_TOO_LARGE');
    const tight = new World({ keepFree: new Map([['vg0', { percent: 99 }]]) });
    await expectRefused(tight, handover, 'VG_FULL');
  });

  it('makes nothing in a group that other hosts see', async () => {
    const world = new World();
    world.sharedGroups.add('vg0');
    await expectRefused(world, await handedOver(), 'POOL_UNSUITABLE');
  });

  it('names nothing twice, nothing that is ours, and nothing that a terminal would obey', async () => {
    const handover = await handedOver();
    const [one] = handover.volumes;
    if (one === undefined) expect.fail('no volume');
    const other = { ...one, target: 'vdb', seal: { ...one.seal, fillId: 'f'.repeat(16), target: 'b' } };
    expect(Handover.safeParse({ ...handover, volumes: [one, other] }).success).toBe(true);
    const wrong: Handover[] = [
      { ...handover, volumes: [one, { ...other, target: 'vda' }] },
      { ...handover, volumes: [one, { ...other, seal: { ...other.seal, fillId: one.seal.fillId } }] },
      { ...handover, volumes: [one, { ...other, seal: { ...other.seal, target: one.seal.target } }] },
      withVolume(handover, {}, { target: 'lvp-old-0123456789abcdef' }),
      withVolume(handover, {}, { target: 'lvp-fill-0123456789abcdef' }),
      withVolume(handover, {}, { target: '../sda' }),
      withVolume(handover, {}, { domainUuid: uuid.replace('1', '2') }),
      withVolume(handover, { sizeBytes: -1 }),
      { ...handover, name: 'vm1\u001b[2J' },
      { ...handover, volumes: [] },
    ];
    for (const odd of wrong) expect(Handover.safeParse(odd).success).toBe(false);
  });

  it('does not let what may have arrived be taken for what nobody has come for', async () => {
    const { world, handover } = await prepared();
    await migrating(world);
    world.reconciler.arrivals.mayHaveRun(uuid);
    ended(world);
    // Another disk of the same domain: were it expected anew, all of its volumes would go after an hour.
    const more = withVolume(handover, { target: 'vdb' }, { fillId: 'f'.repeat(16), target: 'more' });
    for (const restart of [false, true]) {
      if (restart) world.restart();
      await expect(world.verbs.receive(more)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
      world.clock.advance(EXPECTED_MS);
      await world.reconciler.requestAll();
      await settled();
      expect(stateOf(world)).toBe('receiving');
      expect(world.names()).toEqual(['vg0/vm1']);
    }
  });

  it('does not have a volume sealed that the guest does not use', async () => {
    const { world, handover } = await prepared();
    const more = withVolume(handover, { target: 'vdb' }, { fillId: 'f'.repeat(16), target: 'more' });
    await world.verbs.receive({ ...handover, volumes: [...handover.volumes, ...more.volumes] });
    await migrating(world);
    world.volumes.lvm.get('more').content = 'data';
    world.libvirt.arrived.add(uuid);
    await look(world);
    expect(stateOf(world)).toBe('ready');
    expect(readMark(world.volume('more')?.tags ?? []).state).toBe('receiving');
  });

  it('is done once at a time for a domain, and lets nobody in meanwhile', async () => {
    const world = new World();
    const handover = await handedOver();
    const more = withVolume(handover, { target: 'vdb' }, { fillId: 'f'.repeat(16), target: 'more' });
    const asked: Promise<unknown>[] = [];
    world.volumes.lvm.beside = (step) => {
      if (step !== 'create' || asked.length > 0) return;
      asked.push(world.verbs.receive(more).catch((error: unknown) => error));
      asked.push(ask(world, 'migrate'));
    };
    await world.verbs.receive(handover);
    expect(await Promise.all(asked)).toMatchObject([{ code: 'VOLUME_STATE' }, false]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });
});

describe('a domain that arrives', () => {
  it('is sealed as it was once its guest runs here, and is ready from then on', async () => {
    const { world, handover } = await prepared();
    await migrating(world);
    expect(stateOf(world)).toBe('receiving');
    world.libvirt.arrived.add(uuid);
    await look(world);
    expect(readMark(world.volume('vm1')?.tags ?? [])).toEqual(handover.volumes[0]?.seal);
    expect(world.ledger.fillOf(uuid, 'vda')).toMatchObject({ state: 'ready' });
    expect(await ask(world, 'prepare')).toBe(true);
    ended(world);
    await look(world);
    expect(stateOf(world)).toBe('ready');
  });

  it('without its bytes is not sealed, whatever it writes then, and not started here again', async () => {
    const { world } = await prepared();
    await migrating(world);
    world.volumes.lvm.get('vm1').content = 'blank';
    world.libvirt.arrived.add(uuid);
    await look(world);
    world.volumes.lvm.get('vm1').content = 'data';
    await world.reconciler.requestAll();
    await settled();
    expect(stateOf(world)).toBe('receiving');
    ended(world);
    await look(world);
    expect(stateOf(world)).toBe('receiving');
    expect(await ask(world, 'prepare')).toBe(false);
  });

  it('is sealed when it comes with its bytes, after it has come without them to a volume that was deleted since', async () => {
    const { world, handover } = await prepared();
    await migrating(world);
    world.volumes.lvm.get('vm1').content = 'blank';
    world.libvirt.arrived.add(uuid);
    await look(world);
    ended(world);
    await look(world);
    world.libvirt.arrived.delete(uuid);
    world.volumes.remove('vm1');
    await look(world);
    await world.verbs.receive(handover);
    await migrating(world);
    world.libvirt.arrived.add(uuid);
    await look(world);
    expect(stateOf(world)).toBe('ready');
  });

  it('is let in once: not a second time, not without `migrate begin`, not long after it', async () => {
    const { world } = await prepared();
    expect(await ask(world, 'prepare')).toBe(false);
    await migrating(world);
    for (const operation of ['prepare', 'migrate', 'restore'] as const)
      expect(await ask(world, operation)).toBe(false);
    const late = (await prepared()).world;
    expect(await ask(late, 'migrate')).toBe(true);
    late.clock.advance(60_000);
    expect(await ask(late, 'prepare')).toBe(false);
  });

  it('is refused if another domain, another generation or another host was meant', async () => {
    const { world } = await prepared();
    const others = [
      domainXml({ uuid: uuid.replace('1', '2'), name: 'vm2', lv: 'vm1' }),
      domainXml({ ...vm1, attributes: "generation='2'" }),
      domainXml({ ...vm1, lv: 'elsewhere' }),
    ];
    for (const other of others) expect((await admitStart(world.admit, 'migrate', other)).allowed).toBe(false);
    expect(await ask(world, 'migrate')).toBe(true);
  });

  it('that fails on its way leaves nothing', async () => {
    const { world } = await prepared();
    await migrating(world);
    ended(world);
    await look(world);
    expect(world.names()).toEqual([]);
    expect(world.libvirt.refreshed.length).toBeGreaterThan(1);
    expect(await ask(world, 'prepare')).toBe(false);
  });

  it('that was let in after we had looked for it keeps its volume', async () => {
    const { world } = await prepared();
    const { libvirt } = world;
    expect(await ask(world, 'migrate')).toBe(true);
    expect(await ask(world, 'prepare')).toBe(true);
    // What libvirt had said before that; QEMU has not opened the volume yet.
    const settling = world.reconciler.arrivals.settle(uuid, undefined);
    libvirt.domains.set(uuid, {
      ...{ uuid, name: 'vm1', xml, active: true, persistent: false, autostart: false },
    });
    expect(await settling).toBe(false);
    expect(stateOf(world)).toBe('receiving');
  });

  it('that fails while QEMU still ends leaves nothing a little later', async () => {
    const { world } = await prepared();
    await migrating(world);
    world.libvirt.domains.delete(uuid);
    await look(world);
    expect(stateOf(world)).toBe('receiving');
    ended(world);
    world.clock.advance(5_000);
    await settled();
    expect(world.names()).toEqual([]);
  });

  it('that never comes leaves nothing after an hour', async () => {
    const { world } = await prepared();
    await look(world);
    expect(stateOf(world)).toBe('receiving');
    world.clock.advance(EXPECTED_MS);
    expect(await ask(world, 'migrate')).toBe(false);
    await world.reconciler.requestAll();
    await settled();
    expect(world.names()).toEqual([]);
  });
});

describe('a domain whose volume is sealed here already', () => {
  async function sealed(): Promise<World> {
    const world = new World();
    world.define(vm1);
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    world.undefine(uuid);
    await settled();
    return world;
  }

  it('arrives only where both hosts see that very volume, and may be restored or started', async () => {
    const world = await sealed();
    const answer = await admitStart(world.admit, 'migrate', xml);
    expect(answer).toMatchObject({ allowed: false, problems: [{ code: 'VOLUME_STATE' }] });
    for (const operation of ['restore', 'prepare'] as const) expect(await ask(world, operation)).toBe(true);
    world.sharedGroups.add('vg0');
    expect(await ask(world, 'migrate')).toBe(true);
    expect(stateOf(world)).toBe('ready');
  });

  it('has no other volume set aside', async () => {
    const world = await sealed();
    await expect(world.verbs.receive(await handedOver())).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(stateOf(world)).toBe('ready');
  });
});

describe('what may hold the only copy is kept', () => {
  it('when the guest was let run and has gone before we looked', async () => {
    const { world } = await prepared();
    await migrating(world);
    world.reconciler.arrivals.mayHaveRun(uuid);
    ended(world);
    await look(world);
    expect(stateOf(world)).toBe('receiving');
  });

  it('when libvirt was out of sight meanwhile', async () => {
    const { world } = await prepared();
    await migrating(world);
    world.reconciler.arrivals.loseSight();
    ended(world);
    await look(world);
    expect(stateOf(world)).toBe('receiving');
  });

  it('when the daemon was killed meanwhile; and it is sealed as soon as the guest is seen running', async () => {
    const { world, handover } = await prepared();
    await migrating(world);
    world.restart();
    await world.reconciler.requestAll();
    await settled();
    world.libvirt.domains.delete(uuid);
    await look(world);
    expect(stateOf(world)).toBe('receiving');
    expect(await ask(world, 'migrate')).toBe(false);
    await expect(world.verbs.receive(handover)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    world.libvirt.domains.set(uuid, {
      ...{ uuid, name: 'vm1', xml, active: true, persistent: true, autostart: false },
    });
    world.libvirt.arrived.add(uuid);
    await look(world);
    expect(stateOf(world)).toBe('ready');
  });

  it('when a domain of that UUID is defined here, and nothing is filled for it either', async () => {
    for (const begin of [migrating, () => Promise.resolve()]) {
      const { world } = await prepared();
      await begin(world);
      ended(world);
      world.define(vm1);
      await settled();
      world.clock.advance(EXPECTED_MS);
      await world.reconciler.requestAll();
      await settled();
      expect(stateOf(world)).toBe('receiving');
      expect(world.ledger.fills()).toEqual([]);
    }
  });

  it('but not what never got its name', async () => {
    const { world, handover } = await prepared();
    world.volumes.lvm.get('vm1').lv = privateName(handover.volumes[0]?.seal.fillId ?? '');
    world.restart();
    await world.reconciler.requestAll();
    await settled();
    expect(world.names()).toEqual([]);
  });
});
