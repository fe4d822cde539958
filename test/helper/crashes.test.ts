/**
 * Goal: whatever step of a verb is the last one before the helper or the host dies, calling the verb again
 * ends in the same state, and at no moment is a final name visible on an LV that is not finished or that the
 * service user can still write. Method: a model of LVM, a crash before and after each changing step.
 */
import { describe, expect, it } from 'vitest';
import type { ReceivingMark, Seal } from '../../src/core/volume/volume.ts';
import {
  ADOPTING_TAG,
  fillTags,
  privateName,
  readMark,
  receivingTags,
  retiredName,
  sealTags,
} from '../../src/core/volume/volume.ts';
import { adopt } from '../../src/helper/adopt.ts';
import { arrive } from '../../src/helper/arrive.ts';
import { create } from '../../src/helper/create.ts';
import { discard } from '../../src/helper/discard.ts';
import { publish } from '../../src/helper/publish.ts';
import { recall } from '../../src/helper/recall.ts';
import { restore, retire } from '../../src/helper/retire.ts';
import type { Verb } from './crash-everywhere.ts';
import { codeOf, crashEverywhere } from './crash-everywhere.ts';
import { Crash, MemoryLvm } from './memory-lvm.ts';

const volume = {
  vg: 'vg0',
  fillId: '0123456789abcdef',
  target: 'web-root',
  domainUuid: '11111111-2222-3333-4444-555555555555',
};
const seal: Seal = {
  ...{ state: 'ready', fillId: volume.fillId, target: volume.target, domainUuid: volume.domainUuid },
  ...{ image: 'images/debian.qcow2', sha256: 'ab'.repeat(32), generation: 1 },
};
const hidden = privateName(volume.fillId);
const aside = retiredName(volume.fillId);
const create5 = { verb: 'create' as const, volume, sizeBytes: 5_000_000 };
const publishIt = { verb: 'publish' as const, volume, seal };
const receiving: ReceivingMark = { ...seal, state: 'receiving' };

const verbs = {
  create: (model) => create(model.tools(), create5, new Map()),
  adopt: (model) => adopt(model.tools(), volume),
  publish: (model) => publish(model.tools(), publishIt),
  retire: (model) => retire(model.tools(), { vg: volume.vg, seal }),
  restore: (model) => restore(model.tools(), { vg: volume.vg, seal }),
  setAside: (model) => publish(model.tools(), { ...publishIt, seal: receiving }),
  arrive: (model) => arrive(model.tools(), { verb: 'arrive', vg: volume.vg, seal }),
  recall: (model) => recall(model.tools(), { verb: 'recall', vg: volume.vg, fillId: volume.fillId }),
  discard: (model) => discard(model.tools(), volume),
} satisfies Record<string, Verb>;

function begun(lv: string, fields: Parameters<MemoryLvm['add']>[1]): MemoryLvm {
  const model = new MemoryLvm();
  model.add('somebody-elses', { content: 'data', tags: ['backup'] });
  model.add(lv, fields);
  return model;
}

function expectOthersUntouched(model: MemoryLvm): void {
  expect(model.get('somebody-elses')).toMatchObject({ tags: ['backup'], owner: 'root', content: 'data' });
}

describe('publish, when it crashes at any step', () => {
  const begin = () => begun(hidden, { tags: fillTags(volume), owner: 'service', content: 'data' });

  it('ends published, and shows the final name only on a sealed volume out of the service user’s hands', async () => {
    const check = (model: MemoryLvm): void => {
      expectOthersUntouched(model);
      const final = model.find(volume.target);
      if (final !== undefined) {
        expect(readMark(final.tags)).toEqual(seal);
        expect(final.owner).toBe('root');
      }
    };
    const steps = await crashEverywhere(begin, verbs.publish, check, async (model, repeated) => {
      await repeated;
      check(model);
      expect(model.find(volume.target)).toBeDefined();
      expect(model.find(hidden)).toBeUndefined();
    });
    expect(steps).toBeGreaterThanOrEqual(4);
  });

  it('succeeds again on what is published, and leaves the node with the guest that runs on it', async () => {
    const model = begin();
    await verbs.publish(model);
    model.get(volume.target).owner = 'guest';
    model.get(volume.target).openLooks = Infinity;
    await verbs.publish(model);
    expect(model.get(volume.target).owner).toBe('guest');
  });
});

