/**
 * Goal: a golden volume is read-only, inactive and exactly what its seal says, or it is not there; a guest's volume is
 * a snapshot of exactly that one, grown, or a private one that can be gone on with or removed; and no thin volume is
 * removed but by its seal. Method: a model of LVM, a crash before and after each changing step.
 */
import { describe, expect, it } from 'vitest';
import { GOLDEN_OWNER } from '../../src/core/owner.ts';
import type { GoldenSeal, NewGoldenSeal, Seal } from '../../src/core/volume/volume.ts';
import {
  fillTags,
  goldenName,
  goldenTags,
  privateName,
  readMark,
  retiredName,
  sealTags,
} from '../../src/core/volume/volume.ts';
import { clone } from '../../src/helper/clone.ts';
import { create } from '../../src/helper/create.ts';
import { discard } from '../../src/helper/discard.ts';
import { drop } from '../../src/helper/drop.ts';
import { list } from '../../src/helper/list.ts';
import { publishGolden } from '../../src/helper/publish-golden.ts';
import { publish } from '../../src/helper/publish.ts';
import type { Verb } from './crash-everywhere.ts';
import { codeOf, crashEverywhere } from './crash-everywhere.ts';
import { MemoryLvm } from './memory-lvm.ts';

const MIB = 1 << 20;
const thinPools = new Map([['vg0', 'pool0']]);
const volume = {
  ...{ vg: 'vg0', fillId: '0123456789abcdef', target: 'web-root' },
  domainUuid: '11111111-2222-3333-4444-555555555555',
};
const seal: Seal = {
  ...{ state: 'ready', fillId: volume.fillId, target: volume.target, domainUuid: volume.domainUuid },
  ...{ image: 'images/debian.qcow2', sha256: 'ab'.repeat(32), generation: 1 },
};
const GOLD = 'fedcba9876543210';
const golden = { fillId: GOLD, sha256: 'ab'.repeat(32), format: 'qcow2' };
const future = { vg: 'vg0', fillId: GOLD, target: goldenName(GOLD), domainUuid: GOLDEN_OWNER };
const newSeal: NewGoldenSeal = {
  ...{ state: 'golden', ...golden, image: 'images/debian.qcow2', sizeBytes: 8 * MIB },
  contentSha256: 'cd'.repeat(32),
};
const goldenSeal: GoldenSeal = { ...newSeal, mappedBytes: 3 * MIB };
const thin = { segmentType: 'thin', thinPool: 'pool0', mappedBytes: 3 * MIB, sizeBytes: 8 * MIB } as const;
const sealedGolden = {
  ...{ ...thin, tags: goldenTags(goldenSeal), content: 'data' as const },
  ...{ writable: false, skipsActivation: true, active: false },
};

const verbs = {
  create: (model) => {
    const request = { verb: 'create' as const, volume: future, sizeBytes: 5_000_000, thinPool: 'pool0' };
    return create(model.tools(), request, thinPools);
  },
  publishGolden: (model) => publishGolden(model.tools(), future, newSeal, thinPools),
  clone: (model) => cloneOf(model, 20 * MIB),
  publish: (model) => publish(model.tools(), { volume, seal }),
  dropGolden: (model) => drop(model.tools(), { verb: 'drop', vg: 'vg0', seal: goldenSeal }),
  drop: (model) => drop(model.tools(), { verb: 'drop', vg: 'vg0', seal }),
  discard: (model) => discard(model.tools(), volume),
} satisfies Record<string, Verb>;

function cloneOf(model: MemoryLvm, sizeBytes: number): Promise<unknown> {
  return clone(model.tools(), { verb: 'clone', volume, golden, sizeBytes }, thinPools);
}

type Fields = Parameters<MemoryLvm['add']>[1];

/** A group with a thin pool, a volume of somebody else in it, and this one. */
function begun(lv: string, fields: Fields, pool: Parameters<MemoryLvm['addPool']>[1] = {}): MemoryLvm {
  const model = new MemoryLvm();
  model.addPool('pool0', pool);
  model.add('somebody-elses', { ...thin, content: 'data', tags: ['backup'] });
  model.add(lv, fields);
  return model;
}

function expectOthersUntouched(model: MemoryLvm): void {
  expect(model.get('somebody-elses')).toMatchObject({ tags: ['backup'], active: true, writable: true });
}

