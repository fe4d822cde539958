/**
 * Goal: an encrypted volume is never published plain nor the reverse, nothing is written on it beside its mapping, and
 * of its keys one that is known opens it, whatever step is the last before a crash. Method: the model of LVM and LUKS.
 */
import { describe, expect, it } from 'vitest';
import { fillTags, mappingName, privateName, sealTags } from '../../src/core/volume/volume.ts';
import { adopt } from '../../src/helper/adopt.ts';
import { create } from '../../src/helper/create.ts';
import { discard } from '../../src/helper/discard.ts';
import { addLuksKey, eraseLuks, keepOnlyLuksKey } from '../../src/helper/luks-keys.ts';
import { closeLuks, formatLuks, openLuks } from '../../src/helper/luks.ts';
import { publish } from '../../src/helper/publish.ts';
import { recall } from '../../src/helper/recall.ts';
import type { Tools } from '../../src/helper/tools.ts';
import type { Verb } from './crash-everywhere.ts';
import { codeOf, crashEverywhere } from './crash-everywhere.ts';
import { encryptedSeal as seal, encryptedVolume as volume } from './luks-contract.ts';
import type { ModelVolume } from './memory-lvm.ts';
import { MemoryLvm } from './memory-lvm.ts';

const hidden = privateName(volume.fillId);
const mapping = mappingName(volume.fillId);
const SIZE_BYTES = 8 << 20;
const [first, second, strange] = ['a', 'b', 'x'].map((letter) => Buffer.alloc(48, letter)) as [
  Buffer,
  Buffer,
  Buffer,
];
const slots = (...keys: Buffer[]) => {
  const held: (string | undefined)[] = keys.map((key) => key.toString('latin1'));
  return { volumeKey: '01'.repeat(64), slots: [...held, ...Array<undefined>(8 - held.length)] };
};
const change = { vg: volume.vg, seal };

const verbs = {
  create: (model) => create(model.tools(), { verb: 'create', volume, sizeBytes: 5_000_000 }, new Map()),
  adopt: (model) => adopt(model.tools(), volume),
  format: (model) => formatLuks(model.tools(), volume, first),
  open: (model) => openLuks(model.tools(), volume, first),
  close: (model) => closeLuks(model.tools(), volume),
  publish: (model) => publish(model.tools(), { volume, seal }, first),
  recall: (model) => recall(model.tools(), { verb: 'recall', vg: volume.vg, fillId: volume.fillId }),
  discard: (model) => discard(model.tools(), volume),
  add: (model) => addLuksKey(model.tools(), change, first, second),
  keepOnly: (model) => keepOnlyLuksKey(model.tools(), change, second),
  erase: (model) => eraseLuks(model.tools(), change),
} satisfies Record<string, Verb>;

function begun(lv: string, fields: Partial<ModelVolume>): MemoryLvm {
  const model = new MemoryLvm();
  model.add('somebody-elses', { content: 'data', tags: ['backup'] });
  model.add(lv, { sizeBytes: SIZE_BYTES, ...fields });
  return model;
}

const empty = () => begun(hidden, { tags: fillTags(volume), owner: 'service' });
const formatted = (fields: Partial<ModelVolume> = {}) =>
  begun(hidden, { tags: fillTags(volume), header: slots(first), content: 'data', ...fields });
const mapped = (isOpen = false) => {
  const model = formatted();
  const { uuid, header } = model.get(hidden);
  const volumeKey = header?.volumeKey ?? '';
  model.mappings.set(mapping, { uuid, volumeKey, isOpen, owner: 'service' });
  return model;
};
const sealed = (...keys: Buffer[]) =>
  begun(volume.target, { tags: sealTags(seal), header: slots(...keys), content: 'data' });

function expectOutOfServiceHands(model: MemoryLvm): void {
  for (const { lv, owner } of model.volumes) expect([lv, owner]).toEqual([lv, 'root']);
}

