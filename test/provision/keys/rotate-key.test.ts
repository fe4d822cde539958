/**
 * Goal: after every step of a rotation, and whatever cuts it off, a key that is known opens the volume, and the same
 * command, or the daemon by itself, ends it. Method: the real verbs over a header that is a list of keys, the plug
 * pulled before and after each effect.
 */
import { describe, expect, it } from 'vitest';
import { KeyWorld, PulledPlug, UUID } from '../key-world.ts';
import { until } from '../world.ts';

const asked = { domain: 'vm1', target: 'vda', to: 'file:new' };
/** All that a rotation does, in its order. */
const EFFECTS = [
  ...['write adding', 'add', 'write annotating', 'annotate', 'write removing', 'keep only', 'write done'],
];

function expectDone(scene: KeyWorld): void {
  expect([scene.slots, scene.annotated, scene.change()?.step]).toEqual([['file:new'], 'file:new', 'done']);
  expect(scene.unwiped.size).toBe(0);
}

describe('key rotate', () => {
  it('puts the new key in place of the old one, and says what is left to do at the key server', async () => {
    const scene = new KeyWorld();
    expect(await scene.verbs.rotate(asked)).toEqual({
      ...{ uuid: UUID, name: 'vm1', target: 'vda', volume: 'vg0/vm1', from: 'file:old', to: 'file:new' },
      ...{ applied: true, next: ['lvp key revoke file:old'] },
    });
    expectDone(scene);
    expect(scene.effects).toEqual(EFFECTS);
  });

  it('keeps all else in the annotation', async () => {
    const scene = new KeyWorld();
    scene.define({ attributes: "size='4MiB' on-undefine='delete'" });
    const before = scene.annotation;
    await scene.verbs.rotate(asked);
    const key = { provider: 'file', id: 'new' };
    expect(scene.annotation).toEqual({ ...before, volumes: before?.volumes.map((one) => ({ ...one, key })) });
    expect(scene.annotation).toMatchObject({ start: 'when-ready', volumes: [{ onUndefine: 'delete' }] });
  });

  it('leaves an event for each effect, with the names of the keys and nothing else of them', async () => {
    const scene = new KeyWorld();
    await scene.verbs.rotate(asked);
    expect(scene.events.map(({ what, key, volume, outcome }) => [what, key, volume, outcome])).toEqual([
      ['key add', 'file:new', 'vg0/vm1', 'done'],
      ['key annotate', 'file:new', 'vg0/vm1', 'done'],
      ['key remove', 'file:old', 'vg0/vm1', 'done'],
    ]);
    for (const secret of scene.readable.values()) {
      expect(JSON.stringify([scene.events, scene.change(), scene.domain])).not.toContain(secret);
    }
  });

  it('changes nothing when it is only to be tried, and finds what is in the way all the same', async () => {
    const scene = new KeyWorld();
    expect(await scene.verbs.rotate({ ...asked, dryRun: true })).toMatchObject({ applied: false });
    expect([scene.effects, scene.slots, scene.annotated]).toEqual([[], ['file:old'], 'file:old']);
    scene.slots = ['file:other'];
    await expect(scene.verbs.rotate({ ...asked, dryRun: true })).rejects.toMatchObject({ code: 'KEY_WRONG' });
    expect([scene.effects, scene.unwiped.size]).toEqual([[], 0]);
  });

  it('makes room in a header that earlier rotations, which were given up, have filled', async () => {
    const scene = new KeyWorld();
    scene.slots = ['file:old', ...Array.from({ length: 7 }, (_, index) => `file:given-up-${index}`)];
    await scene.verbs.rotate(asked);
    expectDone(scene);
  });

  it('is not done as long as the old key opens the volume', async () => {
    const scene = new KeyWorld();
    scene.keepsAll = true;
    await expect(scene.verbs.rotate(asked)).rejects.toMatchObject({
      ...{ code: 'HELPER_FAILED', message: expect.stringContaining('file:old still opens it') as string },
    });
    expect(scene.change()?.step).toBe('removing');
    scene.keepsAll = false;
    await scene.verbs.rotate(asked);
    expectDone(scene);
  });

  it('lets no start through meanwhile, and says why', async () => {
    for (const effect of ['add', 'annotate', 'keep only']) {
      const scene = new KeyWorld();
      expect(await scene.gate()).toMatchObject({ allowed: true });
      const answers: unknown[] = [];
      scene.during = { effect, act: async () => void answers.push(await scene.gate()) };
      await scene.verbs.rotate(asked);
      expect(answers).toMatchObject([{ allowed: false, problems: [{ code: 'VOLUME_STATE' }] }]);
      expect(JSON.stringify(answers)).toContain('is being changed at this moment');
      expect(await scene.gate()).toMatchObject({ allowed: true });
    }
  });

  it('is not begun twice at a time, and no reprovision with it', async () => {
    const scene = new KeyWorld();
    const others: Promise<unknown>[] = [];
    const act = () => {
      others.push(
        expect(scene.verbs.rotate({ ...asked, to: 'file:other' })).rejects.toMatchObject({
          code: 'VOLUME_STATE',
        }),
        expect(scene.verbs.erase({ volume: 'vg0/vm1', confirm: 'vg0/vm1' })).rejects.toMatchObject({
          code: 'VOLUME_STATE',
        }),
        expect(
          scene.world.verbs.reprovision('vm1', { target: 'vda', confirm: 'vm1/vda' }),
        ).rejects.toMatchObject({ code: 'VOLUME_STATE' }),
      );
      return Promise.all(others).then(() => undefined);
    };
    scene.during = { effect: 'add', act };
    await scene.verbs.rotate(asked);
    expect(others.length).toBe(3);
    await Promise.all(others);
    expectDone(scene);
  });
});

