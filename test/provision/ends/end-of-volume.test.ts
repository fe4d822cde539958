/**
 * Goal: a published volume is deleted when its annotation says so and its guest is proven to have ended here, or
 * to have moved away; in every other case it is kept, and its rows with it. Method: the real verbs over a world
 * in memory.
 */
import { describe, expect, it } from 'vitest';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { ShutoffReason } from '../../../src/core/plan/last-end.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { GONE_FOR_MS } from '../../../src/provision/ends/end-of-volume.ts';
import type { DomainChange, LibvirtDomain } from '../../../src/provision/ports/libvirt.ts';
import { retiredName } from '../../../src/core/volume/volume.ts';
import { domainXml, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';
const DELETE = "on-undefine='delete'";
const vm1 = { uuid, name: 'vm1', attributes: DELETE };

/** A world in which vm1 is defined and published, and shut off as after a run. */
async function publishedWorld(attributes = DELETE): Promise<World> {
  const world = new World();
  world.define({ ...vm1, attributes });
  await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
  await look(world);
  return world;
}

/** Everything is looked at, and nothing is under way any more. */
async function look(world: World): Promise<void> {
  world.reconciler.request(uuid);
  await world.reconciler.idle();
}

function change(world: World, fields: Partial<LibvirtDomain>): void {
  const found = world.libvirt.domains.get(uuid);
  if (found === undefined) throw new Error('there is none');
  world.libvirt.domains.set(uuid, { ...found, shutoff: undefined, ...fields });
}

/** virsh start, as far as it is to be seen. */
async function run(world: World, fields: Partial<LibvirtDomain> = {}): Promise<void> {
  const xml = world.libvirt.domains.get(uuid)?.xml ?? domainXml(vm1);
  const { allowed } = await admitStart(world.admit, 'prepare', xml);
  expect(allowed).toBe(true);
  if (!world.libvirt.domains.has(uuid)) {
    world.libvirt.domains.set(uuid, {
      uuid,
      name: 'vm1',
      xml,
      active: true,
      persistent: false,
      autostart: false,
    });
  }
  change(world, { active: true, ...fields });
  world.reconciler.heard(uuid, 'begun');
  await look(world);
}

async function shutOff(world: World, shutoff: ShutoffReason, event?: DomainChange): Promise<void> {
  change(world, { active: false, shutoff });
  world.reconciler.heard(uuid, event);
  await look(world);
}

/** The guest of a transient domain ends, and the domain with it. */
function vanish(world: World, event?: DomainChange): void {
  world.libvirt.domains.delete(uuid);
  world.reconciler.heard(uuid, event);
}

/** Long enough for every pause there is. */
async function pass(world: World): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await look(world);
    world.clock.advance(2 * GONE_FOR_MS);
  }
  await look(world);
}

async function expectDeleted(world: World): Promise<void> {
  await pass(world);
  expect(world.names()).toEqual([]);
  expect(world.ledger.fills()).toEqual([]);
  expect(world.ledger.domainOf(uuid)).toBeUndefined();
}

async function expectKept(
  world: World,
  rows: 'with its rows' | 'without rows' = 'with its rows',
): Promise<void> {
  await pass(world);
  expect(world.names()).toEqual(['vg0/vm1']);
  expect(world.isFilled('vm1')).toBe(true);
  expect(world.ledger.fills().length).toBe(rows === 'with its rows' ? 1 : 0);
}