function expectGoldenUntouched(model: MemoryLvm): void {
  expectOthersUntouched(model);
  const { tags, ...rest } = sealedGolden;
  expect(model.get(goldenName(GOLD))).toMatchObject(rest);
  expect(model.get(goldenName(GOLD)).tags.toSorted()).toEqual(tags.toSorted());
}

/** Each case refuses, and has changed nothing. */
async function expectRefused(begin: () => MemoryLvm, verb: Verb, code: string): Promise<void> {
  const model = begin();
  expect(await codeOf(verb(model))).toBe(code);
  expect(model.steps).toEqual([]);
}

describe('a thin volume', () => {
  it('is made in the pool of the configuration, and found when it is asked for again', async () => {
    await crashEverywhere(
      () => begun('unrelated', {}),
      verbs.create,
      expectOthersUntouched,
      async (model, repeated) => {
        await repeated;
        const made = { thinPool: 'pool0', tags: fillTags(future), owner: 'service', sizeBytes: 8 * MIB };
        expect(model.get(privateName(GOLD))).toMatchObject(made);
        await expect(verbs.create(model)).resolves.toEqual({ made: 'existing', sizeBytes: 8 * MIB });
      },
    );
  });

  it('needs no space of the group, only of its pool', async () => {
    const model = begun('unrelated', {});
    model.freeExtents = 0;
    await expect(verbs.create(model)).resolves.toMatchObject({ made: 'created' });
  });

  const pools: Record<string, [Parameters<MemoryLvm['addPool']>[1], string]> = {
    'does not zero what it maps': [{ zeroes: false }, 'POOL_UNSUITABLE'],
    'is broken': [{ health: 'metadata_read_only' }, 'POOL_UNSUITABLE'],
    'is full': [{ health: 'out_of_data' }, 'VG_FULL'],
  };
  it.each(Object.entries(pools))(
    'is not made in a pool that %s, nor cloned there',
    async (_, [pool, code]) => {
      await expectRefused(() => begun('unrelated', {}, pool), verbs.create, code);
      await expectRefused(() => begun(goldenName(GOLD), sealedGolden, pool), verbs.clone, code);
    },
  );

  it('is not made in a pool that is missing, is no pool, or is another than the configured one', async () => {
    await expectRefused(() => new MemoryLvm(), verbs.create, 'POOL_UNSUITABLE');
    const notPool = () => Object.assign(new MemoryLvm(), { volumes: [] });
    await expectRefused(
      () => {
        const model = notPool();
        model.add('pool0');
        return model;
      },
      verbs.create,
      'POOL_UNSUITABLE',
    );
    const elsewhere = (model: MemoryLvm) =>
      create(
        model.tools(),
        { verb: 'create', volume: future, sizeBytes: 1, thinPool: 'pool0' },
        new Map([['vg0', 'pool1']]),
      );
    const both = () => {
      const model = begun('unrelated', {});
      model.addPool('pool1');
      return model;
    };
    await expectRefused(both, elsewhere, 'POOL_UNSUITABLE');
  });

  it('is never what a fill has made thick, and the other way round', async () => {
    const marked = { tags: fillTags(volume), sizeBytes: 8 * MIB };
    const ask = (thinPool: string | undefined) => (model: MemoryLvm) =>
      create(model.tools(), { verb: 'create', volume, sizeBytes: 1, thinPool }, thinPools);
    await expectRefused(() => begun(privateName(volume.fillId), marked), ask('pool0'), 'VOLUME_STATE');
    await expectRefused(
      () => begun(privateName(volume.fillId), { ...thin, ...marked }),
      ask(undefined),
      'VOLUME_STATE',
    );
  });

  it('is golden only as a thin one', async () => {
    const thick = (model: MemoryLvm) =>
      create(model.tools(), { verb: 'create', volume: future, sizeBytes: 1 }, thinPools);
    await expectRefused(() => begun('unrelated', {}), thick, 'VOLUME_STATE');
  });
});