describe('the node of a volume that is to be encrypted', () => {
  it.each([
    ['create', () => new MemoryLvm()],
    ['adopt', () => begun(volume.target, {})],
  ] as const)('is never the service user’s after %s, whenever that crashes', async (verb, begin) => {
    const done = async (model: MemoryLvm, repeated: Promise<unknown>) => {
      await repeated;
      expectOutOfServiceHands(model);
      expect(model.get(hidden).tags).toEqual(fillTags(volume));
    };
    const steps = await crashEverywhere(begin, verbs[verb], expectOutOfServiceHands, done);
    expect(steps).toBeGreaterThanOrEqual(2);
    const model = begin();
    await verbs[verb](model);
    expect(model.steps).not.toContain('giveToService');
  });

  it('stays root’s when its fill goes on after a reboot', async () => {
    const model = formatted();
    model.reboot();
    await verbs.create(model);
    expectOutOfServiceHands(model);
  });

  it('is taken from the service user, to whom an older version has given it, before a header is made', async () => {
    const model = empty();
    model.beside = (step) => {
      if (step === 'luksFormat') expectOutOfServiceHands(model);
    };
    await verbs.format(model);
    expect(model.steps).toContain('luksFormat');
  });

  it('stays root’s when it has its private name back', async () => {
    const model = begun(volume.target, {
      tags: sealTags(seal).map((tag) => (tag === 'lvp:ready' ? 'lvp:receiving' : tag)),
      header: slots(first),
    });
    await verbs.recall(model);
    expect(model.get(hidden)).toMatchObject({ owner: 'root' });
    expect(model.get(hidden).tags.toSorted()).toEqual(fillTags(volume).toSorted());
  });
});

describe('format', () => {
  it('ends open with one key, whenever it crashes', async () => {
    const steps = await crashEverywhere(
      empty,
      verbs.format,
      () => undefined,
      async (model, repeated) => {
        expect(await repeated).toEqual({ sizeBytes: SIZE_BYTES - (2 << 20) });
        const { header } = model.get(hidden);
        expect(header?.slots.filter((key) => key !== undefined)).toEqual([first.toString('latin1')]);
        expect(model.mappings.get(mapping)?.volumeKey).toBe(header?.volumeKey);
        expectOutOfServiceHands(model);
      },
    );
    expect(steps).toBe(3);
  });

  it('gives each volume another volume key, and closes what was open since a crash', async () => {
    const model = mapped();
    const before = model.get(hidden).header?.volumeKey;
    await verbs.format(model);
    const after = model.get(hidden).header?.volumeKey;
    expect(after).not.toEqual(before);
    expect(model.mappings.get(mapping)?.volumeKey).toBe(after);
  });

  it.each<[string, MemoryLvm]>([
    ['while somebody writes through its mapping', mapped(true)],
    ['while somebody has it open', formatted({ openLooks: Infinity })],
    ['that was made to be plain', begun(hidden, { tags: fillTags({ ...volume, encryption: undefined }) })],
    ['that is being taken over', begun(hidden, { tags: [...fillTags(volume), 'lvp:adopting'] })],
    ['that is published', sealed(first)],
    ['that has no room for a header', begun(hidden, { tags: fillTags(volume), sizeBytes: 2 << 20 })],
  ])('refuses a volume %s, and leaves its header as it is', async (_what, model) => {
    const state = () => JSON.stringify(model.volumes.map(({ header, tags }) => ({ header, tags })));
    const before = state();
    expect(await codeOf(verbs.format(model))).toBe('VOLUME_STATE');
    expect(state()).toBe(before);
    expect(model.steps).not.toContain('luksFormat');
  });
});

describe('open', () => {
  it('ends with the mapping, whenever it crashes', async () => {
    const steps = await crashEverywhere(
      mapped,
      verbs.open,
      expectOutOfServiceHands,
      async (model, repeated) => {
        expect(await repeated).toEqual({ sizeBytes: SIZE_BYTES - (2 << 20) });
        expect(model.mappings.get(mapping)?.uuid).toBe(model.get(hidden).uuid);
      },
    );
    expect(steps).toBeGreaterThanOrEqual(3);
  });

  it('refuses a mapping of that name that lies on something else, and leaves it alone', async () => {
    const model = mapped();
    const other = model.get('somebody-elses').uuid;
    model.mappings.set(mapping, { uuid: other, volumeKey: '', isOpen: false, owner: 'root' });
    for (const verb of ['open', 'close', 'format', 'discard'] as const) {
      expect([verb, await codeOf(verbs[verb](model))]).toEqual([verb, 'VOLUME_STATE']);
    }
    expect(model.mappings.get(mapping)?.uuid).toBe(other);
  });
});