describe('a domain that is undefined', () => {
  it.each<[string, 'deleted' | 'kept', ShutoffReason | undefined]>([
    ['and nobody has seen it since', 'kept', undefined],
    ['and libvirt still knows that it had ended', 'deleted', 'ended'],
    ['and libvirt does not know any more why it is off', 'kept', 'unknown'],
  ])('after the daemon was started anew %s: its volume is to be %s', async (_what, fate, shutoff) => {
    const world = await publishedWorld();
    await run(world);
    await shutOff(world, 'ended', 'ended');
    world.restart();
    if (shutoff !== undefined) {
      change(world, { shutoff });
      await look(world);
    }
    world.undefine(uuid);
    await (fate === 'kept' ? expectKept(world) : expectDeleted(world));
  });

  it('whose saved guest libvirt has forgotten, with the ledger, keeps its volume', async () => {
    const world = await publishedWorld();
    await run(world);
    await shutOff(world, 'saved');
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    world.restart();
    change(world, { shutoff: 'unknown' });
    await look(world);
    expect(world.ledger.fillOf(uuid, 'vda')?.state).toBe('ready');
    world.undefine(uuid);
    await expectKept(world);
  });

  it('keeps its volume, whatever a start that was refused right afterwards wants done with it', async () => {
    const world = await publishedWorld("on-undefine='keep'");
    await run(world);
    await shutOff(world, 'ended', 'ended');
    world.libvirt.domains.delete(uuid);
    const another = domainXml({ ...vm1, attributes: `${DELETE} generation='2'` });
    expect((await admitStart(world.admit, 'prepare', another)).allowed).toBe(false);
    await expectKept(world);
  });

  it('after libvirt was started anew, before anybody noticed, keeps its volume', async () => {
    const world = await publishedWorld();
    await run(world);
    await shutOff(world, 'ended', 'ended');
    change(world, { shutoff: 'unknown' });
    await look(world);
    world.undefine(uuid);
    await expectKept(world);
  });

  it('and was defined anew while its guest had never run: its volume goes', async () => {
    const world = await publishedWorld('');
    world.reconciler.heard(uuid, 'defined');
    world.define(vm1);
    await look(world);
    world.undefine(uuid);
    await expectDeleted(world);
  });

  it('while it is shut off: its volume goes, after a pause', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    expect(world.names()).toEqual(['vg0/vm1']);
    world.clock.advance(GONE_FOR_MS - 1);
    await look(world);
    expect(world.names()).toEqual(['vg0/vm1']);
    await expectDeleted(world);
  });

  it('keeps its volume if its annotation does not say otherwise', async () => {
    const world = await publishedWorld('');
    world.undefine(uuid);
    await expectKept(world, 'without rows');
  });

  it('keeps its volume if that is to be deleted after a migration only', async () => {
    const world = await publishedWorld("after-migration='delete'");
    world.undefine(uuid);
    await expectKept(world, 'without rows');
  });

  it('goes by the annotation as it was last', async () => {
    const world = await publishedWorld('');
    world.define(vm1);
    await look(world);
    world.undefine(uuid);
    await expectDeleted(world);
  });

  it('keeps a volume that the disk was on before', async () => {
    const world = await publishedWorld('');
    world.volumes.add('elsewhere', Buffer.alloc(4096, 1));
    world.define({ ...vm1, lv: 'elsewhere' });
    await look(world);
    world.undefine(uuid);
    await pass(world);
    expect(world.names()).toEqual(['vg0/vm1', 'vg0/elsewhere']);
  });

  it('keeps its volume if its definition changed and was not read any more', async () => {
    const world = await publishedWorld();
    world.libvirt.domains.delete(uuid);
    world.reconciler.heard(uuid, 'defined');
    world.reconciler.heard(uuid, undefined);
    await expectKept(world);
  });

  it('keeps its volume if its definition changed during the pause and was not read any more', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.reconciler.heard(uuid, 'defined');
    await expectKept(world);
  });

  it('keeps its volume if a start may have been let through while nobody could look', async () => {
    const world = await publishedWorld();
    const xml = world.libvirt.domains.get(uuid)?.xml ?? '';
    world.volumes.isAway = true;
    await expect(admitStart(world.admit, 'prepare', xml)).rejects.toThrow('away');
    world.volumes.isAway = false;
    world.libvirt.domains.delete(uuid);
    world.reconciler.heard(uuid, undefined);
    await expectKept(world);
  });

  it('keeps its volume if the annotation was taken away before', async () => {
    const world = await publishedWorld();
    change(world, { xml: domainXml(vm1).replace(/<metadata>.*<\/metadata>/s, ''), shutoff: 'ended' });
    await look(world);
    world.undefine(uuid);
    await expectKept(world, 'without rows');
  });

  it('while it runs: its volume goes when its guest has ended', async () => {
    const world = await publishedWorld();
    await run(world);
    change(world, { active: true, persistent: false });
    await pass(world);
    expect(world.names()).toEqual(['vg0/vm1']);
    vanish(world, 'ended');
    await expectDeleted(world);
  });

  it('and defined again at once keeps its volume', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.clock.advance(GONE_FOR_MS / 2);
    world.define(vm1);
    await expectKept(world);
    // The pause begins anew.
    world.undefine(uuid);
    await look(world);
    expect(world.names()).toEqual(['vg0/vm1']);
    await expectDeleted(world);
  });

  it('and is back right before the deletion keeps its volume', async () => {
    const world = await publishedWorld();
    const found = world.libvirt.domains.get(uuid);
    world.undefine(uuid);
    await look(world);
    world.clock.advance(GONE_FOR_MS);
    const list = world.volumes.list.bind(world.volumes);
    world.volumes.list = () => {
      if (found !== undefined) world.libvirt.domains.set(uuid, found);
      return list();
    };
    await expectKept(world);
  });

  it('and is started right before the deletion keeps its volume', async () => {
    const world = await publishedWorld();
    const xml = world.libvirt.domains.get(uuid)?.xml ?? '';
    world.undefine(uuid);
    await look(world);
    world.clock.advance(GONE_FOR_MS);
    const read = world.libvirt.read.bind(world.libvirt);
    let asked = false;
    world.libvirt.read = async (one) => {
      const answer = await read(one);
      // The last look before the deletion: libvirt has not shown the new domain, and the hook already asks.
      if (world.reconciler.ends.isDeleting(uuid) && !asked) {
        asked = true;
        expect(await admitStart(world.admit, 'prepare', xml)).toMatchObject({ allowed: false });
      }
      return answer;
    };
    await pass(world);
    expect(asked).toBe(true);
  });

  it('a start that was let through during the pause ends the matter', async () => {
    const world = await publishedWorld();
    const xml = world.libvirt.domains.get(uuid)?.xml ?? '';
    world.undefine(uuid);
    await look(world);
    expect((await admitStart(world.admit, 'prepare', xml)).allowed).toBe(true);
    await expectKept(world);
  });

  it('and renamed before is one domain', async () => {
    const world = await publishedWorld();
    change(world, {
      name: 'renamed',
      xml: domainXml({ ...vm1, name: 'renamed', lv: 'vm1' }),
      shutoff: 'ended',
    });
    await look(world);
    world.undefine(uuid);
    await expectDeleted(world);
  });

  it.each<[ShutoffReason]>([['saved'], ['migrated']])('%s keeps its volume', async (reason) => {
    const world = await publishedWorld();
    await run(world);
    await shutOff(world, reason);
    world.undefine(uuid);
    await expectKept(world, reason === 'migrated' ? 'without rows' : 'with its rows');
  });

  it('after its guest has moved, and libvirt has forgotten so, keeps its volume', async () => {
    const world = await publishedWorld();
    await run(world);
    await shutOff(world, 'migrated');
    world.restart();
    change(world, { shutoff: 'unknown' });
    await look(world);
    world.undefine(uuid);
    await expectKept(world);
  });

  it('while the daemon was down keeps its volume', async () => {
    const world = await publishedWorld();
    world.restart();
    world.undefine(uuid);
    await expectKept(world);
  });

  it('while libvirt was out of sight keeps its volume', async () => {
    const world = await publishedWorld();
    world.reconciler.ends.forgetAll();
    world.undefine(uuid);
    await expectKept(world);
  });

  it('right before the daemon was killed: what was begun is finished', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.restart();
    await expectDeleted(world);
  });

  it('with the daemon killed between the deletion and the rows: the rows go', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.volumes.remove('vm1');
    world.restart();
    await expectDeleted(world);
  });

  it('with the ledger lost keeps its volume', async () => {
    const world = await publishedWorld();
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    world.undefine(uuid);
    await expectKept(world, 'without rows');
  });
});

