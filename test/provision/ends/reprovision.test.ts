/**
 * Goal: whatever cuts a reprovision off, the domain ends with the new content or with the old one, whole, and
 * never starts in between. Method: the real verbs and the helper's, over the world in memory.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readMark, retiredName } from '../../../src/core/volume/volume.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { domainXml, MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const vm1 = { uuid, name: 'vm1' };
const asked = { target: 'vda', confirm: 'vm1/vda' };
const OLD_CONTENT = 0x99;
const wrongDigest = `sha256='${'0'.repeat(64)}'`;

const recordOf = (world: World) => world.ledger.fillOf(uuid, 'vda');
const sealIdOf = (world: World, lv = 'vm1') => {
  const mark = readMark(world.volume(lv)?.tags ?? []);
  return mark.state === 'ready' ? mark.fillId : undefined;
};
const isOld = (world: World, lv = 'vm1') =>
  world.volume(lv)?.bytes.every((byte) => byte === OLD_CONTENT) === true;

/** A published volume that a guest has written all over, and an annotation that asks for it in another way. */
async function used(
  change: Parameters<World['define']>[0] = { ...vm1, attributes: "generation='2'" },
  options: ConstructorParameters<typeof World>[0] = {},
) {
  const world = new World(options);
  world.define(vm1);
  await until('published', () => recordOf(world)?.state === 'ready');
  world.volume('vm1')?.bytes.fill(OLD_CONTENT);
  const old = sealIdOf(world) ?? '';
  world.define(change);
  return { world, old, aside: retiredName(old) };
}

/** The same, its reprovision begun and standing still. */
async function midway(change?: Parameters<World['define']>[0]) {
  const scene = await used(change);
  scene.world.images.hold();
  await scene.world.verbs.reprovision('vm1', asked);
  await until('a private volume', () => scene.world.names().some((name) => name.includes('lvp-fill-')));
  return scene;
}

async function isAdmitted(world: World, attributes = "generation='2'"): Promise<boolean> {
  const answer = admitStart(world.admit, 'prepare', domainXml({ ...vm1, attributes }));
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  world.clock.advance(4_000);
  return (await answer).allowed;
}

/** Kills the daemon as it stands and lets the next one look at everything. */
async function killed(world: World): Promise<void> {
  const row = recordOf(world);
  await world.fills.stop();
  if (row !== undefined) world.ledger.putFill(row);
  world.restart();
  world.images.letGo();
  await world.reconciler.requestAll();
}

async function endsNew({ world, old }: { world: World; old: string }): Promise<void> {
  await until(
    'the new one alone',
    () => world.names().join() === 'vg0/vm1' && recordOf(world)?.state === 'ready',
  );
  await until('nothing is to be removed', () => recordOf(world)?.replaces === undefined);
  expect(world.isFilled('vm1')).toBe(true);
  expect(sealIdOf(world)).not.toBe(old);
  expect(recordOf(world)).toMatchObject({ fillId: sealIdOf(world) });
  expect(await isAdmitted(world)).toBe(true);
}

async function endsOld({ world, old }: { world: World; old: string }, why: string): Promise<void> {
  await until(
    'the old one alone',
    () => world.names().join() === 'vg0/vm1' && recordOf(world)?.fillId === old,
  );
  expect(isOld(world)).toBe(true);
  expect(sealIdOf(world)).toBe(old);
  expect(recordOf(world)).toMatchObject({ state: 'ready', problem: { code: why } });
  expect(recordOf(world)?.replaces).toBeUndefined();
}

