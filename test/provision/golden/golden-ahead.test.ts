/**
 * Goal: a golden volume that nobody waits for yet makes way for whatever somebody waits for, and is as quick as any fill
 * as soon as somebody waits for it. Method: the real golden volumes over a world in memory, and time that is moved.
 */
import { describe, expect, it, vi } from 'vitest';
import type { Frozen } from '../../../src/core/frozen.ts';
import type { VolumeRequest } from '../../../src/core/request.ts';
import { goldenAhead, goldenRequestOf, requireGolden } from '../../../src/provision/golden/golden-ahead.ts';
import { LowPriority } from '../../../src/provision/stream/low-priority.ts';
import { digestOf, run, thinWorld } from '../thin-world.ts';
import type { World } from '../world.ts';
import { MIB, silent, until } from '../world.ts';

const wanted: VolumeRequest = {
  ...{ target: 'vda', image: { bucket: 'images', key: 'small.raw' }, format: 'raw', generation: 1 },
};
const requestIn = (world: World) => {
  const request = goldenRequestOf(wanted, { sha256: digestOf(world.image) });
  if (request === undefined) throw new Error('unproven');
  return request;
};
const aheadIn = (world: World) => goldenAhead(world.goldens, world.volumes.thinPools, silent);
const signal = new AbortController().signal;

/** What may have to wait for others, and how much it has asked to read. */
function calmly(world: World) {
  const fills = { queuedCount: 0 };
  const take = vi.fn<(bytes: number) => Promise<void>>(() => Promise.resolve());
  const state: { frozen: Frozen | undefined } = { frozen: undefined };
  const freeze = { frozen: () => state.frozen };
  const priority = new LowPriority({ clock: world.clock, freeze, fills, rate: { take } });
  const taken = () => take.mock.calls.reduce((sum, [bytes]) => sum + bytes, 0);
  return { fills, taken, state, priority };
}

/** Whether the work has ended by the time that everything else has had many turns, and so many seconds have passed. */
async function endsWithin(world: World, seconds: number, work: Promise<unknown>): Promise<boolean> {
  const end = { isThere: false };
  void work.then(
    () => (end.isThere = true),
    () => (end.isThere = true),
  );
  for (let second = 0; second <= seconds && !end.isThere; second += 1) {
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    if (second < seconds) world.clock.advance(1_000);
  }
  return end.isThere;
}

describe('a golden volume ahead of time', () => {
  it('is made once, is there then, and says how far it is', async () => {
    const world = thinWorld();
    const ahead = aheadIn(world);
    const sha256 = digestOf(world.image);
    expect(await ahead.has('vg0', requestIn(world))).toBeUndefined();
    const seen: (readonly [number, number])[] = [];
    const onProgress = (...progress: [number, number]) => void seen.push(progress);
    expect(await ahead.ensure('vg0', requestIn(world), { signal, onProgress })).toBe(sha256);
    expect(seen.at(-1)).toEqual([world.image.length, world.image.length]);
    expect(await ahead.has('vg0', requestIn(world))).toBe(sha256);
    await ahead.ensure('vg0', requestIn(world), { signal, onProgress });
    expect(await world.goldens.list()).toHaveLength(1);
  });

  it('needs a thin pool, and something that proves its image', async () => {
    const world = thinWorld();
    const ahead = aheadIn(world);
    const onProgress = () => undefined;
    await expect(ahead.has('vg9', requestIn(world))).rejects.toMatchObject({ code: 'POOL_UNSUITABLE' });
    const making = ahead.ensure('vg9', requestIn(world), { signal, onProgress });
    await expect(making).rejects.toMatchObject({ code: 'POOL_UNSUITABLE' });
    expect(() => requireGolden(undefined, 'vg0')).toThrow('vg0');
    expect(goldenRequestOf(wanted, {})).toBeUndefined();
    expect(goldenRequestOf(wanted, { sha512: 'ab' })?.provenBy).toEqual(['sha512:ab']);
  });

  it('rests while a volume waits for its turn, and takes no more than its rate', async () => {
    const world = thinWorld();
    const { fills, priority, taken } = calmly(world);
    fills.queuedCount = 1;
    const making = aheadIn(world).ensure('vg0', requestIn(world), {
      ...{ signal, priority, onProgress: () => undefined },
    });
    expect(await endsWithin(world, 100, making)).toBe(false);
    expect(priority.pausedBy).toBe('fills');
    expect(await world.goldens.list()).toEqual([]);
    fills.queuedCount = 0;
    await until('made', () => {
      world.clock.advance(1_000);
      return priority.pausedBy === undefined;
    });
    expect(await endsWithin(world, 100, making)).toBe(true);
    expect(taken()).toBeGreaterThanOrEqual(world.image.length);
  });

  it('does not let a fill wait that wants it, whoever else waits', async () => {
    const world = thinWorld();
    const { fills, priority } = calmly(world);
    fills.queuedCount = 1;
    const making = aheadIn(world).ensure('vg0', requestIn(world), {
      ...{ signal, priority, onProgress: () => undefined },
    });
    await until('rests', () => priority.pausedBy === 'fills');
    expect(await endsWithin(world, 10, world.goldens.ensure('vg0', requestIn(world), run()))).toBe(true);
    expect(await endsWithin(world, 0, making)).toBe(true);
    expect(await world.goldens.list()).toHaveLength(1);
  });

  it('rests while the host is frozen, whoever waits', async () => {
    const world = thinWorld();
    const { state, priority } = calmly(world);
    state.frozen = { reason: 'test' };
    const making = aheadIn(world).ensure('vg0', requestIn(world), {
      ...{ signal, priority, onProgress: () => undefined },
    });
    await until('rests', () => priority.pausedBy === 'frozen');
    expect(await endsWithin(world, 20, world.goldens.ensure('vg0', requestIn(world), run()))).toBe(false);
    state.frozen = undefined;
    expect(await endsWithin(world, 20, making)).toBe(true);
  });
});

describe('the fill of a golden volume', () => {
  it('is no faster than fills may write', async () => {
    const world = thinWorld({ writeBytesPerSecond: MIB });
    const making = world.goldens.ensure('vg0', requestIn(world), run());
    const beganMs = world.clock.nowMs();
    expect(await endsWithin(world, 60, making)).toBe(true);
    expect(world.clock.nowMs() - beganMs).toBeGreaterThanOrEqual(2_000);
  });
});