describe('a domain of which volumes were kept', () => {
  it('and that is started anew without a definition is filled like any first start', async () => {
    const world = await publishedWorld();
    world.restart();
    world.undefine(uuid);
    await look(world);
    world.volumes.remove('vm1');
    expect((await admitStart(world.admit, 'prepare', domainXml(vm1))).allowed).toBe(false);
    await look(world);
    await world.verbs.retry(uuid);
    await until('published', () => world.isFilled('vm1'));
    await look(world);
    expect((await admitStart(world.admit, 'prepare', domainXml(vm1))).allowed).toBe(true);
    await expectKept(world);
  });
});

describe('what stands in the way of a deletion', () => {
  it('something has the volume open: it goes as soon as that has ended', async () => {
    const world = await publishedWorld();
    world.volumes.lvm.get('vm1').openLooks = Infinity;
    world.undefine(uuid);
    await expectKept(world);
    world.volumes.lvm.get('vm1').openLooks = 0;
    await expectDeleted(world);
  });

  it.each([
    ['as a volume', "<disk type='volume'><source pool='guests' volume='vm1'/><target dev='vdb'/></disk>"],
    ['by its path', "<disk type='block'><source dev='/dev/vg0/vm1'/><target dev='vdb'/></disk>"],
    [
      'in a backing chain',
      "<disk><source file='/x'/><target dev='vdb'/><backingStore><source dev='/dev/mapper/vg0-vm1'/></backingStore></disk>",
    ],
  ])('another domain names it %s', async (_how, disk) => {
    const world = await publishedWorld();
    const xml = `<domain><name>b</name><uuid>${other}</uuid><devices>${disk}</devices></domain>`;
    const fields = { active: false, persistent: true, autostart: false };
    world.libvirt.domains.set(other, { uuid: other, name: 'b', xml, ...fields });
    world.undefine(uuid);
    await expectKept(world);
    world.libvirt.domains.delete(other);
    await expectDeleted(world);
  });

  it('a domain whose XML cannot be read', async () => {
    const world = await publishedWorld();
    world.libvirt.domains.set(other, {
      ...{ uuid: other, name: 'b', xml: '<domain>', active: false, persistent: true, autostart: false },
    });
    world.undefine(uuid);
    await expectKept(world);
  });

  it('libvirt does not say that the domain is gone', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.libvirt.isAway = true;
    await expectKept(world);
    world.libvirt.isAway = false;
    await expectDeleted(world);
  });

  it('libvirt does not list its domains', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.libvirt.onList = () => {
      throw new ProvisionError({ code: 'LIBVIRT_FAILED', message: 'no list' });
    };
    await expectKept(world);
  });

  it('the helper is away', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.volumes.isAway = true;
    await pass(world);
    world.volumes.isAway = false;
    await expectDeleted(world);
  });

  it('the group is shared with other hosts', async () => {
    const world = await publishedWorld();
    world.volumes.lvm.isShared = true;
    world.undefine(uuid);
    await expectKept(world);
  });

  it('the configuration says that other hosts see the group', async () => {
    const world = await publishedWorld();
    world.sharedGroups.add('vg0');
    world.undefine(uuid);
    await expectKept(world);
  });

  it('it was handed over to another host, to which its definition alone may have moved', async () => {
    const world = await publishedWorld();
    await world.verbs.handover('vm1');
    world.undefine(uuid);
    await expectKept(world);
  });

  it('what it held before it was made again is still put aside', async () => {
    const world = await publishedWorld();
    const { tags } = world.volumes.lvm.get('vm1');
    const older = 'f'.repeat(16);
    world.undefine(uuid);
    await look(world);
    const aside = tags.map((tag) => (tag.startsWith('lvp:fill:') ? `lvp:fill:${older}` : tag));
    world.volumes.add(retiredName(older), Buffer.alloc(4096, 1), aside);
    await pass(world);
    expect(world.names()).toEqual(['vg0/vm1', `vg0/${retiredName(older)}`]);
    world.volumes.remove(retiredName(older));
    await expectDeleted(world);
  });

  it('the volume has snapshots', async () => {
    const world = await publishedWorld();
    world.volumes.lvm.get('vm1').segmentType = 'origin';
    world.undefine(uuid);
    await expectKept(world);
  });

  it.each([
    ['of another domain', (tag: string) => tag.replace(uuid, other)],
    ['of another fill', (tag: string) => tag.replace(/^lvp:fill:.*/, 'lvp:fill:00000000000000aa')],
    ['of another name', (tag: string) => tag.replace(/^lvp:target:.*/, 'lvp:target:vm2')],
  ])('the seal is one %s', async (_whose, swap) => {
    const world = await publishedWorld();
    const volume = world.volumes.lvm.get('vm1');
    world.undefine(uuid);
    await look(world);
    volume.tags = volume.tags.map(swap);
    await expectKept(world);
  });

  it('the tags are taken off', async () => {
    const world = await publishedWorld();
    world.undefine(uuid);
    await look(world);
    world.volumes.lvm.get('vm1').tags = [];
    await expectKept(world);
  });
});