describe('reprovision', () => {
  it('makes the content again from what the annotation asks for now, and removes the old volume', async () => {
    const { world, old } = await used();
    expect(await isAdmitted(world)).toBe(false);
    const result = await world.verbs.reprovision('vm1', asked);
    expect(result).toMatchObject({
      ...{ name: 'vm1', target: 'vda', volume: 'vg0/vm1', sizeBytes: 4 * MIB, confirm: 'vm1/vda' },
      holds: { image: 'images/small.raw', generation: 1 },
      wanted: { image: 'images/small.raw', generation: 2 },
    });
    await endsNew({ world, old });
  });

  it('takes the new image and the new size', async () => {
    const scene = await used({ ...vm1, attributes: "size='8MiB'" });
    const other = Buffer.alloc(MIB, 0x24);
    scene.world.images.objects.set('images/small.raw', other);
    const digest = createHash('sha256').update(other).digest('hex');
    scene.world.images.objects.set('images/small.raw.sha256', Buffer.from(digest));
    await scene.world.verbs.reprovision('vm1', asked);
    await until(
      'published',
      () => recordOf(scene.world)?.state === 'ready' && sealIdOf(scene.world) !== scene.old,
    );
    const bytes = scene.world.volume('vm1')?.bytes ?? Buffer.alloc(0);
    expect(bytes.length).toBe(8 * MIB);
    expect(bytes.subarray(0, MIB).equals(other) && bytes.subarray(MIB).every((byte) => byte === 0)).toBe(
      true,
    );
  });

  it('only says what would be lost when asked for that, and changes nothing', async () => {
    const { world, old } = await used();
    expect(await world.verbs.reprovision('vm1', { target: 'vda', dryRun: true })).toMatchObject({
      confirm: 'vm1/vda',
    });
    expect(world.names()).toEqual(['vg0/vm1']);
    expect([isOld(world), recordOf(world)?.fillId]).toEqual([true, old]);
  });

  it('lets no start through while it goes on, and says what is aside', async () => {
    const { world, aside } = await midway();
    expect(world.names()).not.toContain('vg0/vm1');
    expect(isOld(world, aside)).toBe(true);
    expect(await isAdmitted(world)).toBe(false);
    expect(await world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ state: 'filling', aside: `vg0/${aside}` }],
    });
    world.images.letGo();
    await until('over', () => world.names().length === 1);
  });

  it('lets no start through while the volume is just being put aside', async () => {
    const { world, old } = await used();
    const retire = world.volumes.retire.bind(world.volumes);
    const gate = Promise.withResolvers<undefined>();
    world.volumes.retire = (...call) => gate.promise.then(() => retire(...call));
    const begun = world.verbs.reprovision('vm1', asked);
    await until('intended', () => recordOf(world)?.replaces === old);
    world.reconciler.request(uuid);
    expect(await isAdmitted(world)).toBe(false);
    gate.resolve(undefined);
    await begun;
    await endsNew({ world, old });
  });

  it('is given up when it is cancelled while the volume is just being put aside', async () => {
    const { world, old } = await used();
    const retire = world.volumes.retire.bind(world.volumes);
    const gate = Promise.withResolvers<undefined>();
    world.volumes.retire = (...call) => gate.promise.then(() => retire(...call));
    const begun = world.verbs.reprovision('vm1', asked);
    await until('intended', () => recordOf(world)?.replaces === old);
    await world.verbs.cancel('vm1');
    gate.resolve(undefined);
    await expect(begun).rejects.toMatchObject({ code: 'CANCELLED' });
    await until('the old one alone', () => world.names().join() === 'vg0/vm1');
    await until('its row is back', () => recordOf(world)?.fillId === old);
    expect(isOld(world)).toBe(true);
    expect(recordOf(world)).toMatchObject({ state: 'ready' });
  });

  it('counts what is to stay free in the group', async () => {
    // Room for one volume of one extent, of a hundred.
    const keepFree = new Map([['vg0', { bytes: 99 * 4 * MIB }]]);
    const { world } = await used({ ...vm1, attributes: "generation='2'" }, { keepFree });
    await expect(world.verbs.reprovision('vm1', asked)).rejects.toMatchObject({ code: 'VG_FULL' });
    expect(isOld(world)).toBe(true);
  });
});

