/**
 * Goal: the image reaches an encrypted volume only through its encryption, with the key that its annotation names and no
 * other; what could not be opened again is not published; plain and encrypted are never taken for each other. Method: the
 * real verbs of daemon and helper over a world in memory, in which a volume's bytes are encrypted behind a header.
 */
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { HelperMetrics } from '../../../src/adapters/metrics/helper.ts';
import {
  LUKS_BLANK_HEAD_BYTES,
  LUKS_HEADER_BYTES,
  privateName,
  readMark,
} from '../../../src/core/volume/volume.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import { auditedVolumes } from '../../../src/provision/audit/audited-effects.ts';
import type { FillTrace } from '../../../src/provision/ports/fill-trace.ts';
import type { Pools } from '../../../src/provision/ports/libvirt.ts';
import type { Volumes } from '../../../src/provision/ports/volumes.ts';
import { takingTurns } from '../../../src/provision/pools/taking-turns.ts';
import { tracedVolumes } from '../../../src/provision/fill/traced-fill.ts';
import { refusingWhileFrozen } from '../../../src/provision/while-frozen.ts';
import { encryptedSeal, encryptedVolume } from '../../helper/luks-contract.ts';
import { domainXml, keyOf, MIB, until, World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const other = '22222222-2222-4222-8222-222222222222';
const KEY = 'k'.repeat(40);
const vm1 = { uuid, name: 'vm1', key: 'file:vm1', attributes: "size='8MiB'" } as const;

function keyed(text = KEY, options: ConstructorParameters<typeof World>[0] = {}): World {
  const world = new World(options);
  world.keys.texts.set('file:vm1', text);
  return world;
}

const row = (world: World, of = uuid) => world.ledger.fillOf(of, 'vda');
const stateOf = (world: World) => row(world)?.state;
const model = (world: World, lv: string) => world.volumes.lvm.find(lv);
const markOf = (world: World, lv: string) => readMark(model(world, lv)?.tags ?? []);

/** What the guest would read: the image, and zeros to the end. */
function isFilled(world: World, lv: string, key = KEY): boolean {
  const plain = world.volumes.plain(lv, key);
  if (plain === undefined) return false;
  const { length } = world.image;
  return plain.subarray(0, length).equals(world.image) && plain.subarray(length).every((byte) => byte === 0);
}

/** Any stretch of the image that is no single byte, on the disk as it is. */
function isPlainAnywhere(world: World): boolean {
  return world.volumes.lvm.volumes.some(({ lv }) =>
    world.volume(lv)?.bytes.includes(world.image.subarray(0, 512)),
  );
}

async function published(world: World): Promise<void> {
  await until('published', () => stateOf(world) === 'ready');
}

describe('an encrypted disk', () => {
  it('is filled through its encryption, sealed as encrypted, and is as large as was asked for behind the header', async () => {
    const world = keyed();
    world.define(vm1);
    await published(world);
    expect(markOf(world, 'vm1')).toMatchObject({ state: 'ready', encryption: 'luks1' });
    expect(isFilled(world, 'vm1')).toBe(true);
    expect(world.volumes.plain('vm1', 'x'.repeat(40))).toBeUndefined();
    expect(isPlainAnywhere(world)).toBe(false);
    expect(model(world, 'vm1')?.sizeBytes).toBeGreaterThanOrEqual(8 * MIB + LUKS_HEADER_BYTES);
    expect(world.volumes.lvm.mappings.size).toBe(0);
    expect(world.keys.areAllWiped()).toBe(true);
  });

  it.each([
    [8 * MIB, false],
    [8 * MIB + LUKS_HEADER_BYTES, true],
  ])('takes over a blank volume of %d bytes only if its header has room, too', async (sizeBytes, fits) => {
    const world = keyed();
    world.volumes.add('vm1', Buffer.alloc(sizeBytes));
    world.define(vm1);
    if (fits) {
      await published(world);
      expect(isFilled(world, 'vm1')).toBe(true);
      return;
    }
    await until('failed', () => row(world)?.problem?.code === 'IMAGE_TOO_LARGE');
    expect(world.names()).toEqual(['vg0/vm1']);
    expect(world.volume('vm1')?.tags).toEqual([]);
  });

  it('is read back through its encryption where that is wanted', async () => {
    const world = keyed(KEY, { readBack: true });
    world.define(vm1);
    await published(world);
    expect(isFilled(world, 'vm1')).toBe(true);
  });

  it('is let start, and libvirt has its key then and not before', async () => {
    const world = keyed();
    const xml = world.define(vm1);
    await published(world);
    expect(world.secrets.values.size).toBe(0);
    expect(await admitStart(world.admit, 'prepare', xml)).toMatchObject({ allowed: true });
    expect(world.secrets.values.get('/dev/vg0/vm1')?.toString()).toBe(KEY);
  });

  it('is not filled as long as the key is not granted, then is', async () => {
    const world = keyed();
    world.keys.grants.set('file:vm1', 'KEY_DENIED');
    world.define(vm1);
    await until('failed', () => stateOf(world) === 'failed');
    expect(row(world)?.problem?.code).toBe('KEY_DENIED');
    expect(world.names()).toEqual([]);
    world.keys.grants.clear();
    await until('published', () => {
      world.clock.advance(60_000);
      world.reconciler.request(uuid);
      return stateOf(world) === 'ready';
    });
  });

  it('is tried again at once when the key server is asked otherwise', async () => {
    const world = keyed();
    world.keys.grants.set('file:vm1', 'KEY_DENIED');
    world.define(vm1);
    await until('failed', () => stateOf(world) === 'failed');
    world.keys.grants.clear();
    world.reconciler.pauses.tryDeniedAgain();
    await published(world);
  });

  it('keeps what is written while the key server is away at the end', async () => {
    const world = keyed();
    const read = world.keys.read.bind(world.keys);
    let reads = 0;
    world.keys.read = (reference) => {
      reads += 1;
      if (reads === 2) world.keys.grants.set('file:vm1', 'KEY_SERVER_UNREACHABLE');
      return read(reference);
    };
    world.define(vm1);
    await until('failed', () => stateOf(world) === 'failed');
    expect(world.names()).toEqual([`vg0/${privateName(row(world)?.fillId ?? '')}`]);
    expect(world.volumes.lvm.mappings.size).toBe(0);
    world.keys.grants.clear();
    await until('published', () => {
      world.clock.advance(60_000);
      world.reconciler.request(uuid);
      return stateOf(world) === 'ready';
    });
    expect(isFilled(world, 'vm1')).toBe(true);
  });

  it('is not published with a key that would not open it again', async () => {
    const world = keyed();
    const read = world.keys.read.bind(world.keys);
    let reads = 0;
    world.keys.read = (reference) => {
      reads += 1;
      if (reads === 2) world.keys.texts.set('file:vm1', 'another'.repeat(6));
      return read(reference);
    };
    world.define(vm1);
    await until('failed', () => stateOf(world) === 'failed');
    expect(row(world)?.problem?.code).toBe('KEY_WRONG');
    expect(world.names()).toEqual([]);
    expect(world.keys.areAllWiped()).toBe(true);
  });

  it('has its half-filled volume closed and removed when its domain goes', async () => {
    const world = keyed();
    world.images.hold();
    world.define(vm1);
    await until('open', () => world.volumes.lvm.mappings.size === 1);
    // The daemon is killed, and its hold of the mapping goes with it.
    world.libvirt.domains.delete(uuid);
    world.restart();
    for (const mapping of world.volumes.lvm.mappings.values()) mapping.isOpen = false;
    await world.reconciler.requestAll();
    await until('gone', () => world.names().length === 0);
    expect(world.volumes.lvm.mappings.size).toBe(0);
  });

  it('does not start on a volume that was sealed plain, nor a plain disk on an encrypted one', async () => {
    const world = keyed();
    const { key, ...plain } = vm1;
    expect(key).toBe('file:vm1');
    world.define(plain);
    await published(world);
    expect(await admitStart(world.admit, 'prepare', domainXml(vm1))).toMatchObject({
      ...{ allowed: false, problems: [{ code: 'VOLUME_STATE' }] },
    });
    expect(world.secrets.values.size).toBe(0);
    const second = keyed();
    second.define(vm1);
    await published(second);
    expect(await admitStart(second.admit, 'prepare', domainXml(plain))).toMatchObject({
      ...{ allowed: false, problems: [{ code: 'VOLUME_STATE' }] },
    });
  });

  it('is no clone in a thin pool, but written there', async () => {
    const world = keyed();
    world.volumes.thinPools.set('vg0', 'pool0');
    world.volumes.lvm.addPool('pool0', { usedBytes: 0, metadataUsedBytes: 0 });
    world.restart();
    world.define({ ...vm1, source: 'block' });
    await published(world);
    expect(model(world, 'vm1')?.thinPool).toBe('pool0');
    expect(world.names().filter((name) => name.includes('lvp-gold'))).toEqual([]);
    expect(isFilled(world, 'vm1')).toBe(true);
  });

  it('is not filled with the key of another domain', async () => {
    const world = keyed();
    world.define(vm1);
    await published(world);
    world.define({ ...vm1, uuid: other, name: 'vm2' });
    await until('refused', () => world.ledger.domainOf(other) !== undefined);
    const [volume] = (await world.verbs.domain('vm2')).volumes;
    expect(volume).toMatchObject({ state: 'refused', problem: { code: 'KEY_IN_USE' }, key: 'file:vm1' });
    expect(row(world, other)).toBeUndefined();
  });
});

describe('the key that a volume is published with', () => {
  const pools = {} as Pools;
  it.each<[string, (volumes: Volumes) => Volumes]>([
    ['the audit trail', (volumes) => auditedVolumes(volumes, { record: () => undefined })],
    ['the turns', (volumes) => takingTurns(volumes, pools).volumes],
    ['the freeze', (volumes) => refusingWhileFrozen({ frozen: () => undefined }, { volumes, pools }).volumes],
    ['the trace', (volumes) => tracedVolumes(volumes, {} as FillTrace)],
    ['the metrics', (volumes) => new HelperMetrics(new Registry()).measured(volumes)],
  ])('passes %s', async (_what, around) => {
    const given: unknown[] = [];
    const volumes = {
      publish: (...all: unknown[]) => {
        given.push(...all);
        return Promise.resolve();
      },
    };
    const all = [encryptedVolume, encryptedSeal, keyOf(KEY)] as const;
    await around(volumes as unknown as Volumes).publish(...all);
    expect(given).toEqual(all);
  });
});

describe('an encrypted volume that arrives', () => {
  it('finds one set aside that its key opens, read with the identity of the new host', async () => {
    const source = keyed();
    source.define(vm1);
    await published(source);
    const handover = await source.verbs.handover('vm1');
    expect(handover.volumes[0]).toMatchObject({ key: 'file:vm1', seal: { encryption: 'luks1' } });
    const target = keyed();
    target.keys.grants.set('file:vm1', 'KEY_DENIED');
    await expect(target.verbs.receive(handover)).rejects.toMatchObject({ code: 'KEY_DENIED' });
    expect(target.names()).toEqual([]);
    target.keys.grants.clear();
    await target.verbs.receive(handover);
    expect(markOf(target, 'vm1')).toMatchObject({ state: 'receiving', encryption: 'luks1' });
    const zeros = target.volumes.plain('vm1', KEY)?.subarray(LUKS_BLANK_HEAD_BYTES);
    expect(zeros?.every((byte) => byte === 0)).toBe(true);
    const xml = domainXml(vm1);
    expect(await admitStart(target.admit, 'migrate', xml)).toMatchObject({ allowed: true });
    expect(target.secrets.values.get('/dev/vg0/vm1')?.toString()).toBe(KEY);
  });

  it('is not sealed where nothing has come', async () => {
    const source = keyed();
    source.define(vm1);
    await published(source);
    const target = keyed();
    await target.verbs.receive(await source.verbs.handover('vm1'));
    const mark = markOf(target, 'vm1');
    if (mark.state !== 'receiving') return expect.fail(mark.state);
    await expect(target.volumes.arrive('vg0', { ...mark, state: 'ready' })).rejects.toMatchObject({
      code: 'VOLUME_STATE',
    });
    expect(markOf(target, 'vm1')).toMatchObject({ state: 'receiving' });
  });
});