describe('publish refuses, and changes nothing,', () => {
  const marked = { tags: fillTags(volume), owner: 'service' as const };
  const cases: Record<string, () => MemoryLvm> = {
    'when the final name exists': () => {
      const model = begun(hidden, marked);
      model.add(volume.target);
      return model;
    },
    'when the marks are of another domain': () =>
      begun(hidden, { tags: fillTags({ ...volume, domainUuid: volume.domainUuid.replace('1', '9') }) }),
    'when there is another seal': () => begun(hidden, { tags: sealTags({ ...seal, generation: 2 }) }),
    'when a tag of ours is there that we did not set': () =>
      begun(hidden, { tags: [...fillTags(volume), 'lvp:image:x'] }),
    'when the adoption is not finished': () => begun(hidden, { tags: [...fillTags(volume), ADOPTING_TAG] }),
    'when the private name carries no marks': () => begun(hidden, {}),
    'when two volumes carry the marks': () => {
      const model = begun(hidden, marked);
      model.add('copy', marked);
      return model;
    },
    'when it does not get closed': () => begun(hidden, { tags: fillTags(volume), openLooks: Infinity }),
  };
  it.each(Object.entries(cases))('%s', async (_name, begin) => {
    const model = begin();
    const before = structuredClone(model.volumes);
    expect(await codeOf(verbs.publish(model))).toBe('VOLUME_STATE');
    expect(model.volumes).toEqual(before);
  });

  it('when the volume has gone', async () => {
    expect(await codeOf(verbs.publish(new MemoryLvm()))).toBe('VOLUME_MISSING');
  });

  it('waits for udev, which opens a device for a moment after its last writer', async () => {
    const model = begun(hidden, { tags: fillTags(volume), owner: 'service', openLooks: 3 });
    await verbs.publish(model);
    expect(model.find(volume.target)).toBeDefined();
  });
});

describe('adopt, when it crashes at any step', () => {
  it('ends with a private volume that the service user owns', async () => {
    const begin = () => begun(volume.target, {});
    const steps = await crashEverywhere(
      begin,
      verbs.adopt,
      expectOthersUntouched,
      async (model, repeated) => {
        await repeated;
        expectOthersUntouched(model);
        expect(model.get(hidden)).toMatchObject({ tags: fillTags(volume), owner: 'service' });
        expect(model.find(volume.target)).toBeUndefined();
      },
    );
    expect(steps).toBe(4);
  });

  it('gives the volume back, unmarked, if it was written between the two looks', async () => {
    const begin = () => {
      const model = begun(volume.target, { tags: ['of-an-operator'] });
      let written = false;
      model.beside = (step) => {
        if (step === 'swapTags' && !written) model.get(volume.target).content = 'data';
        written = true;
      };
      return model;
    };
    const check = (model: MemoryLvm): void => {
      expectOthersUntouched(model);
      expect(model.find(hidden)).toBeUndefined();
      expect(model.get(volume.target)).toMatchObject({ tags: ['of-an-operator'], owner: 'root' });
    };
    const model = begin();
    expect(await codeOf(verbs.adopt(model))).toBe('VOLUME_NOT_BLANK');
    check(model);
    await crashEverywhere(begin, verbs.adopt, expectOthersUntouched, async (crashed, repeated) => {
      // A crash before the first commit: the other writer has not come yet, and the adoption goes through.
      const code = await codeOf(repeated);
      if (crashed.get(crashed.find(hidden) ? hidden : volume.target).content === 'data') {
        expect(code).toBe('VOLUME_NOT_BLANK');
        check(crashed);
      }
    });
  });

  it('is finished by create and undone by discard, whichever comes instead of a repetition', async () => {
    for (const [step, when] of [
      [1, 'after'],
      [2, 'after'],
    ] as const) {
      const crashed = (): MemoryLvm => Object.assign(begun(volume.target, {}), { crashAt: { step, when } });
      const made = crashed();
      await expect(verbs.adopt(made)).rejects.toThrow(Crash);
      await expect(create(made.tools(), { ...create5, sizeBytes: 1 }, new Map())).resolves.toMatchObject({
        made: 'existing',
      });
      expect(made.get(hidden).tags).toEqual(fillTags(volume));

      const undone = crashed();
      await expect(verbs.adopt(undone)).rejects.toThrow(Crash);
      await verbs.discard(undone);
      expect(undone.get(volume.target)).toMatchObject({ tags: [], owner: 'root' });
    }
  });

  it('never gives back under a name that somebody has taken meanwhile', async () => {
    const model = begun(hidden, { tags: [...fillTags(volume), ADOPTING_TAG], content: 'data' });
    model.add(volume.target);
    expect(await codeOf(verbs.adopt(model))).toBe('VOLUME_STATE');
    expect(model.get(hidden).content).toBe('data');
  });
});

