/** Goal: what was made unreadable never starts again, is never erased by mistake, and everybody is told why. */
import { describe, expect, it } from 'vitest';
import { retiredName } from '../../../src/core/volume/volume.ts';
import { FILL, KeyWorld, PulledPlug, UUID } from '../key-world.ts';

const asked = { domain: 'vm1', target: 'vda', confirm: 'vg0/vm1' };

describe('crypto-erase', () => {
  it.each([asked, { volume: 'vg0/vm1', confirm: 'vg0/vm1' }])(
    'destroys the header of %o',
    async (request) => {
      const scene = new KeyWorld();
      await scene.world.reconciler.requestAll();
      await scene.world.reconciler.idle();
      expect(await scene.verbs.erase(request)).toEqual({
        ...{ volume: 'vg0/vm1', sizeBytes: 4 << 20, domain: UUID, name: 'vm1', applied: true },
        holds: { image: 'images/small.raw', sha256: 'ab'.repeat(32), generation: 1 },
      });
      expect([scene.slots, scene.effects]).toEqual([undefined, ['write erasing', 'erase', 'write done']]);
      expect(scene.events).toMatchObject([
        { what: 'crypto-erase', volume: 'vg0/vm1', domain: UUID, outcome: 'done' },
      ]);
    },
  );

  it('lets no start through any more, and says why wherever somebody looks', async () => {
    const scene = new KeyWorld();
    await scene.verbs.erase(asked);
    scene.plugIn();
    const words = 'was made unreadable by lvp incident crypto-erase';
    expect(JSON.stringify(await scene.gate())).toContain(words);
    expect(await scene.gate()).toMatchObject({ allowed: false });
    expect(await scene.world.verbs.domain('vm1')).toMatchObject({ volumes: [{ state: 'refused' }] });
    expect((await scene.world.verbs.domain('vm1')).volumes[0]?.problem?.message).toContain(words);
    expect(await scene.world.verbs.explain('vm1')).toMatchObject({ start: { allowed: false } });
    expect((await scene.world.verbs.explain('vm1')).start.why).toContain(words);
    // Nor after a retry, nor by another key.
    await scene.world.verbs.retry('vm1');
    expect(await scene.gate()).toMatchObject({ allowed: false });
    await expect(scene.verbs.rotate({ domain: 'vm1', target: 'vda', to: 'file:new' })).rejects.toMatchObject({
      code: 'VOLUME_STATE',
    });
  });

  it.each(['write erasing', 'erase'] as const)(
    'that is cut off after "%s" lets no start through, and ends when asked again',
    async (effect) => {
      const scene = new KeyWorld();
      scene.pull = { effect, when: 'after' };
      await expect(scene.verbs.erase(asked)).rejects.toThrow(PulledPlug);
      scene.plugIn();
      const answer = await scene.gate();
      expect(answer.allowed).toBe(false);
      expect(answer.problems[0]).toMatchObject({ hint: 'Finish it: lvp incident crypto-erase vg0/vm1' });
      await scene.verbs.erase(asked);
      expect(scene.slots).toBeUndefined();
      expect(scene.change()).toMatchObject({ what: 'erase', step: 'done', fillId: FILL });
    },
  );

  it('that is cut off before it was written down has done nothing', async () => {
    const scene = new KeyWorld();
    scene.pull = { effect: 'write erasing', when: 'before' };
    await expect(scene.verbs.erase(asked)).rejects.toThrow(PulledPlug);
    scene.plugIn();
    expect([scene.slots, (await scene.gate()).allowed]).toEqual([['file:old'], true]);
  });

  it('ends a rotation that was cut off, too', async () => {
    const scene = new KeyWorld();
    scene.pull = { effect: 'add', when: 'after' };
    await expect(
      scene.verbs.rotate({ ...asked, confirm: undefined, to: 'file:new' } as never),
    ).rejects.toThrow();
    scene.plugIn();
    await scene.verbs.erase(asked);
    await scene.world.reconciler.requestAll();
    await scene.world.reconciler.idle();
    await scene.verbs.idle();
    expect([scene.slots, scene.annotated]).toEqual([undefined, 'file:old']);
  });

  it('destroys what was put aside to be made again, under the name that it has meanwhile', async () => {
    const scene = new KeyWorld();
    const volume = scene.world.volumes.lvm.find('vm1');
    if (volume === undefined) throw new Error('no volume');
    volume.lv = retiredName(FILL);
    const name = `vg0/${volume.lv}`;
    await scene.verbs.erase({ volume: name, confirm: name });
    expect([scene.slots, scene.change()]).toMatchObject([undefined, { step: 'done', volume: name }]);
  });

  it('works while the host is frozen', async () => {
    const scene = new KeyWorld();
    scene.world.frozen = { since: '2026-11-30T00:00:00Z', by: 'root' };
    for (const request of [asked, { volume: 'vg0/vm1', confirm: 'vg0/vm1' }])
      await scene.verbs.erase(request);
    expect(scene.slots).toBeUndefined();
  });

  it('only says what would be lost when asked for that', async () => {
    const scene = new KeyWorld();
    expect(await scene.verbs.erase({ volume: 'vg0/vm1', dryRun: true })).toMatchObject({ applied: false });
    expect([scene.slots, scene.effects]).toEqual([['file:old'], []]);
  });
});

