/**
 * Goal: a domain that arrives by migration with its storage finds a volume that was set aside for it and no
 * other, ends with the seal it had, and what was set aside in vain goes, unless it may hold the only copy.
 * Method: two worlds in memory, the verbs between them, and what QEMU does done by hand.
 */
import { describe, expect, it } from 'vitest';
import type { Handover } from '../../src/core/handover.ts';
import { privateName, readMark, receivingTags } from '../../src/core/volume.ts';
import { admitStart } from '../../src/provision/admit-start.ts';
import { EXPECTED_MS } from '../../src/provision/arrivals.ts';
import { domainXml, MIB, until, World } from './world.ts';

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
  world.volumes.lvm.get('vm1').openLooks = Infinity;
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
    const looks: Promise<void>[] = [];
    world.volumes.lvm.beside = (step) => {
      if (step === 'create') looks.push(world.reconciler.requestAll());
    };
    await world.verbs.receive(await handedOver());
    await Promise.all(looks);
    expect(looks).toHaveLength(1);
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