describe('a transient domain', () => {
  /** It was created, and nobody has defined it. */
  async function transientWorld(attributes = DELETE): Promise<World> {
    const world = await publishedWorld(attributes);
    change(world, { persistent: false, active: true });
    await run(world, { persistent: false });
    return world;
  }

  it('that was shut down or destroyed: its volume goes', async () => {
    const world = await transientWorld();
    vanish(world, 'ended');
    await expectDeleted(world);
  });

  it('that crashed, or went with the power of the host, keeps its volume', async () => {
    const world = await transientWorld();
    vanish(world);
    await expectKept(world);
  });

  it('whose end was told while the ledger could not be written keeps its volume', async () => {
    const world = await transientWorld();
    const putDomain = world.ledger.putDomain.bind(world.ledger);
    world.ledger.putDomain = () => {
      throw new Error('SQLITE_FULL');
    };
    vanish(world, 'ended');
    world.ledger.putDomain = putDomain;
    await expectKept(world);
  });

  it('that moved to another host keeps its volume, or not, as its annotation says', async () => {
    const keeping = await transientWorld();
    vanish(keeping, 'migrated');
    await expectKept(keeping, 'without rows');
    const deleting = await transientWorld("after-migration='delete'");
    vanish(deleting, 'migrated');
    await expectDeleted(deleting);
  });

  it('that was defined while it ran keeps its volume when it ends', async () => {
    const world = await transientWorld();
    change(world, { persistent: true, active: true });
    await look(world);
    await shutOff(world, 'ended', 'ended');
    await expectKept(world);
  });

  it('that ended, and was created again in the pause, keeps its volume', async () => {
    const world = await transientWorld();
    vanish(world, 'ended');
    await look(world);
    await run(world, { persistent: false });
    await expectKept(world);
  });

  it('that is ended while it arrives keeps its volume: its guest goes on where it came from', async () => {
    const world = await publishedWorld();
    const xml = world.libvirt.domains.get(uuid)?.xml ?? '';
    world.sharedGroups.add('vg0');
    expect((await admitStart(world.admit, 'migrate', xml)).allowed).toBe(true);
    world.sharedGroups.clear();
    change(world, { active: true, persistent: false });
    await look(world);
    vanish(world, 'ended');
    await expectKept(world);
  });

  it('whose first start has not been seen by libvirt is not one that has ended', async () => {
    const world = new World();
    await admitStart(world.admit, 'prepare', domainXml(vm1));
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    await expectKept(world);
  });
});