describe('crypto-erase is refused, and nothing changes,', () => {
  const volume = (scene: KeyWorld) => {
    const found = scene.world.volumes.lvm.find('vm1');
    if (found === undefined) throw new Error('no volume');
    return found;
  };
  const none = () => undefined;
  const cases: [string, (scene: KeyWorld) => void, object, string][] = [
    ['without a confirmation', none, { ...asked, confirm: undefined }, 'USAGE'],
    ['with the name of the domain in its place', none, { ...asked, confirm: 'vm1/vda' }, 'USAGE'],
    ['for nothing', none, { confirm: 'vg0/vm1' }, 'USAGE'],
    ['for two things', none, { ...asked, volume: 'vg0/vm1' }, 'USAGE'],
    ['for a volume that is not there', none, { volume: 'vg0/vm9', confirm: 'vg0/vm9' }, 'VOLUME_MISSING'],
    [
      'while somebody has it open',
      (scene) => {
        volume(scene).openLooks = Infinity;
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'while a start may be under way',
      (scene) => {
        scene.world.reconciler.admitted(UUID);
      },
      asked,
      'VOLUME_STATE',
    ],
    [
      'in a group that other hosts see',
      (scene) => scene.world.sharedGroups.add('vg0'),
      asked,
      'VOLUME_STATE',
    ],
    [
      'for one that is not sealed',
      (scene) => {
        volume(scene).tags = [];
      },
      { volume: 'vg0/vm1', confirm: 'vg0/vm1' },
      'VOLUME_STATE',
    ],
    [
      'for one that is not encrypted',
      (scene) => {
        volume(scene).tags = volume(scene).tags.filter((tag) => !tag.includes('encryption'));
      },
      { volume: 'vg0/vm1', confirm: 'vg0/vm1' },
      'VOLUME_STATE',
    ],
    [
      'for a disk whose volume is that of another domain',
      (scene) => {
        volume(scene).tags = volume(scene).tags.map((tag) => tag.replace(UUID, UUID.replaceAll('1', '2')));
      },
      asked,
      'VOLUME_OF_OTHER_DOMAIN',
    ],
    ['for a domain that libvirt does not know', none, { ...asked, domain: 'vm9' }, 'DOMAIN_NOT_FOUND'],
    ['for a disk that is not annotated', none, { ...asked, target: 'vdb' }, 'DISK_NOT_FOUND'],
  ];
  it.each(cases)('%s', async (_what, arrange, request, code) => {
    const scene = new KeyWorld();
    arrange(scene);
    await expect(scene.verbs.erase(request)).rejects.toMatchObject({ code });
    expect([scene.slots, scene.effects, scene.change()]).toEqual([['file:old'], [], undefined]);
  });

  it('also by the helper: the volume starts as before, and what was cut off stays to be finished', async () => {
    const scene = new KeyWorld();
    scene.openAtLast = true;
    await expect(scene.verbs.erase(asked)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect([scene.slots, scene.change(), (await scene.gate()).allowed]).toEqual([
      ['file:old'],
      undefined,
      true,
    ]);
    const later = new KeyWorld();
    later.pull = { effect: 'erase', when: 'before' };
    await expect(later.verbs.erase(asked)).rejects.toThrow(PulledPlug);
    later.plugIn();
    later.openAtLast = true;
    await expect(later.verbs.erase(asked)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(later.change()).toMatchObject({ what: 'erase', step: 'erasing' });
  });
});
