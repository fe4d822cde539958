/**
 * Goal: what the policy of the host refuses is not filled, by whichever way it is asked for, and costs the store no
 * question; and no policy ever touches what is published. Method: the real verbs over the world in memory.
 */
import { describe, expect, it } from 'vitest';
import type { HostPolicy, PolicyRule } from '../../src/core/policy/host-policy.ts';
import { readMark, retiredName } from '../../src/core/volume/volume.ts';
import { admitStart } from '../../src/provision/gate/admit-start.ts';
import type { FillRecord } from '../../src/provision/ports/ledger.ts';
import { domainXml, MIB, until, World } from './world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const NEXT = '22222222-2222-4222-8222-222222222222';
const vm1 = { uuid, name: 'vm1' };

const rule = (more: Partial<PolicyRule> = {}): PolicyRule => ({ name: 'some', allow: true, ...more });
const nothing: HostPolicy = [rule({ name: 'nothing', allow: false })];
const others: HostPolicy = [rule({ name: 'others', domains: ['web*'] })];

/** A world that remembers what the store was asked for. */
class WatchedWorld extends World {
  readonly asked: string[] = [];

  constructor(options: ConstructorParameters<typeof World>[0] = {}) {
    super(options);
    const { images } = this;
    const [stat, readText] = [images.stat.bind(images), images.readText.bind(images)];
    images.stat = (image) => {
      this.asked.push(`stat ${image.key}`);
      return stat(image);
    };
    images.readText = (image) => {
      this.asked.push(`text ${image.key}`);
      return readText(image);
    };
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const recordOf = (world: World, one = uuid) => world.ledger.fillOf(one, 'vda');
const stateOf = (world: World, lv = 'vm1') => readMark(world.volume(lv)?.tags ?? []).state;

async function start(world: World, xml = domainXml(vm1)): Promise<Awaited<ReturnType<typeof admitStart>>> {
  const answer = admitStart(world.admit, 'prepare', xml);
  await settled();
  world.clock.advance(4_000);
  return answer;
}

/** The daemon is killed as it stands, and begins anew with another configuration. */
async function reconfigured(world: World, hostPolicy: HostPolicy | undefined): Promise<void> {
  const row = recordOf(world);
  await Promise.all([world.reconciler.stop(), world.fills.stop()]);
  if (row !== undefined) world.ledger.putFill(row);
  world.images.letGo();
  world.hostPolicy = hostPolicy;
  world.restart();
  await world.reconciler.requestAll();
  await settled();
}

async function published(options: ConstructorParameters<typeof World>[0] = {}): Promise<WatchedWorld> {
  const world = new WatchedWorld(options);
  world.define(vm1);
  await until('published', () => recordOf(world)?.state === 'ready');
  world.asked.length = 0;
  return world;
}

function expectUntouched(world: WatchedWorld): void {
  expect(world.names()).toEqual([]);
  expect(world.asked).toEqual([]);
  expect(recordOf(world)).toBeUndefined();
}

describe('what is refused', () => {
  const refusing: [string, HostPolicy, string][] = [
    ['by a rule that allows nothing', nothing, 'Rule nothing of this host'],
    ['since no rule matches', others, 'No rule of this host'],
    ['for its pool', [rule({ pools: ['fast'] })], 'pool "guests" is none of "fast"'],
    ['for its group', [rule({ volumeGroups: ['vg1'] })], 'volume group "vg0" is none of "vg1"'],
    [
      'for its image',
      [rule({ images: ['images/prod/'] })],
      'the image "images/small.raw" begins with none of',
    ],
    ['for its format', [rule({ formats: ['qcow2'] })], 'format "raw" is none of "qcow2"'],
    ['for want of compression', [rule({ compression: ['zstd'] })], 'compression "none" is none of "zstd"'],
    ['for the size it asks for', [rule({ sizeMaxBytes: 7 * MIB })], 'at most 7.0 MiB (7340032 bytes)'],
  ];
  const xml = domainXml({ ...vm1, attributes: "size='8MiB'" });

  it.each(refusing)(
    'when it is defined, %s, has no volume made and no question put to the store',
    async (...one) => {
      const [, hostPolicy, why] = one;
      const world = new WatchedWorld({ hostPolicy });
      world.define({ ...vm1, attributes: "size='8MiB'" });
      await settled();
      expectUntouched(world);
      expect(await world.verbs.domain('vm1')).toMatchObject({
        volumes: [
          {
            state: 'refused',
            problem: { code: 'POLICY_REFUSED', message: expect.stringContaining(why) as string },
          },
        ],
      });
    },
  );

  it.each(refusing)('at a first start, %s, is refused with the reason', async (_, hostPolicy, why) => {
    const world = new WatchedWorld({ hostPolicy });
    const { allowed, problems } = await start(world, xml);
    expect(allowed).toBe(false);
    expect(problems).toMatchObject([
      { code: 'POLICY_REFUSED', message: expect.stringContaining(why) as string },
    ]);
    expectUntouched(world);
  });

  it.each(refusing)('by lvp provision, %s', async (_, hostPolicy) => {
    const world = new WatchedWorld({ hostPolicy });
    expect(await world.verbs.provision(xml)).toMatchObject({
      volumes: [{ state: 'refused', problem: { code: 'POLICY_REFUSED' } }],
    });
    await settled();
    expectUntouched(world);
  });

  it('is not filled by lvp retry either', async () => {
    const world = new WatchedWorld({ hostPolicy: nothing });
    world.define(vm1);
    await settled();
    expect(await world.verbs.retry('vm1')).toMatchObject({ volumes: [{ state: 'refused' }] });
    await settled();
    expectUntouched(world);
  });

  it('leaves a blank volume as it is, also one that is larger than may be', async () => {
    for (const hostPolicy of [nothing, [rule({ sizeMaxBytes: 7 * MIB })]]) {
      const world = new WatchedWorld({ hostPolicy });
      world.volumes.add('vm1', Buffer.alloc(8 * MIB));
      world.define(vm1);
      await settled();
      expect(world.names()).toEqual(['vg0/vm1']);
      expect(world.volume('vm1')?.tags).toEqual([]);
      expect(world.asked).toEqual([]);
      expect(await world.verbs.domain('vm1')).toMatchObject({
        volumes: [{ problem: { code: 'POLICY_REFUSED' } }],
      });
    }
  });

  it('is refused by the fill itself, whoever has begun it', async () => {
    const world = new WatchedWorld({ hostPolicy: nothing });
    const record: FillRecord = {
      ...{ fillId: '0123456789abcdef', domainUuid: uuid, domainName: 'vm1', state: 'waiting', attempts: 0 },
      request: {
        ...{ target: 'vda', format: 'raw', generation: 1 },
        image: { bucket: 'images', key: 'small.raw' },
      },
      location: { pool: 'guests', vg: 'vg0', lv: 'vm1' },
      ...{ createdAtMs: 0, updatedAtMs: 0 },
    };
    world.fills.begin(record, { from: 'new' });
    await world.fills.settled([record.fillId]);
    expect(recordOf(world)).toMatchObject({ state: 'failed', problem: { code: 'POLICY_REFUSED' } });
    expect(world.names()).toEqual([]);
    expect(world.asked).toEqual([]);
  });

  it('and an image larger than may be is refused once its size is known, before there is a volume', async () => {
    const world = new WatchedWorld({ hostPolicy: [rule({ sizeMaxBytes: 3 * MIB })] });
    let made = 0;
    world.volumes.onCreate = () => {
      made += 1;
    };
    world.define(vm1);
    await until('refused', () => recordOf(world)?.state === 'failed');
    expect(recordOf(world)?.problem).toMatchObject({
      code: 'POLICY_REFUSED',
      message: expect.stringContaining(
        'the volume has 3.0 MiB (3146240 bytes), and at most 3.0 MiB (3145728 bytes) are allowed',
      ) as string,
    });
    expect(made).toBe(0);
    expect(world.names()).toEqual([]);
  });
});

describe('what is allowed', () => {
  it('is filled as ever', async () => {
    const world = new World({
      hostPolicy: [
        rule({ name: 'others', domains: ['web*'], allow: false }),
        rule({
          domains: ['vm?'],
          pools: ['guests'],
          images: ['images/'],
          formats: ['raw'],
          sizeMaxBytes: 4 * MIB,
        }),
        ...nothing,
      ],
    });
    world.define(vm1);
    await until('published', () => recordOf(world)?.state === 'ready');
    expect(world.isFilled('vm1')).toBe(true);
    expect((await start(world)).allowed).toBe(true);
  });

  it('has the proof that the rule wants, beside what the host wants of all', async () => {
    const unproven = async (require: 'digest' | 'signature' | undefined, requireDigest: boolean) => {
      const world = new World({ requireDigest, hostPolicy: [rule({ require })] });
      if (require !== 'signature') world.images.objects.delete('images/small.raw.sha256');
      world.define(vm1);
      await until('an end', () => ['ready', 'failed'].includes(recordOf(world)?.state ?? ''));
      return recordOf(world)?.problem;
    };
    expect(await unproven(undefined, false)).toBeUndefined();
    expect(await unproven(undefined, true)).toMatchObject({ code: 'DIGEST_MISSING' });
    expect(await unproven('digest', false)).toMatchObject({
      code: 'DIGEST_MISSING',
      hint: expect.stringContaining("Rule some of this host's policy wants a digest") as string,
    });
    expect(await unproven('signature', false)).toMatchObject({
      code: 'SIGNATURE_MISSING',
      hint: expect.stringContaining("Rule some of this host's policy wants a signature") as string,
    });
  });
});

describe('what is published', () => {
  it.each([
    ['nothing is allowed', nothing],
    ['no rule matches', others],
    ['its size is not allowed', [rule({ sizeMaxBytes: MIB })]],
  ])('starts and stays although %s', async (_, hostPolicy) => {
    const world = await published();
    const before = { tags: world.volume('vm1')?.tags, names: world.names() };
    world.volume('vm1')?.bytes.fill(0x99);
    await reconfigured(world, hostPolicy);
    expect((await start(world)).allowed).toBe(true);
    expect(await world.verbs.domain('vm1')).toMatchObject({ volumes: [{ state: 'ready' }] });
    expect(await world.verbs.handover('vm1')).toMatchObject({ name: 'vm1' });
    expect({ tags: world.volume('vm1')?.tags, names: world.names() }).toEqual(before);
    expect(world.volume('vm1')?.bytes.every((byte) => byte === 0x99)).toBe(true);
    expect(world.asked).toEqual([]);
  });

  it('gets its name where only that is missing', async () => {
    const world = await published();
    world.volumes.lvm.get('vm1').lv = `lvp-fill-${recordOf(world)?.fillId ?? ''}`;
    world.ledger.putFill({ ...(recordOf(world) ?? expect.fail('no row')), state: 'publishing' });
    await reconfigured(world, nothing);
    await until('its name', () => world.names().join() === 'vg0/vm1');
    expect((await start(world)).allowed).toBe(true);
  });

  it('is said to be gone, if it is, rather than that it may not be filled', async () => {
    const world = await published();
    world.volumes.remove('vm1');
    await reconfigured(world, nothing);
    expect(await world.verbs.domain('vm1')).toMatchObject({
      volumes: [{ state: 'failed', problem: { code: 'VOLUME_MISSING' } }],
    });
    expect(await world.verbs.retry('vm1')).toMatchObject({
      volumes: [{ state: 'refused', problem: { code: 'POLICY_REFUSED' } }],
    });
    expect(world.names()).toEqual([]);
  });

  it('is not made again by lvp reprovision against the policy', async () => {
    const world = await published();
    await reconfigured(world, nothing);
    const asked = { target: 'vda', confirm: 'vm1/vda' };
    await expect(world.verbs.reprovision('vm1', asked)).rejects.toMatchObject({ code: 'POLICY_REFUSED' });
    await settled();
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.asked).toEqual([]);
  });

  it('comes back if the policy changes while it is being made again', async () => {
    const world = await published();
    const old = recordOf(world)?.fillId ?? '';
    world.volume('vm1')?.bytes.fill(0x99);
    world.images.hold();
    await world.verbs.reprovision('vm1', { target: 'vda', confirm: 'vm1/vda' });
    await until('a private volume', () => world.names().length === 2);
    expect(world.names()).toContain(`vg0/${retiredName(old)}`);
    await reconfigured(world, nothing);
    await world.reconciler.requestAll();
    await until(
      'the old one alone',
      () => world.names().join() === 'vg0/vm1' && recordOf(world)?.fillId === old,
    );
    expect(world.volume('vm1')?.bytes.every((byte) => byte === 0x99)).toBe(true);
    expect((await start(world)).allowed).toBe(true);
  });

  it('for an earlier try of a guest is not given to one that may not have it', async () => {
    const world = new World({ hostPolicy: [rule({ uuids: [uuid] })] });
    world.images.hold();
    expect((await start(world)).allowed).toBe(false);
    await until('begun', () => world.names().length === 1);
    // While it is being filled, and when it is published.
    const again = domainXml({ ...vm1, uuid: NEXT });
    expect((await start(world, again)).problems).toMatchObject([{ code: 'POLICY_REFUSED' }]);
    world.images.letGo();
    await until('published', () => recordOf(world)?.state === 'ready');
    expect((await start(world, again)).problems).toMatchObject([{ code: 'POLICY_REFUSED' }]);
    expect(readMark(world.volume('vm1')?.tags ?? [])).toMatchObject({ state: 'ready', domainUuid: uuid });
    expect((await start(world)).allowed).toBe(true);
  });
});

describe('a fill under way', () => {
  async function midway(hostPolicy?: HostPolicy): Promise<WatchedWorld> {
    const world = new WatchedWorld(hostPolicy === undefined ? {} : { hostPolicy });
    world.images.hold();
    world.define(vm1);
    await until('a private volume', () => world.names().length === 1);
    return world;
  }

  it('is given up, and its space comes back, if the daemon comes back with another policy', async () => {
    const world = await midway();
    await reconfigured(world, nothing);
    await world.reconciler.requestAll();
    await until('nothing is left', () => world.names().length === 0);
    expect(recordOf(world)).toBeUndefined();
  });

  it('ends if its domain gets a name that may not have it', async () => {
    const world = await midway([rule({ domains: ['vm1'] })]);
    world.define({ ...vm1, name: 'db1', lv: 'vm1' });
    await until('nothing is left', () => world.names().length === 0);
    expect(await world.verbs.domain('db1')).toMatchObject({
      volumes: [{ state: 'refused', problem: { code: 'POLICY_REFUSED' } }],
    });
  });

  it('has the blank volume that it was just taking over given back', async () => {
    const world = new WatchedWorld({ hostPolicy: nothing });
    const tags = [
      'lvp:filling',
      'lvp:adopting',
      'lvp:fill:0123456789abcdef',
      'lvp:target:vm1',
      `lvp:domain:${uuid}`,
    ];
    world.volumes.add('vm1', Buffer.alloc(8 * MIB), tags);
    world.define(vm1);
    await settled();
    await world.reconciler.requestAll();
    await until('given back', () => world.volume('vm1')?.tags.length === 0);
    expect(world.names()).toEqual(['vg0/vm1']);
  });
});

describe('a domain that arrives', () => {
  async function handedOver() {
    const source = new World();
    source.define({ ...vm1, attributes: "size='8MiB'" });
    await until('published', () => recordOf(source)?.state === 'ready');
    return source.verbs.handover('vm1');
  }

  it.each<[string, HostPolicy]>([
    ['to which nothing is allowed', nothing],
    ['that no rule matches', others],
    ['in another pool than may be', [rule({ pools: ['fast'] })]],
    ['in another group than may be', [rule({ volumeGroups: ['vg1'] })]],
    ['with a larger volume than may be', [rule({ sizeMaxBytes: 8 * MIB - 1 })]],
  ])('%s has no volume set aside', async (_, hostPolicy) => {
    const world = new World({ hostPolicy });
    await expect(world.verbs.receive(await handedOver())).rejects.toMatchObject({ code: 'POLICY_REFUSED' });
    expect(world.names()).toEqual([]);
  });

  it('has volumes set aside, and is let in, where place and size are allowed', async () => {
    const world = new World({
      hostPolicy: [
        rule({ pools: ['guests'], sizeMaxBytes: 8 * MIB, images: ['other/'], formats: ['qcow2'] }),
      ],
    });
    await world.verbs.receive(await handedOver());
    expect(stateOf(world)).toBe('receiving');
    const xml = domainXml({ ...vm1, attributes: "size='8MiB'" });
    expect((await admitStart(world.admit, 'migrate', xml)).allowed).toBe(true);
  });

  it('under another name than was said is not let in, and its volume is left alone', async () => {
    const world = new World({ hostPolicy: [rule({ domains: ['vm1'] })] });
    await world.verbs.receive(await handedOver());
    const answer = await admitStart(world.admit, 'migrate', domainXml({ ...vm1, name: 'db1', lv: 'vm1' }));
    expect(answer).toMatchObject({ allowed: false, problems: [{ code: 'POLICY_REFUSED' }] });
    expect(stateOf(world)).toBe('receiving');
  });
});

describe('explain', () => {
  const stepsOf = async (world: World) => (await world.verbs.explain('vm1')).steps;

  it('names the rule that allows it', async () => {
    const world = await published({ hostPolicy: [...others, rule({ name: 'vms', domains: ['vm*'] })] });
    expect(await stepsOf(world)).toMatchObject([
      { target: 'vda', action: 'nothing to do', policy: 'rule vms allows it' },
    ]);
  });

  it('names the rule that refuses it, and why', async () => {
    const world = new World({ hostPolicy: [rule({ name: 'vms', pools: ['fast'] })] });
    world.define(vm1);
    await settled();
    expect(await stepsOf(world)).toMatchObject([
      { action: 'refuse', policy: 'rule vms refuses it: pool "guests" is none of "fast"' },
    ]);
  });

  it('says that none matches', async () => {
    const world = new World({ hostPolicy: others });
    world.define(vm1);
    await settled();
    const { start: asked, steps } = await world.verbs.explain('vm1');
    expect(asked).toMatchObject({ allowed: false, why: expect.stringContaining('No rule') as string });
    expect(steps).toMatchObject([{ policy: 'no rule matches' }]);
  });

  it('says that what is published stays', async () => {
    const world = await published();
    await reconfigured(world, nothing);
    const { start: asked, steps } = await world.verbs.explain('vm1');
    expect(asked.allowed).toBe(true);
    expect(steps).toMatchObject([
      {
        action: 'nothing to do',
        policy: 'rule nothing allows nothing; it is published already, and stays so',
      },
    ]);
  });

  it('says nothing of it where there is no policy', async () => {
    const [step] = await stepsOf(await published());
    expect(step).not.toHaveProperty('policy');
  });
});