describe('the listing', () => {
  it('shows the configured pool, and of what each volume is a snapshot', async () => {
    const model = begun(goldenName(GOLD), sealedGolden);
    model.addPool('pool1');
    await verbs.clone(model);
    const groups = { own: ['vg0'], verified: [], shared: [], thinPools };
    const { volumes, thinPools: pools } = await list(model.tools(), groups);
    expect(pools).toEqual([
      {
        ...{ vg: 'vg0', lv: 'pool0', sizeBytes: 256 * MIB, usedBytes: 128 * MIB },
        ...{ metadataBytes: 4 * MIB, metadataUsedBytes: MIB, chunkBytes: 65_536, zeroes: true, active: true },
      },
    ]);
    expect(volumes.find(({ lv }) => lv === privateName(volume.fillId))).toMatchObject({
      ...{ thinPool: 'pool0', origin: goldenName(GOLD), writable: true },
    });
    expect(volumes.find(({ lv }) => lv === goldenName(GOLD))).toMatchObject({
      writable: false,
      active: false,
    });
  });
});

describe('publishing a golden volume, when it crashes at any step', () => {
  const begin = () =>
    begun(privateName(GOLD), {
      ...thin,
      tags: fillTags(future),
      owner: 'service',
      content: 'data',
      openLooks: 2,
    });
  const check = (model: MemoryLvm): void => {
    expectOthersUntouched(model);
    const sealed = model.volumes.find(({ tags }) => readMark(tags).state === 'golden');
    if (sealed !== undefined) expect(sealed).toMatchObject({ writable: false, skipsActivation: true });
    const named = model.find(goldenName(GOLD));
    if (named !== undefined) expectGoldenUntouched(model);
  };

  it('ends read-only, inactive and sealed, with what it holds of the pool', async () => {
    const steps = await crashEverywhere(begin, verbs.publishGolden, check, async (model, repeated) => {
      await repeated;
      expectGoldenUntouched(model);
      expect(model.find(privateName(GOLD))).toBeUndefined();
      const { steps: before } = model;
      const count = before.length;
      await verbs.publishGolden(model);
      expect(model.steps).toHaveLength(count);
    });
    expect(steps).toBe(4);
  });

  it.each(['deactivate', 'makeReadOnly', 'swapTags'])(
    'is shut again when somebody activates it after %s',
    async (when) => {
      const model = begin();
      let done = false;
      model.beside = (step) => {
        if (step === when && !done) model.get(privateName(GOLD)).active = done = true;
      };
      await verbs.publishGolden(model);
      expectGoldenUntouched(model);
    },
  );

  const cases: Record<string, () => MemoryLvm> = {
    'when the name exists': () => {
      const model = begin();
      model.add(goldenName(GOLD));
      return model;
    },
    'when it is thick': () => begun(privateName(GOLD), { tags: fillTags(future), sizeBytes: 8 * MIB }),
    'when it is in another pool': () =>
      begun(privateName(GOLD), { ...thin, thinPool: 'pool1', tags: fillTags(future) }),
    'when it is smaller than its image': () =>
      begun(privateName(GOLD), { ...thin, sizeBytes: 4 * MIB, tags: fillTags(future) }),
    'when it is a guest’s': () =>
      begun(privateName(GOLD), { ...thin, tags: fillTags({ ...volume, fillId: GOLD }) }),
    'when it is sealed as something else': () =>
      begun(privateName(GOLD), { ...sealedGolden, tags: goldenTags({ ...goldenSeal, sizeBytes: 4096 }) }),
    'when it stays open': () =>
      begun(privateName(GOLD), { ...thin, tags: fillTags(future), openLooks: Infinity }),
  };
  it.each(Object.entries(cases))('refuses, and changes nothing, %s', async (_name, model) => {
    await expectRefused(model, verbs.publishGolden, 'VOLUME_STATE');
  });

  it('says so when the volume has gone', async () => {
    await expectRefused(() => begun('unrelated', {}), verbs.publishGolden, 'VOLUME_MISSING');
  });
});

