/** What `lvp` is told, over the world in memory. */
import { describe, expect, it } from 'vitest';
import { domainXml, until, World } from './world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const vm1 = { uuid, name: 'vm1' };

const request = { target: 'vda', image: 'images/other.raw', format: 'raw' } as const;

describe('status and explain', () => {
  it('say what was refused, and that the start would be', async () => {
    const world = new World();
    world.volumes.add('vm1', Buffer.alloc(4096, 1));
    world.define(vm1);
    expect(await world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ target: 'vda', state: 'refused', problem: { code: 'VOLUME_NOT_BLANK' } }],
    });
    const { start, steps } = await world.verbs.explain('vm1');
    expect(start).toMatchObject({ allowed: false });
    expect(steps).toMatchObject([{ target: 'vda', action: 'refuse' }]);
  });

  it('say every mistake of an annotation', async () => {
    const world = new World();
    world.define({ ...vm1, attributes: "colour='red' size='-1'" });
    await until('seen', () => world.reconciler.unreadable.size === 1);
    const [status] = await world.verbs.domains();
    expect(status?.problems).toHaveLength(2);
    expect(JSON.stringify(status?.problems)).toMatch(/colour.*size/);
    expect((await world.verbs.explain('vm1')).start.allowed).toBe(false);
    expect(world.names()).toEqual([]);
  });

  it('say which disk an annotation names in vain', async () => {
    const world = new World();
    const xml = domainXml(vm1).replace("target='vda'", "target='vdz'");
    world.libvirt.domains.set(uuid, {
      uuid,
      name: 'vm1',
      xml,
      active: false,
      persistent: true,
      autostart: false,
    });
    expect(await world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ target: 'vdz', state: 'refused' }],
      problems: [{ code: 'DISK_UNSUITABLE' }],
    });
  });

  it('of a domain that libvirt does not know are an error', async () => {
    await expect(new World().verbs.domain('nobody')).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' });
  });
});

describe('annotate', () => {
  it('shows the element, and writes it unless asked not to', async () => {
    const world = new World();
    world.define(vm1);
    const shown = await world.verbs.annotate('vm1', { ...request, size: '8MiB', dryRun: true });
    expect(shown.applied).toBe(false);
    expect(shown.xml).toMatch(/image="images\/other\.raw"/);
    expect(shown.xml).toMatch(/size="8MiB"/);
    expect(await world.verbs.annotate('vm1', request)).toMatchObject({ applied: true });
  });

  it.each([
    ['an unknown domain', 'nobody', request, 'DOMAIN_NOT_FOUND'],
    ['an unknown disk', 'vm1', { ...request, target: 'vdz' }, 'DISK_NOT_FOUND'],
    ['an image that is no BUCKET/KEY', 'vm1', { ...request, image: 'nonsense' }, 'ANNOTATION_INVALID'],
    ['a size that is none', 'vm1', { ...request, size: 'large' }, 'ANNOTATION_INVALID'],
  ])('refuses %s', async (_what, name, asked, code) => {
    const world = new World();
    world.define(vm1);
    await expect(world.verbs.annotate(name, asked)).rejects.toMatchObject({ code });
  });

  it('does not replace an annotation it cannot read', async () => {
    const world = new World();
    world.define({ ...vm1, attributes: "colour='red'" });
    await expect(world.verbs.annotate('vm1', request)).rejects.toMatchObject({ code: 'ANNOTATION_INVALID' });
  });
});

describe('cancel and retry', () => {
  it('refuse a disk that is not annotated', async () => {
    const world = new World();
    world.define(vm1);
    await expect(world.verbs.cancel('vm1', 'vdb')).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
    await expect(world.verbs.retry('vm1', 'vdb')).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
  });

  it('retry fills a published volume that is gone', async () => {
    const world = new World();
    world.define(vm1);
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    world.volumes.remove('vm1');
    expect(await world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ problem: { code: 'VOLUME_MISSING' } }],
    });
    await world.verbs.retry('vm1');
    await until('published again', () => world.isFilled('vm1'));
  });

  it('retry fills it not while the memory of the guest is saved, which would wake on another disk', async () => {
    const world = new World();
    world.define(vm1);
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    world.libvirt.saved.add(uuid);
    expect(await world.verbs.retry('vm1')).toMatchObject({ volumes: [{ state: 'ready' }] });
    world.volumes.remove('vm1');
    await expect(world.verbs.retry('vm1')).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    await world.reconciler.idle();
    expect(world.volume('vm1')).toBeUndefined();
    world.libvirt.saved.delete(uuid);
    await world.verbs.retry('vm1');
    await until('published again', () => world.isFilled('vm1'));
  });

  it('retry fills it also for a domain that libvirt does not know yet', async () => {
    const world = new World();
    await world.verbs.provision(domainXml(vm1));
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    world.volumes.remove('vm1');
    await world.verbs.retry('vm1');
    await until('published again', () => world.isFilled('vm1'));
  });

  it('retry leaves a published volume alone', async () => {
    const world = new World();
    world.define(vm1);
    await until('published', () => world.ledger.fillOf(uuid, 'vda')?.state === 'ready');
    world.volume('vm1')?.bytes.fill(0x99);
    expect(await world.verbs.retry('vm1')).toMatchObject({ volumes: [{ state: 'ready' }] });
    expect(world.volume('vm1')?.bytes.every((byte) => byte === 0x99)).toBe(true);
  });
});