describe('a rotation that is cut off', () => {
  const cuts = EFFECTS.flatMap((effect) =>
    (['before', 'after'] as const).map((when) => [when, effect] as const),
  );

  async function cut(when: 'before' | 'after', effect: string): Promise<KeyWorld> {
    const scene = new KeyWorld();
    scene.pull = { when, effect };
    await expect(scene.verbs.rotate(asked)).rejects.toThrow(PulledPlug);
    expect(scene.isStartable).toBe(true);
    scene.plugIn();
    return scene;
  }

  it.each(cuts)('%s "%s" is ended by the same command, the domain startable before', async (when, effect) => {
    const scene = await cut(when, effect);
    expect(await scene.gate()).toMatchObject({ allowed: true });
    const again = scene.verbs.rotate(asked);
    if (effect === 'write done' && when === 'after')
      await expect(again).rejects.toMatchObject({ code: 'USAGE' });
    else expect(await again).toMatchObject({ from: 'file:old', to: 'file:new', applied: true });
    expectDone(scene);
  });

  it.each(cuts.slice(1))('%s "%s" is ended by the daemon itself', async (when, effect) => {
    const scene = await cut(when, effect);
    await scene.world.reconciler.requestAll();
    await until('done', () => scene.change()?.step === 'done');
    await scene.verbs.idle();
    expectDone(scene);
  });

  it.each(cuts)('%s "%s" is ended without the ledger, too', async (when, effect) => {
    const scene = await cut(when, effect);
    scene.world.ledger.removeKeyChange('00112233445566aa');
    const again = scene.verbs.rotate(asked);
    const isOver =
      when === 'after' ? effect === 'keep only' || effect === 'write done' : effect === 'write done';
    if (isOver) await expect(again).rejects.toMatchObject({ code: 'USAGE' });
    else await again;
    expect([scene.slots, scene.annotated]).toEqual([['file:new'], 'file:new']);
  });

  it('is gone on with once the guest, which was started meanwhile, is shut off', async () => {
    const scene = await cut('after', 'add');
    scene.define({ active: true });
    await scene.world.reconciler.requestAll();
    await scene.world.reconciler.idle();
    await scene.verbs.idle();
    expect([scene.slots, scene.annotated]).toEqual([['file:old', 'file:new'], 'file:old']);
    expect((await scene.world.verbs.explain('vm1')).steps[0]?.why).toContain('its key is being replaced');
    scene.define({ active: false });
    scene.world.reconciler.request(UUID);
    await until('done', () => scene.change()?.step === 'done');
    expectDone(scene);
  });

  it('is not gone on with while the host is frozen', async () => {
    const scene = await cut('after', 'annotate');
    scene.world.frozen = { since: '2026-11-30T00:00:00Z', by: 'root' };
    await scene.world.reconciler.requestAll();
    await scene.world.reconciler.idle();
    await scene.verbs.idle();
    expect(scene.slots).toEqual(['file:old', 'file:new']);
    await expect(scene.verbs.rotate(asked)).rejects.toMatchObject({ code: 'FROZEN' });
    scene.world.frozen = undefined;
    await scene.world.reconciler.requestAll();
    await until('done', () => scene.change()?.step === 'done');
  });

  it('waits for the next look where the key cannot be had, and is not tried without end', async () => {
    const scene = await cut('after', 'add');
    scene.readable.delete('file:new');
    await scene.world.reconciler.requestAll();
    await scene.world.reconciler.idle();
    await scene.verbs.idle();
    const { reads } = scene;
    await scene.world.reconciler.idle();
    await scene.verbs.idle();
    expect([scene.reads, scene.slots]).toEqual([reads, ['file:old', 'file:new']]);
    scene.readable.set('file:new', scene.keyText('file:new'));
    await scene.world.reconciler.requestAll();
    await until('done', () => scene.change()?.step === 'done');
  });

  it('is given up where the annotation names a third key by then', async () => {
    const scene = await cut('after', 'add');
    scene.slots = ['file:old', 'file:new', 'file:other'];
    scene.define({ key: 'file:other' });
    await scene.world.reconciler.requestAll();
    await until('given up', () => scene.change() === undefined);
    await scene.verbs.idle();
    expect([scene.slots, scene.annotated]).toEqual([['file:old', 'file:new', 'file:other'], 'file:other']);
  });

  it('is gone on with where somebody has the annotation name the new key too soon', async () => {
    const scene = await cut('after', 'write adding');
    scene.define({ key: 'file:new' });
    expect(scene.slots).toEqual(['file:old']);
    expect(await scene.verbs.rotate({ ...asked, dryRun: true })).toMatchObject({ from: 'file:old' });
    await scene.world.reconciler.requestAll();
    await until('done', () => scene.change()?.step === 'done');
    await scene.verbs.idle();
    expectDone(scene);
  });

  it('and its old key revoked meanwhile, is ended with the new one alone', async () => {
    for (const effect of ['annotate', 'keep only']) {
      const scene = await cut('after', effect);
      scene.readable.delete('file:old');
      await scene.verbs.rotate(asked);
      expectDone(scene);
    }
  });

  it('at the power, which takes back what libvirt wrote last, has the annotation written again', async () => {
    const scene = new KeyWorld();
    await scene.verbs.rotate(asked);
    scene.define({ key: 'file:old' });
    scene.plugIn();
    expect(scene.isStartable).toBe(false);
    await scene.world.reconciler.requestAll();
    await until('annotated', () => scene.annotated === 'file:new');
    await scene.verbs.idle();
    expectDone(scene);
    // The same by hand, with nothing in the ledger.
    scene.define({ key: 'file:old' });
    scene.world.ledger.removeKeyChange('00112233445566aa');
    await scene.verbs.rotate(asked);
    expectDone(scene);
  });
});

