/** Goal: nothing but a well-formed request about a configured group ever reaches a command. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GOLDEN_OWNER } from '../../src/core/owner.ts';
import { HelperRequest, HelperResponse, keyLengthsOf } from '../../src/core/protocol/helper-protocol.ts';
import {
  fillTags,
  GOLDEN_PREFIX,
  goldenName,
  goldenTags,
  privateName,
  readMark,
  sealTags,
} from '../../src/core/volume/volume.ts';
import type { Groups } from '../../src/helper/groups.ts';
import { answer } from '../../src/helper/requests.ts';
import { MemoryLvm } from './memory-lvm.ts';

const volume = {
  vg: 'vg0',
  fillId: '0123456789abcdef',
  target: 'web-root',
  domainUuid: '11111111-2222-3333-4444-555555555555',
};
const seal = {
  ...{ state: 'ready', fillId: volume.fillId, target: volume.target, domainUuid: volume.domainUuid },
  ...{ image: 'images/debian.qcow2', sha256: 'ab'.repeat(32), generation: 1 },
};
const golden = { fillId: 'fedcba9876543210', sha256: 'ab'.repeat(32), format: 'qcow2' };
const futureGolden = {
  ...{ vg: 'vg0', fillId: golden.fillId, target: goldenName(golden.fillId), domainUuid: GOLDEN_OWNER },
};
const newGoldenSeal = {
  ...{ state: 'golden', ...golden, image: 'images/debian.qcow2', sizeBytes: 4096 },
  contentSha256: 'cd'.repeat(32),
};
const good = {
  list: { verb: 'list' },
  examine: { verb: 'examine', vg: 'vg0', lv: 'web-root' },
  create: { verb: 'create', volume, sizeBytes: 4096 },
  adopt: { verb: 'adopt', volume },
  publish: { verb: 'publish', volume, seal },
  retire: { verb: 'retire', vg: 'vg0', seal },
  restore: { verb: 'restore', vg: 'vg0', seal },
  setAside: { verb: 'publish', volume, seal: { ...seal, state: 'receiving' } },
  arrive: { verb: 'arrive', vg: 'vg0', seal },
  recall: { verb: 'recall', vg: 'vg0', fillId: volume.fillId },
  claim: { verb: 'claim', vg: 'vg0', seal, domainUuid: '22222222-2222-3333-4444-555555555555' },
  discard: { verb: 'discard', vg: 'vg0', fillId: volume.fillId },
  createThin: { verb: 'create', volume, sizeBytes: 4096, thinPool: 'pool0' },
  createGolden: { verb: 'create', volume: futureGolden, sizeBytes: 4096, thinPool: 'pool0' },
  publishGolden: { verb: 'publish', volume: futureGolden, seal: newGoldenSeal },
  clone: { verb: 'clone', volume, golden, sizeBytes: 4096 },
  drop: { verb: 'drop', vg: 'vg0', seal },
  dropGolden: { verb: 'drop', vg: 'vg0', seal: { ...newGoldenSeal, mappedBytes: 4096 } },
};
/** What is said of encrypted volumes; their keys follow the line. */
const encrypted = { ...volume, encryption: 'luks1' };
const encryptedSeal = { ...seal, encryption: 'luks1' };
const luks = {
  formatLuks: { verb: 'formatLuks', volume: encrypted, keyLengths: [48] },
  openLuks: { verb: 'openLuks', volume: encrypted, keyLengths: [32] },
  closeLuks: { verb: 'closeLuks', vg: 'vg0', fillId: volume.fillId },
  checkLuks: { verb: 'checkLuks', vg: 'vg0', seal: encryptedSeal, keyLengths: [512] },
  checkReceiving: {
    ...{ verb: 'checkLuks', vg: 'vg0', seal: { ...encryptedSeal, state: 'receiving' }, keyLengths: [48] },
  },
  addLuksKey: { verb: 'addLuksKey', vg: 'vg0', seal: encryptedSeal, keyLengths: [48, 64] },
  keepOnlyLuksKey: { verb: 'keepOnlyLuksKey', vg: 'vg0', seal: encryptedSeal, keyLengths: [48] },
  eraseLuks: { verb: 'eraseLuks', vg: 'vg0', seal: encryptedSeal },
  publish: { verb: 'publish', volume: encrypted, seal: encryptedSeal, keyLengths: [48] },
  publishSealed: { verb: 'publish', volume: encrypted, seal: encryptedSeal },
};
const job = `job:${volume.domainUuid}`;
const sealOfJob = { ...seal, domainUuid: job, format: 'qcow2+zstd' };
const claimFromJob = { verb: 'claim', vg: 'vg0', seal: sealOfJob, domainUuid: volume.domainUuid };