describe('reprovision is refused, and nothing changes,', () => {
  const cases: [string, (world: World) => void, object, string][] = [
    ['without a confirmation', () => undefined, { target: 'vda' }, 'USAGE'],
    [
      'with the confirmation of another disk',
      () => undefined,
      { target: 'vda', confirm: 'vm1/vdb' },
      'USAGE',
    ],
    [
      'with the UUID in place of the name',
      () => undefined,
      { target: 'vda', confirm: `${uuid}/vda` },
      'USAGE',
    ],
    [
      'for a disk that is not annotated',
      () => undefined,
      { target: 'vdb', confirm: 'vm1/vdb' },
      'DISK_NOT_FOUND',
    ],
    [
      'while the domain runs',
      (world) => {
        const domain = world.libvirt.domains.get(uuid);
        if (domain !== undefined) world.libvirt.domains.set(uuid, { ...domain, active: true });
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'while somebody has the volume open',
      (world) => {
        world.volumes.lvm.get('vm1').openLooks = Infinity;
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'in a group that other hosts see',
      (world) => {
        world.sharedGroups.add('vg0');
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'while its memory is saved',
      (world) => {
        world.libvirt.saved.add(uuid);
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'while its start is let through during the look at its volume, whatever comes of it',
      (world) => {
        const list = world.volumes.list.bind(world.volumes);
        world.volumes.list = (...call) => {
          world.reconciler.admitted(uuid);
          return list(...call);
        };
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'when there is no room for a second one',
      (world) => {
        world.volumes.lvm.freeExtents = 0;
      },
      asked,
      'VG_FULL',
    ],
    [
      'while an earlier one that it replaced is still there',
      (world) => {
        const tags = world.volumes.lvm
          .get('vm1')
          .tags.map((tag) => (tag.startsWith('lvp:fill:') ? `lvp:fill:${'1'.repeat(16)}` : tag));
        world.volumes.add(retiredName('1'.repeat(16)), Buffer.alloc(4 * MIB), tags);
      },
      asked,
      'VOLUME_STATE',
    ],
  ];
  it.each(cases)('%s', async (_what, prepare, request, code) => {
    const { world, old } = await used();
    prepare(world);
    const names = world.names();
    await expect(world.verbs.reprovision('vm1', request as typeof asked)).rejects.toMatchObject({ code });
    expect(world.names()).toEqual(names);
    expect([isOld(world), recordOf(world)?.fillId]).toEqual([true, old]);
  });

  it('for a volume that is sealed for another domain', async () => {
    const { world } = await used();
    world.libvirt.domains.clear();
    world.define({ uuid: uuid.replace('1', '3'), name: 'vm2', lv: 'vm1' });
    const call = world.verbs.reprovision('vm2', { target: 'vda', confirm: 'vm2/vda' });
    await expect(call).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(isOld(world)).toBe(true);
  });

  it('with the numbers where there is no room', async () => {
    const { world } = await used();
    world.volumes.lvm.freeExtents = 0;
    await expect(world.verbs.reprovision('vm1', asked)).rejects.toMatchObject({
      message: expect.stringMatching(/wanted are 4194304 bytes .* free are 0 bytes/) as string,
      hint: expect.stringMatching(/virsh vol-delete vm1 guests.*lvp retry vm1 vda/) as string,
    });
  });

  it('when the helper cannot put it aside', async () => {
    const { world, old } = await used();
    world.volumes.retire = () => Promise.reject(new Error('lvrename failed'));
    await expect(world.verbs.reprovision('vm1', asked)).rejects.toThrow('lvrename failed');
    expect(world.names()).toEqual(['vg0/vm1']);
    expect([isOld(world), recordOf(world)?.fillId]).toEqual([true, old]);
  });

  it('when the helper has put it aside and its answer is lost', async () => {
    const { world, old } = await used();
    const retire = world.volumes.retire.bind(world.volumes);
    world.volumes.retire = async (...call) => {
      await retire(...call);
      throw new Error('hung up');
    };
    await expect(world.verbs.reprovision('vm1', asked)).rejects.toThrow('hung up');
    expect(world.names()).toEqual(['vg0/vm1']);
    expect([isOld(world), recordOf(world)?.fillId]).toEqual([true, old]);
  });
});

describe('a reprovision that comes to nothing', () => {
  it('for a reason that does not pass gives the old volume back, and says why', async () => {
    const scene = await used({ ...vm1, attributes: wrongDigest });
    await scene.world.verbs.reprovision('vm1', asked);
    await endsOld(scene, 'DIGEST_MISMATCH');
    expect(await isAdmitted(scene.world, '')).toBe(true);
    expect(await scene.world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ state: 'ready', problem: { code: 'DIGEST_MISMATCH' } }],
    });
  });

  it('by hand gives the old volume back', async () => {
    const scene = await midway();
    await scene.world.verbs.cancel('vm1');
    await endsOld(scene, 'CANCELLED');
  });

  it('because the annotation was changed again gives the old volume back', async () => {
    const { world } = await midway();
    world.define(vm1);
    await until('the old one alone', () => world.names().join() === 'vg0/vm1');
    expect(isOld(world)).toBe(true);
    expect(await isAdmitted(world, '')).toBe(true);
  });

  it('because the annotation was changed while it waits for its next try gives the old volume back', async () => {
    const { world, old } = await used();
    world.images.isAway = true;
    await world.verbs.reprovision('vm1', asked);
    await until('failed', () => recordOf(world)?.problem?.code === 'STORE_UNREACHABLE');
    world.define({ ...vm1, attributes: "size='8MiB'" });
    await endsOld({ world, old }, 'CANCELLED');
  });

  it('because the domain was undefined gives the old volume its name back', async () => {
    const { world, old } = await midway();
    world.undefine(uuid);
    await until('forgotten', () => recordOf(world) === undefined && world.fills.running.size === 0);
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(['vg0/vm1']);
    expect([isOld(world), sealIdOf(world)]).toEqual([true, old]);
  });

  it.each(['comes back', 'is given up'])(
    'for a reason that may pass keeps it aside until that %s',
    async (how) => {
      const scene = await used();
      const { world, aside } = scene;
      world.images.isAway = true;
      await world.verbs.reprovision('vm1', asked);
      await until('failed', () => recordOf(world)?.problem?.code === 'STORE_UNREACHABLE');
      await world.reconciler.requestAll();
      expect(isOld(world, aside)).toBe(true);
      expect(await world.verbs.domain('vm1')).toMatchObject({
        volumes: [
          {
            ...{ state: 'failed', aside: `vg0/${aside}` },
            problem: { code: 'STORE_UNREACHABLE', hint: expect.stringContaining('kept aside') as string },
          },
        ],
      });
      if (how === 'is given up') {
        await world.verbs.cancel('vm1');
        await endsOld(scene, 'STORE_UNREACHABLE');
        return;
      }
      world.images.isAway = false;
      await world.verbs.retry('vm1');
      await endsNew(scene);
    },
  );
});

describe('the word that an earlier volume may be removed', () => {
  it('goes with that volume, whoever has removed it', async () => {
    const { world } = await used();
    const row = recordOf(world);
    if (row === undefined) throw new Error('there is no row');
    // Its answer was lost, or the daemon died between the removal and the row.
    world.ledger.putFill({ ...row, replaces: 'f'.repeat(16) });
    await world.reconciler.requestAll();
    expect(recordOf(world)).toMatchObject({ state: 'ready', fillId: row.fillId });
    expect(recordOf(world)?.replaces).toBeUndefined();
  });
});

describe('the status of a volume that has its name back', () => {
  it('says why nothing has come of making it again, also before its row does', async () => {
    const { world, old } = await used(vm1);
    await until('looked at', () => !world.reconciler.isBusy);
    const row = recordOf(world);
    if (row === undefined) throw new Error('there is no row');
    const problem = { code: 'DIGEST_MISMATCH', message: 'It is another image.' } as const;
    world.ledger.putFill({ ...row, fillId: 'e'.repeat(16), state: 'failed', problem, replaces: old });
    const { volumes } = await world.verbs.domain('vm1');
    expect(volumes[0]).toMatchObject({ state: 'ready', problem });
  });
});

describe('a daemon that is killed', () => {
  it('after the intent and before the renaming has changed nothing', async () => {
    const scene = await used();
    const { world } = scene;
    world.volumes.retire = () => new Promise(() => undefined);
    void world.verbs.reprovision('vm1', asked);
    await until('intended', () => recordOf(world)?.replaces === scene.old);
    await killed(world);
    await until('the row is the old one', () => recordOf(world)?.fillId === scene.old);
    expect(isOld(world)).toBe(true);
    expect(recordOf(world)).toMatchObject({ state: 'ready', problem: { code: 'CANCELLED' } });
  });

  it('after the renaming and before the fill goes on', async () => {
    const scene = await used();
    const { world } = scene;
    const retire = world.volumes.retire.bind(world.volumes);
    world.volumes.retire = async (...call) => {
      await retire(...call);
      return new Promise(() => undefined);
    };
    void world.verbs.reprovision('vm1', asked);
    await until('aside', () => world.volume(scene.aside) !== undefined);
    world.volumes.retire = retire;
    await killed(world);
    await endsNew(scene);
  });

  it('in the middle of the fill goes on', async () => {
    const scene = await midway();
    await killed(scene.world);
    await endsNew(scene);
  });

  it('after publishing and before the row says ready goes on', async () => {
    const scene = await used();
    const { world } = scene;
    const putFill = world.ledger.putFill.bind(world.ledger);
    world.ledger.putFill = (record) => {
      if (record.state !== 'ready') putFill(record);
    };
    await world.verbs.reprovision('vm1', asked);
    await until('published', () => ![undefined, scene.old].includes(sealIdOf(world)));
    await until('settled', () => world.fills.running.size === 0);
    expect(isOld(world, scene.aside)).toBe(true);
    world.ledger.putFill = putFill;
    await killed(world);
    await endsNew(scene);
  });

  it('after the row says ready and before the old one is removed removes it', async () => {
    const scene = await used();
    const { world } = scene;
    const deleteVolume = world.libvirt.deleteVolume.bind(world.libvirt);
    world.libvirt.deleteVolume = () => Promise.reject(new Error('libvirt fails'));
    await world.verbs.reprovision('vm1', asked);
    await until(
      'published',
      () => recordOf(world)?.state === 'ready' && recordOf(world)?.replaces === scene.old,
    );
    expect(await isAdmitted(world)).toBe(true);
    expect(isOld(world, scene.aside)).toBe(true);
    // That the seal would bring the row back is no reason to give this up.
    await world.verbs.retry('vm1');
    world.libvirt.deleteVolume = deleteVolume;
    await killed(world);
    await endsNew(scene);
  });

  it('with its ledger lost gives the old one back if there is no new one', async () => {
    const { world, old } = await midway();
    await world.fills.stop();
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    world.restart();
    await world.reconciler.requestAll();
    await until(
      'the old one alone',
      () => world.names().join() === 'vg0/vm1' && recordOf(world)?.fillId === old,
    );
    expect(isOld(world)).toBe(true);
  });

  it('with its ledger lost after publishing leaves the old one aside, and says so', async () => {
    const { world, aside } = await used();
    world.libvirt.deleteVolume = () => Promise.reject(new Error('libvirt fails'));
    await world.verbs.reprovision('vm1', asked);
    await until('published', () => recordOf(world)?.state === 'ready' && world.isFilled('vm1'));
    await until('settled', () => world.fills.running.size === 0);
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    world.libvirt.deleteVolume = () => {
      throw new Error('a volume was removed without proof');
    };
    world.restart();
    await world.reconciler.requestAll();
    await until('known again', () => recordOf(world)?.state === 'ready');
    await world.reconciler.requestAll();
    expect(isOld(world, aside)).toBe(true);
    expect(await world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ state: 'ready', aside: `vg0/${aside}` }],
    });
    expect(await isAdmitted(world)).toBe(true);
  });
});