describe('publish', () => {
  it.each<[string, () => MemoryLvm]>([
    ['a volume whose mapping is open', mapped],
    ['a volume without a header', () => begun(hidden, { tags: fillTags(volume) })],
    ['a volume with two keys', () => formatted({ header: slots(first, second) })],
    ['a volume that no key opens', () => formatted({ header: slots() })],
    [
      'a volume that was made to be plain',
      () => formatted({ tags: fillTags({ ...volume, encryption: undefined }) }),
    ],
  ])('refuses %s', async (_what, begin) => {
    const model = begin();
    const before = structuredClone(model.get(hidden).tags);
    expect(await codeOf(verbs.publish(model))).toBe('VOLUME_STATE');
    expect(model.get(hidden).tags).toEqual(before);
  });

  it('says that it is the mapping which is still open, and does not wait for it', async () => {
    await expect(verbs.publish(mapped())).rejects.toMatchObject({
      message: expect.stringContaining(`is still open as /dev/mapper/${mapping}`) as string,
    });
  });

  it('seals nothing that its key has not opened, and ends with the name, whenever it crashes', async () => {
    const done = async (model: MemoryLvm, repeated: Promise<unknown>) => {
      await repeated;
      expect(model.get(volume.target).tags.toSorted()).toEqual(sealTags(seal).toSorted());
      expectOutOfServiceHands(model);
    };
    expect(await crashEverywhere(formatted, verbs.publish, expectOutOfServiceHands, done)).toBe(3);
    for (const [key, code] of [[strange, 'KEY_WRONG'] as const, [undefined, 'USAGE'] as const]) {
      const model = formatted();
      expect(await codeOf(publish(model.tools(), { volume, seal }, key))).toBe(code);
      expect([model.get(hidden).tags, model.find(volume.target)]).toEqual([fillTags(volume), undefined]);
    }
  });

  it('needs no key for what is sealed already and has not got its name', async () => {
    const model = formatted({ tags: sealTags(seal) });
    await publish(model.tools(), { volume, seal });
    expect(model.get(volume.target).owner).toBe('root');
  });

  it('ends as well if its pool is stopped as soon as it has its name', async () => {
    const model = formatted();
    model.beside = (step) => {
      if (step === 'rename') model.get(volume.target).active = false;
    };
    await verbs.publish(model);
    expect(model.get(volume.target).tags.toSorted()).toEqual(sealTags(seal).toSorted());
  });

  it('leaves nothing behind but the volume', async () => {
    const model = formatted();
    await verbs.publish(model);
    expect(model.get(volume.target)).toMatchObject({ owner: 'root' });
  });
});

describe('a volume to be encrypted that the service user', () => {
  /** The same tools, and how often each was asked what takes long. */
  function counted(model: MemoryLvm) {
    const tools = model.tools();
    const asked = { lvm: 0, udev: 0 };
    const counting = <T>(what: keyof typeof asked, answer: () => Promise<T>) => {
      asked[what] += 1;
      return answer();
    };
    const { lvm, devices } = tools;
    return {
      asked,
      tools: {
        ...tools,
        lvm: {
          ...lvm,
          read: (vgs: readonly string[]) => counting('lvm', () => lvm.read(vgs)),
          volumes: (vgs: readonly string[]) => counting('lvm', () => lvm.volumes(vgs)),
        },
        devices: { ...devices, settle: () => counting('udev', () => devices.settle()) },
      },
    };
  }

  it('never had is looked at once by each verb, and udev not waited for', async () => {
    const model = new MemoryLvm();
    for (const [verb, lvm] of [
      [(tools: Tools) => create(tools, { verb: 'create', volume, sizeBytes: 5_000_000 }, new Map()), 2],
      [(tools: Tools) => formatLuks(tools, volume, first), 1],
      [(tools: Tools) => closeLuks(tools, volume), 0],
      [(tools: Tools) => openLuks(tools, volume, first), 1],
      [(tools: Tools) => closeLuks(tools, volume), 0],
      [(tools: Tools) => publish(tools, { volume, seal }, first), 1],
    ] as const) {
      const { asked, tools } = counted(model);
      await verb(tools);
      expect(asked).toEqual({ lvm, udev: 0 });
    }
    expect(model.get(volume.target).owner).toBe('root');
  });

  it('has by an older version of this program is taken from it again if udev gives it back once more', async () => {
    const model = empty();
    let events = 2;
    model.beside = (step) => {
      if (step === 'takeBack' && events-- > 0) model.get(hidden).owner = 'service';
    };
    const { asked, tools } = counted(model);
    await formatLuks(tools, volume, first);
    expectOutOfServiceHands(model);
    expect(asked.udev).toBeGreaterThan(1);
  });
});

