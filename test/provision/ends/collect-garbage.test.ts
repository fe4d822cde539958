/** Goal: whatever is left over is found and named, and only what is safe to repair is repaired. */
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../../src/core/protocol/garbage-protocol.ts';
import { fillTags, privateName, retiredName, sealTags } from '../../../src/core/volume/volume.ts';
import { MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';
const fillId = '00112233445566aa';
const seal = {
  fillId,
  target: 'vm2',
  domainUuid: other,
  image: 'images/x',
  sha256: 'ab'.repeat(32),
  generation: 1,
};

async function publishedWorld(attributes = ''): Promise<World> {
  const world = new World();
  world.define({ uuid, name: 'vm1', attributes });
  await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
  world.reconciler.request(uuid);
  await world.reconciler.idle();
  return world;
}

async function dryRun(world: World): Promise<readonly Finding[]> {
  const names = world.names();
  const rows = world.ledger.fills();
  const { findings } = await world.garbage.collect({ dryRun: true });
  expect([world.names(), world.ledger.fills()]).toEqual([names, rows]);
  expect(findings.filter(({ done }) => done)).toEqual([]);
  return findings;
}

const brief = (findings: readonly Finding[]) =>
  findings.map(({ kind, name, action }) => [kind, name, action]);
const done = (findings: readonly Finding[]) => findings.map((one) => one.done);

describe('lvp gc', () => {
  it('finds nothing where all is well', async () => {
    const world = await publishedWorld();
    expect(await dryRun(world)).toEqual([]);
  });

  it('removes what a fill has left behind', async () => {
    const world = await publishedWorld();
    const mark = { fillId, target: 'vm2', domainUuid: other };
    world.volumes.add(privateName(fillId), Buffer.alloc(MIB), fillTags(mark));
    expect(brief(await dryRun(world))).toEqual([['abandoned', `vg0/${privateName(fillId)}`, 'remove']]);
    const { findings } = await world.garbage.collect({});
    expect(done(findings)).toEqual([true]);
    expect(world.names()).toEqual(['vg0/vm1']);
    expect((await world.garbage.collect({})).findings).toEqual([]);
  });

  it('gives a sealed volume its name, and keeps it', async () => {
    const world = await publishedWorld();
    world.volumes.add(privateName(fillId), Buffer.alloc(MIB), sealTags(seal));
    expect(brief(await dryRun(world))).toEqual([['half-published', `vg0/${privateName(fillId)}`, 'finish']]);
    const { findings } = await world.garbage.collect({});
    expect(findings.map((one) => [one.kind, one.name, one.done])).toEqual([
      ['half-published', `vg0/${privateName(fillId)}`, true],
      ['orphan', 'vg0/vm2', false],
    ]);
    expect(findings[1]).toMatchObject({
      action: 'none',
      hint: 'If nobody needs it: virsh vol-delete --pool guests vm2',
    });
  });

  it('shows volumes with tags that do not belong together, and does not touch them', async () => {
    const world = await publishedWorld();
    world.volumes.add('odd', Buffer.alloc(MIB), ['lvp:ready', 'lvp:filling']);
    world.volumes.add(privateName(fillId), Buffer.alloc(MIB));
    world.volumes.add('lvp-old-vm1-1', Buffer.alloc(MIB), ['lvp:whatever']);
    world.volumes.add('of-somebody', Buffer.alloc(MIB));
    const names = world.names();
    const { findings } = await world.garbage.collect({});
    expect(brief(findings)).toEqual([
      ['unclear', 'vg0/odd', 'none'],
      ['unclear', `vg0/${privateName(fillId)}`, 'none'],
      ['retired', 'vg0/lvp-old-vm1-1', 'none'],
    ]);
    expect(world.names()).toEqual(names);
  });

  it('gives a volume that was put aside for nothing its name back', async () => {
    const world = await publishedWorld();
    const aside = `vg0/${retiredName(fillId)}`;
    world.volumes.add(retiredName(fillId), Buffer.alloc(MIB), sealTags(seal));
    expect(brief(await dryRun(world))).toEqual([['retired', aside, 'restore']]);
    const { findings } = await world.garbage.collect({});
    expect(findings.map((one) => [one.kind, one.name, one.done])).toEqual([
      ['retired', aside, true],
      ['orphan', 'vg0/vm2', false],
    ]);
  });

  it('removes a volume that was replaced, and none of which that is not proven', async () => {
    const world = await publishedWorld();
    const record = world.ledger.fillOf(uuid, 'vda');
    if (record === undefined) throw new Error('there is none');
    const aside = `vg0/${retiredName(fillId)}`;
    const earlier = sealTags({ ...seal, target: 'vm1', domainUuid: uuid });
    world.volumes.add(retiredName(fillId), Buffer.alloc(MIB), earlier);
    expect(brief((await world.garbage.collect({})).findings)).toEqual([['retired', aside, 'none']]);
    world.ledger.putFill({ ...record, replaces: fillId });
    expect(brief(await dryRun(world))).toEqual([['retired', aside, 'remove']]);
    expect(done((await world.garbage.collect({})).findings)).toEqual([true]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('says nothing of a volume that stands aside for a fill that is tried again', async () => {
    const world = await publishedWorld();
    const record = world.ledger.fillOf(uuid, 'vda');
    if (record === undefined) throw new Error('there is none');
    world.libvirt.isAway = true;
    const problem = { code: 'STORE_UNREACHABLE', message: 'away', hint: 'wait' } as const;
    const earlier = sealTags({ ...seal, target: 'vm1', domainUuid: uuid });
    world.volumes.remove('vm1');
    world.volumes.add(retiredName(fillId), Buffer.alloc(MIB), earlier);
    world.ledger.putFill({
      ...{ ...record, fillId: 'a'.repeat(16), state: 'failed', problem, replaces: fillId },
      retryAtMs: world.clock.nowMs() + 600_000,
    });
    world.libvirt.isAway = false;
    expect(await dryRun(world)).toEqual([]);
  });

  it('takes a published volume that the ledger does not know into it', async () => {
    const world = await publishedWorld();
    const before = world.ledger.fillOf(uuid, 'vda');
    world.ledger.removeFill(uuid, 'vda');
    world.ledger.removeDomain(uuid);
    expect(brief(await dryRun(world))).toEqual([['volume-without-row', 'vg0/vm1', 'rebuild']]);
    expect(done((await world.garbage.collect({})).findings)).toEqual([true]);
    expect(world.ledger.fillOf(uuid, 'vda')).toMatchObject({
      ...{ fillId: before?.fillId, state: 'ready', sha256: before?.sha256, location: before?.location },
    });
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('shows a published volume that is gone, and does not have it made again', async () => {
    const world = await publishedWorld();
    world.volumes.remove('vm1');
    const { findings } = await world.garbage.collect({});
    expect(findings).toMatchObject([
      { kind: 'row-without-volume', name: 'vm1 vda', action: 'none', done: false },
    ]);
    expect(findings[0]?.hint).toContain('lvp retry vm1');
    await world.reconciler.idle();
    expect(world.names()).toEqual([]);
    expect(world.ledger.fillOf(uuid, 'vda')?.state).toBe('ready');
  });

  it('removes the row of a volume that is gone with its domain', async () => {
    const world = await publishedWorld("on-undefine='delete'");
    world.restart();
    world.undefine(uuid);
    await world.reconciler.idle();
    world.volumes.remove('vm1');
    expect(brief(await dryRun(world))).toEqual([['row-without-volume', 'vm1 vda', 'remove']]);
    expect(done((await world.garbage.collect({})).findings)).toEqual([true]);
    expect([world.ledger.fills(), world.ledger.domains()]).toEqual([[], []]);
  });

  it('removes the row of a volume whose name another one has, its domain being gone', async () => {
    const world = await publishedWorld("on-undefine='delete'");
    world.restart();
    world.undefine(uuid);
    await world.reconciler.idle();
    const volume = world.volumes.lvm.get('vm1');
    volume.tags = sealTags({ ...seal, target: 'vm1', domainUuid: uuid });
    expect(brief(await dryRun(world))).toEqual([
      ['orphan', 'vg0/vm1', 'none'],
      ['row-without-volume', 'vm1 vda', 'remove'],
    ]);
    expect(done((await world.garbage.collect({})).findings)).toEqual([false, true]);
    expect([world.names(), world.ledger.fills()]).toEqual([['vg0/vm1'], []]);
  });

  it('removes what the image cache has no use for, and shows ledgers that were set aside', async () => {
    const world = await publishedWorld();
    world.strays.add('/cache/0123.part');
    world.damagedLedgers = ['/state/ledger.db.damaged-2026'];
    expect(brief(await dryRun(world))).toEqual([
      ['cache-leftover', '/cache/0123.part', 'remove'],
      ['damaged-ledger', '/state/ledger.db.damaged-2026', 'none'],
    ]);
    expect(done((await world.garbage.collect({})).findings)).toEqual([true, false]);
    expect(world.strays.size).toBe(0);
  });
});

describe('a published volume whose domain is gone', () => {
  const orphaned = async (attributes: string) => {
    const world = await publishedWorld(attributes);
    // Nobody has seen how its guest ended.
    world.restart();
    world.undefine(uuid);
    await world.reconciler.idle();
    return world;
  };

  it('is shown and kept, whatever is asked for, if its annotation does not say delete', async () => {
    const world = await orphaned('');
    const { findings } = await world.garbage.collect({ deleteOrphans: ['vg0/vm1'] });
    expect(brief(findings)).toEqual([['orphan', 'vg0/vm1', 'none']]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('is not called an orphan where other hosts see it: its guest may run there', async () => {
    const world = await orphaned("on-undefine='delete'");
    world.sharedGroups.add('vg0');
    const { findings } = await world.garbage.collect({ deleteOrphans: ['vg0/vm1'] });
    expect(brief(findings)).toEqual([]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('is shown and kept unless it is named, if its annotation says delete', async () => {
    const world = await orphaned("on-undefine='delete'");
    const { findings } = await world.garbage.collect({ deleteOrphans: ['vg0/vm2'] });
    expect(brief(findings)).toEqual([['orphan', 'vg0/vm1', 'delete']]);
    expect(done(findings)).toEqual([false]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('is deleted when it is named', async () => {
    const world = await orphaned("on-undefine='delete'");
    const { findings } = await world.garbage.collect({ deleteOrphans: ['vg0/vm1'] });
    expect(done(findings)).toEqual([true]);
    expect(world.names()).toEqual([]);
    expect([world.ledger.fills(), world.ledger.domains()]).toEqual([[], []]);
  });

  it('is kept, and it is said why, while another domain names it', async () => {
    const world = await orphaned("on-undefine='delete'");
    const xml = `<domain><name>b</name><uuid>${other}</uuid><devices><disk><source dev='/dev/vg0/vm1'/><target dev='vda'/></disk></devices></domain>`;
    const fields = { active: false, persistent: true, autostart: false };
    world.libvirt.domains.set(other, { uuid: other, name: 'b', xml, ...fields });
    const { findings } = await world.garbage.collect({ deleteOrphans: ['vg0/vm1'] });
    expect(findings).toMatchObject([{ done: false, why: `it is kept: domain ${other} names /dev/vg0/vm1` }]);
    expect(world.names()).toEqual(['vg0/vm1']);
  });

  it('and is about to be deleted by itself is shown', async () => {
    const world = await publishedWorld("on-undefine='delete'");
    world.undefine(uuid);
    await world.reconciler.idle();
    expect(brief(await dryRun(world))).toEqual([['ending', 'vg0/vm1', 'none']]);
  });
});
