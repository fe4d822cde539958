/**
 * Goal: however many fills are asked for, and however slow they are, the queue has an end, whoever stands there
 * and waits comes first, nobody holds a place for ever, and all are filled in the end.
 */
import { describe, expect, it } from 'vitest';
import { readMark } from '../../../src/core/volume/volume.ts';
import type { FillRun } from '../../../src/provision/fill/fills.ts';
import { Fills } from '../../../src/provision/fill/fills.ts';
import { admitStart } from '../../../src/provision/gate/admit-start.ts';
import type { FillRecord } from '../../../src/provision/ports/ledger.ts';
import { domainXml, MIB, silent, until, World } from '../world.ts';

const HOUR_MS = 3_600_000;

function vm(index: number) {
  return { uuid: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`, name: `vm${index}` };
}

const recordOf = (world: World, index: number) => world.ledger.fillOf(vm(index).uuid, 'vda');
const codeOf = (world: World, index: number) => recordOf(world, index)?.problem?.code;
const isReady = (world: World, index: number) =>
  readMark(world.volume(`vm${index}`)?.tags ?? []).state === 'ready';

/** Fills of vm0, vm1, …, of which the first runs and stands still; resolves when all have been looked at. */
async function crowd(count: number, limits: { readonly queueMax: number; readonly deadlineMs?: number }) {
  const world = new World({ limits: { concurrentMax: 1, ...limits } });
  /** In the order in which they began. */
  const begun: string[] = [];
  const putFill = world.ledger.putFill.bind(world.ledger);
  world.ledger.putFill = (record) => {
    if (record.state === 'filling') begun.push(record.domainName);
    putFill(record);
  };
  world.images.hold();
  for (let index = 0; index < count; index++) {
    world.define(vm(index));
    await until('looked at', () => recordOf(world, index) !== undefined);
  }
  return { world, begun };
}

describe('a queue that is full', () => {
  it('refuses the next ones with QUEUE_FULL, and all are filled in the end', async () => {
    const { world } = await crowd(5, { queueMax: 2 });
    expect([0, 1, 2, 3, 4].map((index) => codeOf(world, index))).toEqual([
      ...[undefined, undefined, undefined, 'QUEUE_FULL', 'QUEUE_FULL'],
    ]);
    expect((await world.verbs.domain('vm4')).volumes[0]?.problem).toMatchObject({
      message: '2 fills are waiting for their turn already, which is as many as may.',
    });
    world.images.letGo();
    await until('all are published', () => {
      world.clock.advance(100);
      return [0, 1, 2, 3, 4].every((index) => isReady(world, index));
    });
  });

  it('has a place for whoever stands there, at the front, instead of the last one nobody waits for', async () => {
    const { world, begun } = await crowd(3, { queueMax: 2 });
    const answer = admitStart(world.admit, 'prepare', domainXml(vm(9)));
    await until('queued', () => world.fills.runningFor(vm(9).uuid).length === 1);
    expect([codeOf(world, 1), codeOf(world, 2)]).toEqual([undefined, 'QUEUE_FULL']);
    world.images.letGo();
    expect(await answer).toMatchObject({ allowed: true });
    await until('all are published', () => {
      world.clock.advance(100);
      return [0, 1, 2, 9].every((index) => isReady(world, index));
    });
    expect(begun).toEqual(['vm0', 'vm9', 'vm1', 'vm2']);
  });

  it('tells whoever stands there, if somebody stands there for each place', async () => {
    const { world } = await crowd(1, { queueMax: 1 });
    void admitStart(world.admit, 'prepare', domainXml(vm(8)));
    await until('queued', () => world.fills.runningFor(vm(8).uuid).length === 1);
    const answer = await admitStart(world.admit, 'prepare', domainXml(vm(9)));
    expect(answer).toMatchObject({ allowed: false, problems: [{ code: 'QUEUE_FULL' }] });
    expect(world.fills.runningFor(vm(8).uuid)).toHaveLength(1);
  });

  it('keeps what an interrupted fill has', async () => {
    const { world } = await crowd(1, { queueMax: 1, deadlineMs: HOUR_MS });
    const held = world.names();
    expect(held).toHaveLength(1);
    world.clock.advance(HOUR_MS);
    await until('late', () => codeOf(world, 0) === 'FILL_DEADLINE');
    for (const index of [1, 2]) {
      world.define(vm(index));
      await until('looked at', () => recordOf(world, index) !== undefined);
    }
    world.clock.advance(5_000);
    await until('refused', () => codeOf(world, 0) === 'QUEUE_FULL');
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(expect.arrayContaining(held));
    world.images.letGo();
    await until('published', () => {
      world.clock.advance(100);
      return isReady(world, 0);
    });
    expect(readMark(world.volume('vm0')?.tags ?? [])).toMatchObject({ fillId: held[0]?.slice(-16) });
  });
});

describe('a start that waits', () => {
  it('comes before all others, however many wait', async () => {
    const { world, begun } = await crowd(40, { queueMax: 1000 });
    const answer = admitStart(world.admit, 'prepare', domainXml(vm(38)));
    // Until it waits for its fill, which is when that is moved.
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    world.images.letGo();
    expect(await answer).toMatchObject({ allowed: true });
    expect(begun.slice(0, 2)).toEqual(['vm0', 'vm38']);
    await world.fills.stop();
  });
});

describe('a fill that waits for its turn', () => {
  it('is cancelled at once, whatever the others do', async () => {
    const { world } = await crowd(3, { queueMax: 10 });
    expect(await world.verbs.cancel('vm1')).toMatchObject({ volumes: [{ state: 'cancelled' }] });
    world.images.letGo();
    await until('the others are published', () => isReady(world, 0) && isReady(world, 2));
    expect(isReady(world, 1)).toBe(false);
  });
});

describe('looking at many domains', () => {
  it('gives others their turn, and reads again what a fill has changed meanwhile', async () => {
    const world = new World();
    // Every look at the clock takes long, as if each write to the ledger did.
    world.clock.monotonicMs = () => world.clock.nowMs() + (looks += 10);
    let looks = 0;
    const turns = { count: 0 };
    const sleep = world.clock.sleep.bind(world.clock);
    world.clock.sleep = (durationMs, signal) => {
      if (durationMs > 0) return sleep(durationMs, signal);
      turns.count += 1;
      return new Promise((resolve) => setImmediate(resolve));
    };
    world.images.hold();
    for (let index = 0; index < 20; index++) world.define(vm(index));
    await until('all are known', () => world.ledger.domains().length === 20);
    expect(turns.count).toBeGreaterThan(5);
    world.images.letGo();
    await until('all are published', () => {
      world.clock.advance(1_000);
      return Array.from({ length: 20 }, (_, index) => isReady(world, index)).every(Boolean);
    });
    expect(world.ledger.fills().every(({ state }) => state === 'ready')).toBe(true);
  });
});

describe('between two domains', () => {
  it('a fill that ends meanwhile is not missed', async () => {
    const said: string[] = [];
    const hear = (fields: object) => said.push(JSON.stringify(fields));
    const world = new World({ log: { ...silent, info: hear, warn: hear, error: hear } });
    world.images.hold();
    world.define(vm(1));
    await until('a private volume', () => world.names().length === 1);
    let looks = 0;
    let turns = 0;
    world.clock.monotonicMs = () => world.clock.nowMs() + (looks += 10);
    const sleep = world.clock.sleep.bind(world.clock);
    world.clock.sleep = async (durationMs, signal) => {
      if (durationMs > 0) return sleep(durationMs, signal);
      world.images.letGo();
      await until('ended', () => isReady(world, 1) && world.fills.runningFor(vm(1).uuid).length === 0);
      turns += 1;
    };
    // Both at once, the other one first.
    world.define({ ...vm(0), attributes: "size='8MiB'" });
    world.reconciler.request(vm(1).uuid);
    await until('both are published', () => isReady(world, 0) && isReady(world, 1));
    await world.reconciler.requestAll();
    await until('both have been looked at again', () => turns > 1);
    expect(said.filter((line) => line.includes('VOLUME_MISSING'))).toEqual([]);
  });
});

describe('a host with a write rate', () => {
  it('fills as fast as it may, and ends at once when it is to end', async () => {
    const world = new World({ writeBytesPerSecond: MIB });
    const startedMs = world.clock.nowMs();
    world.define(vm(0));
    await until('published', () => {
      if (world.names().length > 0) world.clock.advance(1);
      return isReady(world, 0);
    });
    // The first MiB is free, and the last half KiB costs nobody a wait.
    expect(world.clock.nowMs() - startedMs).toBeGreaterThan(2_500);
    expect(world.isFilled('vm0')).toBe(true);
    world.define(vm(1));
    await until(
      'it waits',
      () => world.fills.progressOf(recordOf(world, 1)?.fillId ?? '')?.phase === 'filling',
    );
    world.undefine(vm(1).uuid);
    await until('forgotten', () => recordOf(world, 1) === undefined && world.names().length === 1);
  });
});

describe('the deadline of a fill', () => {
  it('ends it, says how far it was, and it goes on in the same volume after a pause', async () => {
    const { world } = await crowd(1, { queueMax: 10, deadlineMs: HOUR_MS });
    const names = world.names();
    world.clock.advance(HOUR_MS - 1);
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(recordOf(world, 0)?.state).toBe('filling');
    world.clock.advance(1);
    await until('late', () => recordOf(world, 0)?.state === 'failed');
    expect(recordOf(world, 0)?.problem).toMatchObject({
      code: 'FILL_DEADLINE',
      message:
        'The fill of vg0/vm0 from images/small.raw has not ended within 1h: it was filling, at 0 % of 3.0 MiB, with 0 B a second.',
    });
    await world.reconciler.requestAll();
    expect(world.names()).toEqual(names);
    world.images.letGo();
    await until('published', () => {
      world.clock.advance(5_000);
      return isReady(world, 0);
    });
    expect(readMark(world.volume('vm0')?.tags ?? [])).toMatchObject({ fillId: names[0]?.slice(-16) });
  });

  it('does not count what it waits for its turn', async () => {
    const { world } = await crowd(2, { queueMax: 10, deadlineMs: HOUR_MS });
    world.clock.advance(HOUR_MS);
    await until('the second has its turn', () => recordOf(world, 1)?.state === 'filling');
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(recordOf(world, 1)?.state).toBe('filling');
  });

  it('does not cut off publishing, and leaves the last word to a cancellation', async () => {
    const { ledger, clock } = new World();
    const ends: Record<string, PromiseWithResolvers<string>> = {};
    const runs: Record<string, FillRun> = {};
    const fills = new Fills(
      { freeze: { frozen: () => undefined }, ledger, clock, log: silent },
      ({ fillId }, _task, run) => {
        runs[fillId] = run;
        return (ends[fillId] = Promise.withResolvers<string>()).promise;
      },
      { concurrentMax: 2, queueMax: 2, deadlineMs: HOUR_MS },
    );
    fills.begin(record('a', 0), { from: 'new' });
    fills.begin(record('b', 1), { from: 'new' });
    runs['a']?.phase('publishing');
    clock.advance(HOUR_MS);
    await until('late', () => runs['b']?.signal.aborted === true);
    expect(runs['a']?.signal.aborted).toBe(false);
    fills.cancel('b', 'by hand', 'kept');
    ends['a']?.resolve('0'.repeat(64));
    ends['b']?.reject(new Error('aborted'));
    await fills.settled(['a', 'b']);
    expect([0, 1].map((index) => ledger.fillOf(vm(index).uuid, 'vda')?.state)).toEqual([
      'ready',
      'cancelled',
    ]);
  });
});

function record(fillId: string, index: number): FillRecord {
  return {
    ...{ fillId, domainUuid: vm(index).uuid, domainName: vm(index).name, state: 'waiting', attempts: 0 },
    request: {
      ...{ target: 'vda', image: { bucket: 'images', key: 'small.raw' }, format: 'raw', generation: 1 },
    },
    location: { pool: 'guests', vg: 'vg0', lv: vm(index).name },
    ...{ createdAtMs: 0, updatedAtMs: 0 },
  };
}

describe('a volume group that is too small', () => {
  const EXTENTS_OF_8_MIB = 2;

  it('is not counted on twice; the other one is filled as soon as there is room', async () => {
    const world = new World();
    world.volumes.lvm.freeExtents = 3;
    world.images.hold();
    for (const index of [0, 1]) world.define({ ...vm(index), attributes: "size='8MiB'" });
    await until('one has no room', () => [0, 1].some((index) => codeOf(world, index) === 'VG_FULL'));
    const [winner, loser] = codeOf(world, 0) === undefined ? [0, 1] : [1, 0];
    expect(recordOf(world, loser)?.problem?.message).toMatch(
      /too little room for the volume vm\d: wanted are 8388608/,
    );
    world.images.letGo();
    await until('published', () => isReady(world, winner));
    // Without a step of the clock: not for its pause.
    world.volumes.lvm.freeExtents += EXTENTS_OF_8_MIB;
    await world.reconciler.requestAll();
    await until('published', () => isReady(world, loser));
    expect(world.volume(`vm${loser}`)?.bytes.length).toBe(8 * MIB);
  });

  it('has room again when a fill gives its space back', async () => {
    const world = new World({ keepFree: new Map([['vg0', { bytes: 4 * MIB }]]) });
    world.volumes.lvm.freeExtents = 3;
    world.images.hold();
    world.define({ ...vm(0), attributes: "size='8MiB'" });
    await until('a private volume', () => world.names().length === 1);
    world.define({ ...vm(1), attributes: "size='8MiB'" });
    await until('no room', () => codeOf(world, 1) === 'VG_FULL');
    expect(recordOf(world, 1)?.problem?.message).toContain('4194304 bytes (4.0 MiB) are to stay free');
    const remove = world.volumes.remove.bind(world.volumes);
    world.volumes.remove = (lv) => {
      remove(lv);
      world.volumes.lvm.freeExtents += EXTENTS_OF_8_MIB;
    };
    world.images.letGo();
    world.undefine(vm(0).uuid);
    await until('published', () => isReady(world, 1));
  });
});