describe('adopt refuses, and changes nothing,', () => {
  const cases: Record<string, Parameters<MemoryLvm['add']>[1]> = {
    'a volume with data': { content: 'data' },
    'an open volume': { openLooks: Infinity },
    'a thin volume': { segmentType: 'thin' },
    'a snapshot': { segmentType: 'snapshot' },
    'a volume that another fill has marked': { tags: fillTags({ ...volume, fillId: 'f'.repeat(16) }) },
    'a volume with tags of ours that make no sense': { tags: ['lvp:ready'] },
  };
  it.each(Object.entries(cases))('%s', async (_name, fields) => {
    const model = begun(volume.target, fields);
    expect(await codeOf(verbs.adopt(model))).toBe('VOLUME_NOT_BLANK');
    expect(model.steps).toEqual([]);
  });

  it('an inactive volume, for as long as it is: a pool that stops deactivates it', async () => {
    const model = begun(volume.target, { active: false });
    expect(await codeOf(verbs.adopt(model))).toBe('HELPER_FAILED');
    expect(model.steps).toEqual([]);
  });
});

describe('create', () => {
  it('answers existing when it is repeated after any crash', async () => {
    await crashEverywhere(
      () => begun('unrelated', {}),
      verbs.create,
      expectOthersUntouched,
      async (model, repeated) => {
        await repeated;
        expect(model.get(hidden)).toMatchObject({
          tags: fillTags(volume),
          owner: 'service',
          sizeBytes: 8 << 20,
        });
        await expect(verbs.create(model)).resolves.toEqual({ made: 'existing', sizeBytes: 8 << 20 });
      },
    );
  });

  it('says what is free and what is needed when the group is full', async () => {
    const model = new MemoryLvm();
    model.freeExtents = 1;
    await expect(verbs.create(model)).rejects.toMatchObject({
      code: 'VG_FULL',
      message: expect.stringMatching(/4194304 bytes free.*needs 8388608/) as string,
    });
    expect(model.steps).toEqual([]);
  });

  it('refuses an existing volume that is too small or marked for something else', async () => {
    expect(await codeOf(verbs.create(begun(hidden, { tags: fillTags(volume), sizeBytes: 4096 })))).toBe(
      'VOLUME_STATE',
    );
    const other = fillTags({ ...volume, target: 'other' });
    expect(await codeOf(verbs.create(begun(hidden, { tags: other })))).toBe('VOLUME_STATE');
  });

  it('gives the node to the service user again after a reboot, which has made it root’s', async () => {
    const model = begun(hidden, { tags: fillTags(volume), sizeBytes: 8 << 20, owner: 'service' });
    model.reboot();
    expect(model.get(hidden).owner).toBe('root');
    await verbs.create(model);
    expect(model.get(hidden).owner).toBe('service');
  });

  it('activates what a stopped pool has left inactive', async () => {
    const model = begun(hidden, { tags: fillTags(volume), sizeBytes: 8 << 20, active: false });
    await verbs.create(model);
    expect(model.get(hidden)).toMatchObject({ active: true, owner: 'service' });
  });
});

describe('discard', () => {
  it('removes the private volume, and can be repeated', async () => {
    const begin = () => begun(hidden, { tags: fillTags(volume), content: 'data', openLooks: 2 });
    await crashEverywhere(begin, verbs.discard, expectOthersUntouched, async (model, repeated) => {
      await repeated;
      expectOthersUntouched(model);
      expect(model.find(hidden)).toBeUndefined();
    });
  });

  const refused: Record<string, [string, Parameters<MemoryLvm['add']>[1]]> = {
    'a published volume': [volume.target, { tags: sealTags(seal) }],
    'a sealed volume that waits for its name': [hidden, { tags: sealTags(seal) }],
    'a volume that is set aside': [volume.target, { tags: receivingTags(seal) }],
    'a private name without marks': [hidden, { tags: [] }],
    'marks under another name': ['elsewhere', { tags: fillTags(volume) }],
    'an open volume': [hidden, { tags: fillTags(volume), openLooks: Infinity }],
  };
  it.each(Object.entries(refused))('refuses %s', async (_name, [lv, fields]) => {
    const model = begun(lv, fields);
    expect(await codeOf(verbs.discard(model))).toBe('VOLUME_STATE');
    expect(model.steps).toEqual([]);
  });
});