describe('cloning a golden volume, when it crashes at any step', () => {
  const begin = () => begun(goldenName(GOLD), sealedGolden);

  it('ends with a grown snapshot of it that nobody can write to, and the golden one as it was', async () => {
    const steps = await crashEverywhere(
      begin,
      verbs.clone,
      expectGoldenUntouched,
      async (model, repeated) => {
        await repeated;
        expectGoldenUntouched(model);
        const made = {
          ...thin,
          sizeBytes: 20 * MIB,
          tags: fillTags(volume),
          ...{ owner: 'root', writable: true, active: false, skipsActivation: true },
        };
        expect(model.get(privateName(volume.fillId))).toMatchObject(made);
        await expect(verbs.clone(model)).resolves.toEqual({ made: 'existing', sizeBytes: 20 * MIB });
      },
    );
    expect(steps).toBe(2);
  });

  it('is published like any other volume, or discarded, without libvirt', async () => {
    const published = begin();
    await verbs.clone(published);
    await verbs.publish(published);
    expectGoldenUntouched(published);
    const usable = { owner: 'root', active: true, writable: true, skipsActivation: false };
    expect(published.get(volume.target)).toMatchObject(usable);
    expect(readMark(published.get(volume.target).tags)).toEqual(seal);
    const discarded = begin();
    await verbs.clone(discarded);
    await verbs.discard(discarded);
    expectGoldenUntouched(discarded);
    expect(discarded.find(privateName(volume.fillId))).toBeUndefined();
  });

  it('goes on without growing where the volume is to be as large as the image', async () => {
    const model = begin();
    await cloneOf(model, 8 * MIB);
    expect(model.steps).toEqual(['create']);
  });

  const golds: Record<string, Fields> = {
    'can be written to': { writable: true },
    'is open': { active: true, openLooks: Infinity },
    'is thick': { segmentType: 'linear', thinPool: undefined },
    'is in another pool': { thinPool: 'pool1' },
    'is another image’s': { tags: goldenTags({ ...goldenSeal, sha256: 'ef'.repeat(32) }) },
    'was read as something else': { tags: goldenTags({ ...goldenSeal, format: 'raw' }) },
    'has two states': { tags: [...goldenTags(goldenSeal), 'lvp:ready'] },
    'has a tag too many': { tags: [...goldenTags(goldenSeal), 'lvp:generation:1'] },
    'is still being filled': { tags: fillTags(future) },
  };
  it.each(Object.entries(golds))('refuses one that %s', async (_name, fields) => {
    await expectRefused(
      () => begun(goldenName(GOLD), { ...sealedGolden, ...fields }),
      verbs.clone,
      'VOLUME_STATE',
    );
  });

  it('refuses one under another name, one that is not there, and to cut the image off', async () => {
    await expectRefused(() => begun(privateName(GOLD), sealedGolden), verbs.clone, 'VOLUME_MISSING');
    await expectRefused(() => begun('unrelated', {}), verbs.clone, 'VOLUME_MISSING');
    await expectRefused(begin, (model) => cloneOf(model, 4 * MIB), 'VOLUME_STATE');
  });

  it('refuses to go on with what is no snapshot of it', async () => {
    const model = begin();
    model.add(privateName(volume.fillId), { ...thin, tags: fillTags(volume) });
    expect(await codeOf(verbs.clone(model))).toBe('VOLUME_STATE');
    expect(model.steps).toEqual([]);
  });

  it('fails, and does not say that it is done, when the golden volume was exchanged meanwhile', async () => {
    const model = begin();
    const tools = model.tools();
    const lvm: typeof tools.lvm = {
      ...tools.lvm,
      snapshot: (...words) => {
        model.get(goldenName(GOLD)).uuid = 'another';
        return tools.lvm.snapshot(...words);
      },
    };
    const request = { verb: 'clone' as const, volume, golden, sizeBytes: 20 * MIB };
    expect(await codeOf(clone({ ...tools, lvm }, request, thinPools))).toBe('VOLUME_STATE');
  });
});

