/**
 * Goal: a guest with two disks that tools install under another UUID at every try gets all that was filled
 * for its earlier tries, and nothing of those tries is remembered. Method: the real verbs over a world in
 * memory.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readMark } from '../../../src/core/volume/volume.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import type { AdmitAnswer } from '../../../src/provision/ports/verbs.ts';
import { MIB, until, World } from '../world.ts';

const [first, second, third] = [1, 2, 3].map(
  (digit) => `${digit}`.repeat(8) + '-1111-4111-8111-111111111111',
);

function xmlOf(uuid = '', targets: readonly string[] = ['vda', 'vdb']): string {
  const volumes = targets.map(
    (target) => `<vp:volume target='${target}' image='images/${target}.raw' format='raw'/>`,
  );
  const disks = targets.map(
    (target) =>
      `<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='guests' volume='${target}'/><target dev='${target}' bus='virtio'/></disk>`,
  );
  return `<domain type='kvm'><name>vm1</name><uuid>${uuid}</uuid><metadata>
    <vp:provision xmlns:vp='urn:libvirt-volume-provisioner:domain:1'>${volumes.join('')}</vp:provision>
    </metadata><devices>${disks.join('')}</devices></domain>`;
}

function stateOf(world: World, lv: string): string | undefined {
  return world.volume(lv) && readMark(world.volume(lv)?.tags ?? []).state;
}

/** vda is quickly filled; the reads of what is larger than a MiB can be held. */
function worldOfTwo(): World {
  const world = new World();
  const digest = (name: string): Buffer => world.images.objects.get(`${name}.sha256`) ?? Buffer.alloc(0);
  const small = Buffer.alloc(512, 0x43);
  world.images.objects.set('images/vda.raw', small);
  world.images.objects.set(
    'images/vda.raw.sha256',
    Buffer.from(createHash('sha256').update(small).digest('hex')),
  );
  world.images.objects.set('images/vdb.raw', world.image);
  world.images.objects.set('images/vdb.raw.sha256', digest('images/small.raw'));
  return world;
}

/** A try that is answered after the grace at the latest; by then vda is its own, and vdb if nothing holds it. */
async function tryToStart(world: World, uuid = ''): Promise<AdmitAnswer> {
  const answer = admitStart(world.admit, 'prepare', xmlOf(uuid));
  await until('vda is its own', () => {
    const mark = readMark(world.volume('vda')?.tags ?? []);
    return mark.state === 'ready' && mark.domainUuid === uuid;
  });
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
  world.clock.advance(3_000);
  return answer;
}

describe('a guest with two disks that comes back with another UUID', () => {
  it('gets what is still being filled for an earlier try when it is finished', async () => {
    const world = worldOfTwo();
    world.images.hold();
    expect(await tryToStart(world, first)).toMatchObject({ allowed: false });
    expect(stateOf(world, 'vda')).toBe('ready');
    expect(await tryToStart(world, second)).toMatchObject({ allowed: false });
    world.images.letGo();
    await until('both are published', () => stateOf(world, 'vdb') === 'ready');
    expect(await tryToStart(world, third)).toMatchObject({ allowed: true });
    expect(world.ledger.domains().map(({ domain }) => domain.uuid)).toEqual([third]);
    expect(world.ledger.fills().map(({ domainUuid }) => domainUuid)).toEqual([third, third]);
  });

  it('gets nothing on which a guest may have run before it was undefined', async () => {
    const world = worldOfTwo();
    world.images.hold();
    expect(await tryToStart(world, first)).toMatchObject({ allowed: false });
    world.images.letGo();
    await until('both are published', () => stateOf(world, 'vdb') === 'ready');
    expect(await tryToStart(world, first)).toMatchObject({ allowed: true });
    // It has run, and was undefined.
    world.ledger.removeFill(first ?? '', 'vda');
    world.ledger.removeFill(first ?? '', 'vdb');
    world.ledger.removeDomain(first ?? '');
    world.volumes.remove('vdb');
    world.images.hold();
    expect(await tryToStart(world, first)).toMatchObject({ allowed: false });
    const answer = admitStart(world.admit, 'prepare', xmlOf(second));
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    world.clock.advance(3_000);
    expect(await answer).toMatchObject({ allowed: false });
    world.images.letGo();
    expect(readMark(world.volume('vda')?.tags ?? [])).toMatchObject({ state: 'ready', domainUuid: first });
  });

  it('is the only one with rows in the ledger, though the tool has removed one of its volumes', async () => {
    const world = worldOfTwo();
    world.images.hold();
    expect(await tryToStart(world, first)).toMatchObject({ allowed: false });
    world.images.letGo();
    await until('both are published', () => stateOf(world, 'vdb') === 'ready');
    world.volumes.remove('vda');
    world.volumes.add('vda', Buffer.alloc(4 * MIB));
    expect(await tryToStart(world, second)).toMatchObject({ allowed: true });
    expect(world.ledger.domains().map(({ domain }) => domain.uuid)).toEqual([second]);
    expect(world.ledger.fills().map(({ domainUuid }) => domainUuid)).toEqual([second, second]);
  });

  it('gets nothing on which an earlier guest of that UUID has run, whatever else that one then asked for', async () => {
    const world = worldOfTwo();
    const shown = async (uuid = '', ...targets: string[]) => {
      const answer = admitStart(world.admit, 'prepare', xmlOf(uuid, targets));
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
      world.clock.advance(3_000);
      return answer;
    };
    const ownerOfVda = () => {
      const mark = readMark(world.volume('vda')?.tags ?? []);
      return mark.state === 'ready' ? mark.domainUuid : mark.state;
    };
    expect(await shown(first, 'vda')).toMatchObject({ allowed: true });
    // Its guest has run, and it is gone.
    world.ledger.removeFill(first ?? '', 'vda');
    world.ledger.removeDomain(first ?? '');
    world.restart();
    world.images.hold();
    expect(await shown(first, 'vdb')).toMatchObject({ allowed: false });
    expect(await shown(first, 'vda', 'vdb')).toMatchObject({ allowed: false });
    expect(await shown(second, 'vda', 'vdb')).toMatchObject({ allowed: false });
    expect(ownerOfVda()).toBe(first);
    world.images.letGo();
  });
});