describe('retire and restore, when they crash at any step', () => {
  const sealed = { tags: [...sealTags(seal), 'of-an-operator'], content: 'data' as const };
  const cases = [
    ['retire', volume.target, aside],
    ['restore', aside, volume.target],
  ] as const;

  it.each(cases)('%s moves the volume from %s to %s, with its tags, and no other', async (verb, from, to) => {
    const check = (model: MemoryLvm): void => {
      expectOthersUntouched(model);
      expect(model.volumes).toHaveLength(2);
      const held = model.find(from) ?? model.get(to);
      expect(held).toMatchObject({ ...sealed, owner: 'root' });
    };
    const steps = await crashEverywhere(
      () => begun(from, { ...sealed, openLooks: 2 }),
      verbs[verb],
      check,
      async (model, repeated) => {
        await repeated;
        check(model);
        expect(model.find(to)).toBeDefined();
        await verbs[verb](model);
        check(model);
      },
    );
    expect(steps).toBeGreaterThanOrEqual(2);
  });

  it.each(cases)('%s takes the node from the service user, should it have it', async (verb, from, to) => {
    const model = begun(from, { ...sealed, owner: 'service' });
    await verbs[verb](model);
    expect(model.get(to).owner).toBe('root');
  });

  it('whoever opens the volume in the moment before it is put aside keeps it, and it keeps its name', async () => {
    const model = begun(volume.target, sealed);
    model.beside = (step) => {
      if (step === 'rename') (model.find(aside) ?? model.get(volume.target)).openLooks = Infinity;
    };
    expect(await codeOf(verbs.retire(model))).toBe('VOLUME_STATE');
    expect(model.get(volume.target)).toMatchObject(sealed);
    expect(model.find(aside)).toBeUndefined();
  });

  it('a volume that takes the place of the sealed one in between keeps its name', async () => {
    const model = begun(volume.target, { ...sealed, openLooks: 1 });
    const tools = model.tools();
    const rename = tools.lvm.rename.bind(tools.lvm);
    let isFirst = true;
    tools.lvm.rename = (vg, from, to) => {
      if (isFirst) {
        model.volumes = model.volumes.filter(({ lv }) => lv !== volume.target);
        model.add(volume.target, { content: 'data', tags: ['of-a-tool'] });
      }
      isFirst = false;
      return rename(vg, from, to);
    };
    expect(await codeOf(retire(tools, { vg: volume.vg, seal }))).toBe('HELPER_FAILED');
    expect(model.get(volume.target).tags).toEqual(['of-a-tool']);
  });
});

describe('retire and restore refuse, and change nothing,', () => {
  const sealed = { tags: sealTags(seal) };
  const cases: Record<string, ['retire' | 'restore', string, () => MemoryLvm]> = {
    'another seal': [
      'retire',
      'VOLUME_MISSING',
      () => begun(volume.target, { tags: sealTags({ ...seal, generation: 2 }) }),
    ],
    'the seal with another tag of ours': [
      'retire',
      'VOLUME_MISSING',
      () => begun(volume.target, { tags: [...sealTags(seal), 'lvp:adopting'] }),
    ],
    'the marks of a fill': [
      'retire',
      'VOLUME_MISSING',
      () => begun(volume.target, { tags: fillTags(volume) }),
    ],
    'the seal under a third name': ['retire', 'VOLUME_STATE', () => begun('elsewhere', sealed)],
    'a sealed volume that has no final name yet': ['restore', 'VOLUME_STATE', () => begun(hidden, sealed)],
    'two volumes with the seal': [
      'restore',
      'VOLUME_STATE',
      () => {
        const model = begun(aside, sealed);
        model.add('copy', sealed);
        return model;
      },
    ],
    'an open volume': [
      'retire',
      'VOLUME_STATE',
      () => begun(volume.target, { ...sealed, openLooks: Infinity }),
    ],
    'a final name that is taken': [
      'restore',
      'VOLUME_STATE',
      () => {
        const model = begun(aside, sealed);
        model.add(volume.target);
        return model;
      },
    ],
  };
  it.each(Object.entries(cases))('%s', async (_name, [verb, code, begin]) => {
    const model = begin();
    const before = structuredClone(model.volumes);
    expect(await codeOf(verbs[verb](model))).toBe(code);
    expect(model.volumes.map(({ lv, tags }) => [lv, tags])).toEqual(before.map(({ lv, tags }) => [lv, tags]));
    expect(model.steps).toEqual([]);
  });
});