it('a domain that was handed over, and ran here again after that, goes with its volume', async () => {
  const world = await publishedWorld();
  await world.verbs.handover('vm1');
  await run(world);
  await shutOff(world, 'ended', 'ended');
  world.undefine(uuid);
  await expectDeleted(world);
});

describe('a guest that has moved to another host', () => {
  it('and is still defined here keeps its volume', async () => {
    const world = await publishedWorld("after-migration='delete'");
    await run(world);
    await shutOff(world, 'migrated', 'migrated');
    await expectKept(world);
  });

  it('and is no longer defined here: its volume goes if the annotation says so', async () => {
    const world = await publishedWorld("after-migration='delete'");
    await run(world);
    await shutOff(world, 'migrated', 'migrated');
    world.undefine(uuid);
    await expectDeleted(world);
  });

  it('and has come back and ended here is like any other', async () => {
    const world = await publishedWorld();
    await run(world);
    await shutOff(world, 'migrated', 'migrated');
    await run(world);
    await shutOff(world, 'ended', 'ended');
    world.undefine(uuid);
    await expectDeleted(world);
  });

  it('while nobody looked, with an old reading still under way, keeps its volume', async () => {
    const world = await publishedWorld();
    await run(world);
    change(world, { active: false, shutoff: 'ended' });
    const list = world.volumes.list.bind(world.volumes);
    world.volumes.list = () => {
      world.volumes.list = list;
      change(world, { active: false, shutoff: 'migrated' });
      world.reconciler.heard(uuid, 'migrated');
      world.libvirt.domains.delete(uuid);
      return list();
    };
    await expectKept(world, 'without rows');
  });
});