describe('publishing a guest’s thin volume, when it crashes at any step', () => {
  const clone = { ...thin, tags: fillTags(volume), active: false, skipsActivation: true };
  const written = { ...thin, tags: fillTags(volume), owner: 'service' as const, openLooks: 2 };
  // Whether it is open, and where it is, is looked at again only of one that somebody could have opened.
  const begins: [what: string, fields: Fields, steps: string[], readings: number][] = [
    ['a clone', clone, ['swapTags', 'rename', 'activate', 'takeBack'], 1],
    ['one that was written to', written, ['deactivate', 'swapTags', 'rename', 'activate', 'takeBack'], 4],
  ];

  it.each(begins)('%s is named while nobody can have it open', async (_what, fields, steps, readings) => {
    const begin = () => begun(privateName(volume.fillId), { ...fields, content: 'data' });
    const check = (model: MemoryLvm): void => {
      expectOthersUntouched(model);
      const sealed = model.volumes.find(({ tags }) => readMark(tags).state === 'ready');
      if (sealed !== undefined) expect(sealed).toMatchObject({ owner: 'root', skipsActivation: false });
      const named = model.find(volume.target);
      if (named !== undefined) expect(readMark(named.tags)).toEqual(seal);
    };
    await crashEverywhere(begin, verbs.publish, check, async (model, repeated) => {
      await repeated;
      check(model);
      const usable = { owner: 'root', active: true, writable: true };
      expect(model.get(volume.target)).toMatchObject(usable);
      expect(model.find(privateName(volume.fillId))).toBeUndefined();
    });
    const once = begin();
    await verbs.publish(once);
    expect(once.steps).toEqual(steps);
    expect(once.readings).toBe(readings);
  });

  it('asks LVM which device it has where the kernel does not say', async () => {
    const model = begun(privateName(volume.fillId), { ...clone, content: 'data' });
    model.tellsNumbers = false;
    await verbs.publish(model);
    expect(model.readings).toBe(2);
    expect(model.steps.at(-1)).toBe('takeBack');
  });

  it('is shut again when somebody activates it', async () => {
    const model = begun(privateName(volume.fillId), written);
    let done = false;
    model.beside = (step) => {
      if (step === 'deactivate' && !done) model.get(privateName(volume.fillId)).active = done = true;
    };
    await verbs.publish(model);
    expect(model.steps.filter((step) => step === 'deactivate')).toHaveLength(2);
    expect(model.get(volume.target)).toMatchObject({ owner: 'root', active: true });
  });

  it('refuses one that stays open', async () => {
    const open = { ...written, openLooks: Infinity };
    await expectRefused(() => begun(privateName(volume.fillId), open), verbs.publish, 'VOLUME_STATE');
  });
});

describe('dropping', () => {
  const places: [what: string, verb: 'drop' | 'dropGolden', lv: string, fields: Fields][] = [
    ['a published volume', 'drop', volume.target, { ...thin, tags: sealTags(seal) }],
    ['one that was put aside', 'drop', retiredName(volume.fillId), { ...thin, tags: sealTags(seal) }],
    ['a golden volume', 'dropGolden', goldenName(GOLD), sealedGolden],
  ];
  it.each(places)('removes %s, and can be repeated', async (_what, verb, lv, fields) => {
    await crashEverywhere(
      () => begun(lv, fields),
      verbs[verb],
      expectOthersUntouched,
      async (model, repeated) => {
        await repeated;
        await verbs[verb](model);
        expectOthersUntouched(model);
        expect(model.find(lv)).toBeUndefined();
      },
    );
  });

  it('of a golden volume harms no snapshot of it', async () => {
    const model = begun(goldenName(GOLD), sealedGolden);
    await verbs.clone(model);
    await verbs.publish(model);
    await verbs.dropGolden(model);
    expect(model.get(volume.target)).toMatchObject({ sizeBytes: 20 * MIB, content: 'data' });
  });

  const refused: [what: string, verb: 'drop' | 'dropGolden', lv: string, fields: Fields][] = [
    ['a thick volume', 'drop', volume.target, { tags: sealTags(seal) }],
    ['one that is open', 'drop', volume.target, { ...thin, tags: sealTags(seal), openLooks: Infinity }],
    [
      'one of another generation',
      'drop',
      volume.target,
      { ...thin, tags: sealTags({ ...seal, generation: 2 }) },
    ],
    ['one under another name', 'drop', 'elsewhere', { ...thin, tags: sealTags(seal) }],
    ['one that waits for its name', 'drop', privateName(volume.fillId), { ...thin, tags: sealTags(seal) }],
    ['one that is being filled', 'drop', privateName(volume.fillId), { ...thin, tags: fillTags(volume) }],
    [
      'a golden volume with another content',
      'dropGolden',
      goldenName(GOLD),
      { ...sealedGolden, tags: goldenTags({ ...goldenSeal, contentSha256: '0'.repeat(64) }) },
    ],
    ['a golden volume without its name', 'dropGolden', privateName(GOLD), sealedGolden],
  ];
  it.each(refused)('refuses %s', async (_what, verb, lv, fields) => {
    await expectRefused(() => begun(lv, fields), verbs[verb], 'VOLUME_STATE');
  });
});