describe('close', () => {
  it('waits for udev, which looks at the mapping, and closes it then', async () => {
    const model = mapped(true);
    const tools = model.tools();
    const settle = () => {
      const open = model.mappings.get(mapping);
      if (open !== undefined) open.isOpen = false;
      return Promise.resolve();
    };
    await closeLuks({ ...tools, devices: { ...tools.devices, settle } }, volume);
    expect(model.mappings.size).toBe(0);
  });
});

describe('discard', () => {
  it('never closes what somebody writes through', async () => {
    const model = mapped(true);
    expect(await codeOf(verbs.discard(model))).toBe('VOLUME_STATE');
    expect(model.mappings.get(mapping)?.isOpen).toBe(true);
    expect(model.find(hidden)).toBeDefined();
  });

  it('ends with nothing, whenever it crashes', async () => {
    await crashEverywhere(mapped, verbs.discard, expectOutOfServiceHands, async (model, repeated) => {
      await repeated;
      expect([model.find(hidden), model.mappings.size]).toEqual([undefined, 0]);
    });
  });
});

describe('a rotation, when it crashes at any step,', () => {
  const opensWith = (model: MemoryLvm, key: Buffer): boolean =>
    model.get(volume.target).header?.slots.includes(key.toString('latin1')) === true;

  it('leaves a volume that the key before or the key after opens', async () => {
    const known = (model: MemoryLvm): void => {
      expect(opensWith(model, first) || opensWith(model, second)).toBe(true);
    };
    const rotate: Verb = async (model) => {
      await verbs.add(model).catch((error: unknown) => {
        // Once the key before is gone, only the second half is left to be done.
        if (!opensWith(model, second) || opensWith(model, first)) throw error;
      });
      await verbs.keepOnly(model);
    };
    const steps = await crashEverywhere(
      () => sealed(first, strange),
      rotate,
      known,
      async (model, repeated) => {
        await repeated;
        expect(model.get(volume.target).header?.slots.filter((key) => key !== undefined)).toEqual([
          second.toString('latin1'),
        ]);
      },
    );
    expect(steps).toBe(3);
  });

  it.each(['add', 'keepOnly', 'erase'] as const)(
    '%s refuses a volume that a guest has open',
    async (verb) => {
      const model = sealed(first, second);
      model.get(volume.target).openLooks = Infinity;
      expect(await codeOf(verbs[verb](model))).toBe('VOLUME_STATE');
      expect(model.steps).toEqual([]);
    },
  );

  it('erase says so if a guest has opened the volume meanwhile, and ends it when asked again', async () => {
    const model = sealed(first, second);
    const tools = model.tools();
    const opening: Tools = {
      ...tools,
      luks: {
        ...tools.luks,
        erase: async (row) => {
          await tools.luks.erase(row);
          model.get(volume.target).openLooks = Infinity;
        },
      },
    };
    await expect(eraseLuks(opening, change)).rejects.toMatchObject({
      code: 'HELPER_FAILED',
      message: expect.stringContaining('opened it meanwhile') as string,
    });
    model.get(volume.target).openLooks = 0;
    await verbs.erase(model);
    expect([opensWith(model, first), opensWith(model, second)]).toEqual([false, false]);
  });

  it('erase that finds no header afterwards does not say that nothing was changed', async () => {
    const model = sealed(first, second);
    const tools = model.tools();
    let isErased = false;
    const breaking: Tools = {
      ...tools,
      luks: {
        ...tools.luks,
        header: (row) => (isErased ? Promise.resolve('it is gone') : tools.luks.header(row)),
        erase: async (row) => {
          await tools.luks.erase(row);
          isErased = true;
        },
      },
    };
    await expect(eraseLuks(breaking, change)).rejects.toMatchObject({ code: 'HELPER_FAILED' });
  });
});