async function ask(
  line: string,
  model = new MemoryLvm(),
  { own = ['vg0'], verified = [], shared = [], thinPools = new Map() }: Partial<Groups> = {},
  keys: readonly string[] = [],
) {
  const groups = () => Promise.resolve({ own, verified, shared, thinPools });
  return HelperResponse.parse(
    JSON.parse(
      (
        await answer(
          line,
          model.tools(),
          groups,
          keys.map((key) => Buffer.from(key)),
        )
      ).line,
    ),
  );
}

describe('a request', () => {
  it.each(Object.entries(good))('%s is understood when well-formed', (_verb, request) => {
    expect(HelperRequest.safeParse(request).success).toBe(true);
  });

  it.each(Object.entries(good))('%s is refused with a field too many', (_verb, request) => {
    expect(HelperRequest.safeParse({ ...request, force: true }).success).toBe(false);
    if ('volume' in request) {
      const odd = { ...request, volume: { ...request.volume, path: '/dev/sda' } };
      expect(HelperRequest.safeParse(odd).success).toBe(false);
    }
  });

  it('is refused with any name that LVM, a shell or a path could read as something else', () => {
    const odd = fc.oneof(
      fc.string().filter((text) => !/^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$/.test(text)),
      fc.constantFrom(
        '',
        '.',
        '..',
        '-y',
        '--force',
        'a/b',
        '../vg1',
        'a b',
        'a\nb',
        'a"b',
        'a\0',
        'ä',
        '@tag',
      ),
      fc.constantFrom('snapshot1', 'pvmove0', 'x_tdata', 'x_rimage_0', 'a'.repeat(128)),
    );
    fc.assert(
      fc.property(odd, (name) => {
        expect(HelperRequest.safeParse({ ...good.examine, lv: name }).success).toBe(false);
        const target = { ...volume, target: name };
        expect(HelperRequest.safeParse({ ...good.adopt, volume: target }).success).toBe(false);
        if (!/^(snapshot|pvmove|x_)/.test(name)) {
          expect(HelperRequest.safeParse({ ...good.examine, vg: name }).success).toBe(false);
        }
      }),
    );
  });

  it('is refused with any fill id but 16 lower-case hex digits', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.constantFrom('0123456789abcde', '0123456789abcdef0', '0123456789abcdef\n'),
          fc.constant('0123456789ABCDEF'),
        ),
        (fillId) => {
          fc.pre(!/^[0-9a-f]{16}$/.test(fillId));
          expect(HelperRequest.safeParse({ ...good.discard, fillId }).success).toBe(false);
          expect(HelperRequest.safeParse({ ...good.create, volume: { ...volume, fillId } }).success).toBe(
            false,
          );
        },
      ),
    );
  });

  it.each([0, -1, 1.5, NaN, Infinity, 2 ** 53, 1024 ** 5 + 1, '4096', null])(
    'is refused with size %s',
    (size) => {
      expect(HelperRequest.safeParse({ ...good.create, sizeBytes: size }).success).toBe(false);
    },
  );

  it.each(['lvp-fill-0123456789abcdef', 'lvp-fill-x', `a${'b'.repeat(120)}`])(
    'is refused with target %s',
    (target) => {
      expect(HelperRequest.safeParse({ ...good.create, volume: { ...volume, target } }).success).toBe(false);
    },
  );

  it.each([
    ['of another fill', { fillId: 'f'.repeat(16) }],
    ['of another target', { target: 'other' }],
    ['of another domain', { domainUuid: volume.domainUuid.replace('1', '2') }],
    ['with half a digest', { sha256: 'ab' }],
    ['with an image that is no tag', { image: 'a b' }],
    ['with an image longer than a tag', { image: 'a'.repeat(119) }],
    ['with generation 0', { generation: 0 }],
    ['without an image', { image: undefined }],
  ])('to publish is refused with a seal %s', (_what, change) => {
    expect(HelperRequest.safeParse({ ...good.publish, seal: { ...seal, ...change } }).success).toBe(false);
  });

  it.each([
    [
      'as that of a guest',
      { ...good.createGolden, volume: { ...futureGolden, domainUuid: volume.domainUuid } },
    ],
    ['under the name of a guest', { ...good.createGolden, volume: { ...futureGolden, target: 'web-root' } }],
    [
      'under that of another fill',
      { ...good.createGolden, volume: { ...futureGolden, fillId: volume.fillId } },
    ],
    ['sealed for a guest', { ...good.publishGolden, seal }],
    ['sealed as another fill', { ...good.publishGolden, seal: { ...newGoldenSeal, fillId: volume.fillId } }],
    ['sealed without its content', { ...good.publishGolden, seal: { ...newGoldenSeal, contentSha256: '' } }],
    ['measured by the daemon', { ...good.publishGolden, seal: good.dropGolden.seal }],
    ['taken over', { verb: 'adopt', volume: futureGolden }],
    ['set aside', { verb: 'retire', vg: 'vg0', seal: good.dropGolden.seal }],
    ['cloned as just any', { ...good.clone, golden: { ...golden, format: 'vmdk' } }],
    ['claimed', { ...good.claim, domainUuid: GOLDEN_OWNER }],
  ])('is refused with a golden volume that is %s', (_what, request) => {
    expect(HelperRequest.safeParse(request).success).toBe(false);
  });

  it('with a seal for a guest’s volume is refused for a golden one, and the other way round', () => {
    const ofGuest = { ...newGoldenSeal, fillId: volume.fillId };
    expect(HelperRequest.safeParse({ ...good.publish, seal: ofGuest }).success).toBe(false);
    expect(HelperRequest.safeParse({ ...good.publish, volume: futureGolden }).success).toBe(false);
  });

  it('allows no golden seal that would make a tag longer than LVM takes', () => {
    const longest = { ...good.dropGolden.seal, image: 'a'.repeat(118), version: 'v'.repeat(116) };
    const parsed = HelperRequest.parse({ ...good.dropGolden, seal: longest });
    if (parsed.verb !== 'drop' || parsed.seal.state !== 'golden') throw new Error('another verb');
    for (const tag of goldenTags(parsed.seal)) expect(tag).toMatch(/^[A-Za-z0-9_+./=!:&#-]{1,128}$/);
  });

  it('allows no seal that would make a tag longer than LVM takes', () => {
    const longest = { ...seal, image: 'a'.repeat(118), generation: Number.MAX_SAFE_INTEGER };
    const parsed = HelperRequest.parse({ ...good.publish, seal: longest });
    if (parsed.verb !== 'publish' || parsed.seal.state === 'golden') throw new Error('another verb');
    for (const tag of sealTags(parsed.seal)) expect(tag).toMatch(/^[A-Za-z0-9_+./=!:&#-]{1,128}$/);
  });
});

describe('the answer', () => {
  it('to anything that is no request is USAGE, and nothing is done', async () => {
    const junk = fc.oneof(
      fc.string(),
      fc.json(),
      fc.json().map((json) => `{"verb":"create","volume":${json}}`),
      fc.json().map((json) => `{"verb":"clone","golden":${json}}`),
      fc.json().map((json) => `{"verb":"drop","vg":"vg0","seal":${json}}`),
    );
    await fc.assert(
      fc.asyncProperty(junk, async (line) => {
        const model = new MemoryLvm();
        expect(await ask(line, model)).toMatchObject({ ok: false, problem: { code: 'USAGE' } });
        expect(model.steps).toEqual([]);
      }),
    );
  });

  it.each(Object.entries(good).filter(([verb]) => verb !== 'list'))(
    'to %s in a group that is not configured is POOL_UNSUITABLE',
    async (_verb, request) => {
      const model = new MemoryLvm();
      model.add('web-root');
      const response = await ask(JSON.stringify(request), model, { own: ['vg1'] });
      expect(response).toMatchObject({ ok: false, problem: { code: 'POOL_UNSUITABLE' } });
      expect(model.steps).toEqual([]);
    },
  );

  it('to list leaves out a configured group that does not exist', async () => {
    const response = await ask('{"verb":"list"}', new MemoryLvm(), { own: ['vg0', 'gone'] });
    expect(response).toMatchObject({ ok: true, result: { volumes: [], groups: [{ vg: 'vg0' }] } });
  });
});

describe('a group that another host fills', () => {
  it('shows what is published in it, and nothing that is under way there', async () => {
    const model = new MemoryLvm();
    model.add('web-root', { tags: sealTags(seal) });
    model.add(privateName('f'.repeat(16)), { tags: fillTags({ ...volume, fillId: 'f'.repeat(16) }) });
    model.add(privateName('e'.repeat(16)), { tags: sealTags({ ...seal, fillId: 'e'.repeat(16) }) });
    model.add('blank');
    const response = await ask(JSON.stringify({ verb: 'list' }), model, { own: ['vg9'], verified: ['vg0'] });
    expect(response).toMatchObject({ ok: true, result: { volumes: [{ lv: 'web-root' }], groups: [] } });
    expect(response).not.toHaveProperty('result.volumes.1');
  });

  it.each(Object.entries(good).filter(([verb]) => verb !== 'list'))(
    'is not for %s',
    async (_verb, request) => {
      const model = new MemoryLvm();
      model.add(privateName(volume.fillId), { tags: fillTags(volume) });
      const response = await ask(JSON.stringify(request), model, { own: ['vg9'], verified: ['vg0'] });
      expect(response).toMatchObject({ ok: false, problem: { code: 'POOL_UNSUITABLE' } });
      expect(model.steps).toEqual([]);
    },
  );
});

describe('a request about an encrypted volume', () => {
  const keysOf = (request: object) =>
    ('keyLengths' in request ? (request.keyLengths as number[]) : []).map((length) => 'k'.repeat(length));

  it.each(Object.entries(luks))('%s is understood, and says how many bytes follow it', (_name, request) => {
    expect(keyLengthsOf(JSON.stringify(request))).toEqual(keysOf(request).map(({ length }) => length));
    expect(keyLengthsOf(JSON.stringify({ ...request, force: true }))).toBeUndefined();
  });

  it.each<[string, object]>([
    ['a plain volume', { ...luks.formatLuks, volume }],
    ['a plain seal', { ...luks.checkLuks, seal }],
    ['another encryption', { ...luks.openLuks, volume: { ...volume, encryption: 'luks2' } }],
    ['no key', { ...luks.openLuks, keyLengths: [] }],
    ['a key too many', { ...luks.openLuks, keyLengths: [48, 48] }],
    ['one key for two', { ...luks.addLuksKey, keyLengths: [48] }],
    ['a short key', { ...luks.openLuks, keyLengths: [31] }],
    ['a long key', { ...luks.openLuks, keyLengths: [513] }],
    ['a key in the line', { ...luks.openLuks, keys: ['k'.repeat(48)] }],
    ['keys where none belong', { ...good.create, keyLengths: [48] }],
    ['a key for what is published plain', { ...good.publish, keyLengths: [48] }],
    ['a clone', { ...good.clone, volume: encrypted }],
    ['a golden volume', { ...good.createGolden, volume: { ...futureGolden, encryption: 'luks1' } }],
    [
      'a rotation of what is set aside',
      { ...luks.addLuksKey, seal: { ...encryptedSeal, state: 'receiving' } },
    ],
    ['a plain seal on it', { verb: 'publish', volume: encrypted, seal }],
    ['a seal of one on a plain volume', { verb: 'publish', volume, seal: encryptedSeal }],
    ['a key file elsewhere', { verb: 'readKey', name: '../shadow' }],
  ])('is refused with %s', (_what, request) => {
    expect(keyLengthsOf(JSON.stringify(request))).toBeUndefined();
  });

  it.each(Object.entries(luks))(
    '%s in a group that is not configured is POOL_UNSUITABLE',
    async (_n, request) => {
      const model = new MemoryLvm();
      const response = await ask(JSON.stringify(request), model, { own: ['vg1'] }, keysOf(request));
      expect(response).toMatchObject({ ok: false, problem: { code: 'POOL_UNSUITABLE' } });
      expect(model.steps).toEqual([]);
    },
  );

  it('of another host is only for trying a key', async () => {
    for (const request of Object.values(luks)) {
      const response = await ask(
        JSON.stringify(request),
        sealed(),
        { own: ['vg9'], verified: ['vg0'] },
        keysOf(request),
      );
      const expected =
        request === luks.checkLuks
          ? { code: 'KEY_WRONG' }
          : { code: expect.stringMatching(/^(POOL_UNSUITABLE|VOLUME_MISSING)$/) as string };
      expect([request.verb, response]).toMatchObject([request.verb, { ok: false, problem: expected }]);
    }
  });

  it('that other hosts may have open is not erased', async () => {
    const response = await ask(JSON.stringify(luks.eraseLuks), sealed(), { shared: ['vg0'] });
    expect(response).toMatchObject({ ok: false, problem: { code: 'POOL_UNSUITABLE' } });
    const own = await ask(JSON.stringify(luks.eraseLuks), sealed());
    expect(own).toMatchObject({ ok: true });
  });

  it.each([
    ['other keys than it says', 'USAGE', ['k'.repeat(47)]],
    ['no key', 'USAGE', []],
    ['a key with a newline', 'KEY_UNUSABLE', [`${'k'.repeat(47)}\n`]],
    ['a key with a NUL, where QEMU would end it', 'KEY_UNUSABLE', [`${'k'.repeat(40)}\0${'k'.repeat(7)}`]],
  ])('with %s is %s', async (_what, code, keys) => {
    const line = JSON.stringify({ ...luks.checkLuks, keyLengths: [48] });
    const response = await ask(line, sealed(), {}, keys);
    expect(response).toMatchObject({ ok: false, problem: { code } });
    expect(JSON.stringify(response)).not.toContain('kkk');
  });

  /** With the published volume of those requests, which another key opens. */
  function sealed(): MemoryLvm {
    const model = new MemoryLvm();
    const header = { volumeKey: '01'.repeat(64), slots: ['another', ...Array<undefined>(7)] };
    model.add(volume.target, { tags: sealTags({ ...seal, encryption: 'luks1' }), content: 'data', header });
    return model;
  }
});

describe('a group that other hosts see too', () => {
  it.each(['adopt', 'retire', 'setAside'])(
    'is not for %s: who has a volume open cannot be seen',
    async (verb) => {
      const model = new MemoryLvm();
      model.add(volume.target, { tags: verb === 'retire' ? sealTags(seal) : [] });
      const line = JSON.stringify(good[verb as keyof typeof good]);
      const response = await ask(line, model, { shared: ['vg0'] });
      expect(response).toMatchObject({ ok: false, problem: { code: 'POOL_UNSUITABLE' } });
      expect(model.steps).toEqual([]);
    },
  );

  it('has volumes made and published in it', async () => {
    const model = new MemoryLvm();
    for (const request of [good.create, good.publish]) {
      const response = await ask(JSON.stringify(request), model, { shared: ['vg0'] });
      expect(response).toMatchObject({ ok: true });
    }
    expect(model.find(volume.target)?.tags.toSorted()).toEqual(sealTags(seal).toSorted());
  });
});

/** A request of any verb, one of whose fields is another one's or nonsense. */
const spoiled = fc
  .record({
    request: fc.constantFrom(...Object.values(good)),
    donor: fc.constantFrom<object[]>(...Object.values(good), seal, newGoldenSeal, volume, futureGolden),
    pick: fc.nat(),
    put: fc.oneof(fc.jsonValue(), fc.constant(undefined)),
    takes: fc.boolean(),
  })
  .map(({ request, donor, pick, put, takes }) => {
    const field = Object.keys(request)[pick % Object.keys(request).length] ?? 'verb';
    const values = Object.values(donor) as unknown[];
    return { ...request, [field]: takes ? values[pick % values.length] : put };
  });

describe('whatever is asked, on a host with a thin pool,', () => {
  it('is answered, is no defect, and leaves alone what is not ours', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(spoiled, { maxLength: 4 }), async (requests) => {
        const model = new MemoryLvm();
        model.addPool('pool0');
        const others = [
          model.add('somebody-elses', { content: 'data', tags: ['backup'] }),
          model.add('thin-of-others', {
            content: 'data',
            segmentType: 'thin',
            thinPool: 'pool0',
            mappedBytes: 0,
          }),
        ].map((other) => ({ ...other, tags: [...other.tags] }));
        const sequence = [
          ...Object.values(good).filter((_, index) => index % 3 === requests.length % 3),
          ...requests,
        ];
        for (const request of sequence) {
          const response = await ask(JSON.stringify(request), model, {
            thinPools: new Map([['vg0', 'pool0']]),
          });
          if (!response.ok) expect(response.problem).not.toMatchObject({ code: 'INTERNAL' });
        }
        for (const other of others) expect(model.find(other.lv)).toMatchObject(other);
        for (const { lv, tags, writable } of model.volumes) {
          if (lv.startsWith(GOLDEN_PREFIX))
            expect([readMark(tags).state, writable]).toEqual(['golden', false]);
        }
      }),
    );
  });
});