describe('setting aside for a domain that arrives, when it crashes at any step', () => {
  it('ends under the final name, never sealed, and out of the service user’s hands before that', async () => {
    const check = (model: MemoryLvm): void => {
      expectOthersUntouched(model);
      for (const { tags } of model.volumes) expect(readMark(tags).state).not.toBe('ready');
      const final = model.find(volume.target);
      if (final === undefined) return;
      expect(readMark(final.tags)).toEqual(receiving);
      expect(final.owner).toBe('root');
    };
    const steps = await crashEverywhere(
      () => begun(hidden, { tags: fillTags(volume), owner: 'service' }),
      verbs.setAside,
      check,
      async (model, repeated) => {
        await repeated;
        check(model);
        expect(model.find(volume.target)).toBeDefined();
      },
    );
    expect(steps).toBeGreaterThanOrEqual(4);
  });

  it.each([
    ['a sealed volume', sealTags(seal)],
    ['one that is set aside with another seal', receivingTags({ ...seal, generation: 2 })],
  ])('refuses %s', async (_name, tags) => {
    const model = begun(hidden, { tags });
    expect(await codeOf(verbs.setAside(model))).toBe('VOLUME_STATE');
    expect(model.steps).toEqual([]);
  });
});

describe('arrive', () => {
  const received = { tags: receivingTags(seal), content: 'data' as const };
  const begin = () => begun(volume.target, { ...received, owner: 'guest', openLooks: Infinity });

  it('seals in one step, also twice, while a guest runs on it', async () => {
    const steps = await crashEverywhere(
      begin,
      verbs.arrive,
      expectOthersUntouched,
      async (model, repeated) => {
        await repeated;
        expect(readMark(model.get(volume.target).tags)).toEqual(seal);
        expect(model.get(volume.target).owner).toBe('guest');
      },
    );
    expect(steps).toBe(1);
  });

  it.each([
    ['one that is being filled', fillTags(volume)],
    ['one without tags', []],
    ['one for another seal', receivingTags({ ...seal, sha256: 'cd'.repeat(32) })],
    ['one that nothing was copied to', receivingTags(seal)],
  ])('refuses %s', async (_name, tags) => {
    const model = begun(volume.target, { tags });
    expect(await codeOf(verbs.arrive(model))).toBe('VOLUME_STATE');
    expect(model.steps).toEqual([]);
  });

  it('says so when the volume has gone', async () => {
    expect(await codeOf(verbs.arrive(new MemoryLvm()))).toBe('VOLUME_MISSING');
  });
});

describe('recall, when it crashes at any step', () => {
  it('ends with a private volume that discard removes, and no final name is ever marked as being filled', async () => {
    const check = (model: MemoryLvm): void => {
      expectOthersUntouched(model);
      const final = model.find(volume.target);
      if (final !== undefined) expect(final.tags).toEqual(receivingTags(seal));
    };
    const steps = await crashEverywhere(
      () => begun(volume.target, { tags: receivingTags(seal), openLooks: 2 }),
      verbs.recall,
      check,
      async (model, repeated) => {
        await repeated;
        check(model);
        expect(readMark(model.get(hidden).tags)).toMatchObject({ state: 'filling' });
        await verbs.recall(model);
        await verbs.discard(model);
        expect(model.find(hidden)).toBeUndefined();
      },
    );
    expect(steps).toBe(2);
  });

  it.each([
    ['a sealed volume', volume.target, { tags: sealTags(seal) }],
    ['one that a guest has open', volume.target, { tags: receivingTags(seal), openLooks: Infinity }],
    ['one under a name that is not its own', 'elsewhere', { tags: receivingTags(seal) }],
    ['one being filled under its final name', volume.target, { tags: fillTags(volume) }],
  ])('refuses %s', async (_name, lv, fields) => {
    const model = begun(lv, fields);
    expect(await codeOf(verbs.recall(model))).toBe('VOLUME_STATE');
    expect(model.steps).toEqual([]);
  });

  it('is done when the volume has gone', async () => {
    await expect(verbs.recall(new MemoryLvm())).resolves.toBeNull();
  });
});