describe('a key server that never answers', () => {
  it.each(['file:new', 'file:old'])(
    'ends a rotation in time, and nothing was changed: %s',
    async (silent) => {
      const scene = new KeyWorld();
      scene.silent.add(silent);
      const rotated = scene.verbs.rotate(asked);
      rotated.catch(() => undefined);
      await until('it is asked', () => scene.reads === (silent === 'file:new' ? 1 : 2));
      scene.world.clock.advance(30_000);
      await expect(rotated).rejects.toMatchObject({ code: 'KEY_SERVER_UNREACHABLE' });
      expect([scene.effects, scene.slots, scene.annotated]).toEqual([[], ['file:old'], 'file:old']);
      expect(scene.unwiped.size).toBe(0);
    },
  );
});

describe('key rotate is refused, and nothing changes,', () => {
  const other = '22222222-2222-4222-8222-222222222222';
  const open = (scene: KeyWorld) => {
    const volume = scene.world.volumes.lvm.find('vm1');
    if (volume !== undefined) volume.openLooks = Infinity;
  };
  const cases: [string, (scene: KeyWorld) => unknown, object, string][] = [
    ['for a domain that libvirt does not know', () => undefined, { domain: 'vm9' }, 'DOMAIN_NOT_FOUND'],
    ['for a disk that is not annotated', () => undefined, { target: 'vdb' }, 'DISK_NOT_FOUND'],
    [
      'while the domain runs',
      (scene) => {
        scene.define({ active: true });
      },
      {},
      'VOLUME_STATE',
    ],
    ['while its memory is saved', (scene) => scene.world.libvirt.saved.add(UUID), {}, 'VOLUME_STATE'],
    [
      'while the domain arrives',
      (scene) => {
        scene.world.reconciler.incoming.mark(UUID, 'admitted');
      },
      {},
      'VOLUME_STATE',
    ],
    [
      'while it is being started',
      (scene) => {
        scene.world.reconciler.admitted(UUID);
      },
      {},
      'VOLUME_STATE',
    ],
    [
      'while its start is let through during the look at its volume',
      (scene) => {
        const { volumes, reconciler } = scene.world;
        const list = volumes.list.bind(volumes);
        volumes.list = (...call) => {
          reconciler.admitted(UUID);
          return list(...call);
        };
      },
      {},
      'VOLUME_STATE',
    ],
    ['while somebody has the volume open', open, {}, 'VOLUME_STATE'],
    ['in a group that other hosts see', (scene) => scene.world.sharedGroups.add('vg0'), {}, 'VOLUME_STATE'],
    ['to the key that it has', () => undefined, { to: 'file:old' }, 'USAGE'],
    [
      'to the same key under another name',
      (scene) => scene.readable.set('file:new', scene.readable.get('file:old') ?? ''),
      {},
      'KEY_IN_USE',
    ],
    ['to a key that this host may not read', (scene) => scene.readable.delete('file:new'), {}, 'KEY_DENIED'],
    [
      'from a key that this host may not read',
      (scene) => scene.readable.delete('file:old'),
      {},
      'KEY_DENIED',
    ],
    [
      'from a key that does not open it',
      (scene) => {
        scene.slots = ['file:other'];
      },
      {},
      'KEY_WRONG',
    ],
    [
      'for a header that is damaged',
      (scene) => {
        scene.slots = undefined;
      },
      {},
      'VOLUME_STATE',
    ],
    [
      'to the key of another domain',
      async (scene) => {
        scene.define({ uuid: other, name: 'vm2', key: 'file:new' });
        await scene.world.reconciler.requestAll();
        await scene.world.reconciler.idle();
      },
      {},
      'KEY_IN_USE',
    ],
    [
      'to a key that another volume is about to have',
      (scene) => {
        scene.world.ledger.putKeyChange({
          ...{
            what: 'rotate',
            step: 'adding',
            fillId: '9900112233445566',
            volume: 'vg0/vm9',
            atMs: 0,
            target: 'vda',
          },
          ...{ domainUuid: other, from: { provider: 'file', id: 'x' }, to: { provider: 'file', id: 'new' } },
        });
      },
      {},
      'KEY_IN_USE',
    ],
    [
      'for a volume of another domain',
      (scene) => {
        scene.define({ uuid: other, name: 'vm2', lv: 'vm1' });
      },
      { domain: 'vm2' },
      'VOLUME_OF_OTHER_DOMAIN',
    ],
  ];
  it.each(cases)('%s', async (_what, arrange, change, code) => {
    const scene = new KeyWorld();
    await arrange(scene);
    const before = [scene.slots, scene.domain.xml, scene.change()];
    for (const dryRun of [true, false]) {
      await expect(scene.verbs.rotate({ ...asked, ...change, dryRun })).rejects.toMatchObject({ code });
    }
    expect([scene.slots, scene.domain.xml]).toEqual(before.slice(0, 2));
    expect([scene.effects.filter((effect) => !effect.startsWith('write')), scene.unwiped.size]).toEqual([
      [],
      0,
    ]);
  });

  it('and the key stays, if the annotation is changed or the guest started in the middle', async () => {
    const acts: ((scene: KeyWorld) => void)[] = [
      (scene) => {
        scene.define({ key: 'file:other' });
      },
      (scene) => {
        scene.define({ active: true });
      },
    ];
    for (const act of acts) {
      const scene = new KeyWorld();
      scene.during = {
        effect: 'add',
        act: () => {
          act(scene);
        },
      };
      await expect(scene.verbs.rotate(asked)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
      expect(scene.slots).toEqual(['file:old', 'file:new']);
      expect(scene.annotated).not.toBe('file:new');
    }
  });

  it('and the old key stays, if libvirt does not keep the annotation', async () => {
    const scene = new KeyWorld();
    scene.during = {
      effect: 'annotate',
      act: () => {
        scene.world.libvirt.domains.get = () => undefined;
      },
    };
    await expect(scene.verbs.rotate(asked)).rejects.toMatchObject({ code: 'VOLUME_STATE' });
    expect(scene.slots).toEqual(['file:old', 'file:new']);
  });
});