describe('provision', () => {
  const transient = domainXml(vm1);

  it('fills ahead of a first start, which then goes through at once', async () => {
    const world = new World();
    expect(await world.verbs.provision(transient)).toMatchObject({
      name: 'vm1',
      volumes: [{ target: 'vda' }],
    });
    await until('published', () => recordOf(world)?.state === 'ready');
    expect(world.isFilled('vm1')).toBe(true);
    world.images.isAway = true;
    expect(await admitStart(world.admit, 'prepare', transient)).toMatchObject({ allowed: true });
    expect(world.ledger.domainOf(uuid)).toMatchObject({ origin: 'gate' });
  });

  it('says to whom libvirt knows already what there is to do', async () => {
    const world = new World();
    world.define(vm1);
    await expect(world.verbs.provision(transient)).rejects.toMatchObject({
      code: 'VOLUME_STATE',
      hint: expect.stringMatching(/Nothing needs to be done.*lvp retry vm1/) as string,
    });
  });

  it.each([
    ['no uuid', transient.replace(/<uuid>.*?<\/uuid>/, ''), 'DOMAIN_XML_INVALID', /--metadata uuid=/],
    [
      'no annotation',
      transient.replace(/<metadata>.*<\/metadata>/s, ''),
      'ANNOTATION_INVALID',
      /libvirt-xml/,
    ],
    ['a mistake in it', transient.replace("format='raw'", "format='rough'"), 'ANNOTATION_INVALID', /./],
  ])('refuses XML with %s', async (_what, xml, code, hint) => {
    const world = new World();
    await expect(world.verbs.provision(xml)).rejects.toMatchObject({
      code,
      hint: expect.stringMatching(hint) as string,
    });
    expect(world.names()).toEqual([]);
  });
});