describe('a volume of a job', () => {
  it('is made and published, and its seal says as what the image was read', async () => {
    const model = new MemoryLvm();
    const ofJob = { ...volume, domainUuid: job };
    for (const request of [
      { ...good.create, volume: ofJob },
      { verb: 'publish', volume: ofJob, seal: sealOfJob },
    ]) {
      expect(await ask(JSON.stringify(request), model)).toMatchObject({ ok: true });
    }
    expect(model.find(volume.target)?.tags.toSorted()).toEqual(sealTags(sealOfJob).toSorted());
  });

  it('becomes that of a domain, with the seal of any other, and of no further one', async () => {
    const model = new MemoryLvm();
    model.add(volume.target, { tags: ['backup', ...sealTags(sealOfJob)] });
    // Twice, as when the answer was lost.
    for (let times = 0; times < 2; times++) {
      expect(await ask(JSON.stringify(claimFromJob), model)).toMatchObject({ ok: true });
    }
    const tags = model.find(volume.target)?.tags.toSorted();
    expect(tags).toEqual(['backup', ...sealTags(seal)].toSorted());
    const another = { ...claimFromJob, domainUuid: '22222222-2222-3333-4444-555555555555' };
    expect(await ask(JSON.stringify(another), model)).toMatchObject({ problem: { code: 'VOLUME_STATE' } });
    expect(model.find(volume.target)?.tags.toSorted()).toEqual(tags);
  });

  it('is claimed only by who knows its seal to the last word', async () => {
    const model = new MemoryLvm();
    model.add(volume.target, { tags: sealTags(sealOfJob) });
    for (const wrong of [{ sha256: 'cd'.repeat(32) }, { image: 'images/other' }, { format: 'raw' }]) {
      const line = JSON.stringify({ ...claimFromJob, seal: { ...sealOfJob, ...wrong } });
      expect(await ask(line, model)).toMatchObject({ problem: { code: 'VOLUME_STATE' } });
    }
    expect(model.find(volume.target)?.tags.toSorted()).toEqual(sealTags(sealOfJob).toSorted());
  });

  it('never comes from a domain, and is never set aside for an arrival', () => {
    const toJob = { ...good.claim, domainUuid: job };
    const aside = { verb: 'publish', volume: { ...volume, domainUuid: job } };
    const receiving = { ...seal, state: 'receiving', domainUuid: job };
    for (const request of [toJob, { ...aside, seal: receiving }]) {
      expect(HelperRequest.safeParse(request).success).toBe(false);
    }
  });

  it('cannot be claimed where other hosts see it too: a second one might', async () => {
    const model = new MemoryLvm();
    model.add(volume.target, { tags: sealTags(sealOfJob) });
    const response = await ask(JSON.stringify(claimFromJob), model, { shared: ['vg0'] });
    expect(response).toMatchObject({ ok: false, problem: { code: 'POOL_UNSUITABLE' } });
    expect(model.steps).toEqual([]);
  });
});
