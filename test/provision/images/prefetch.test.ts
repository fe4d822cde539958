/**
 * Goal: what the rules choose is here before anybody asks, is what it should be, stays while it is pinned, and takes
 * nothing from anybody who waits. Method: the real cache over a store in memory, and a clock that the test moves.
 */
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SystemDecompressors } from '../../../src/adapters/decompressors.ts';
import { volumeRequestOf } from '../../../src/provision/images/image-verbs.ts';
import type { GoldenAhead } from '../../../src/provision/golden/golden-ahead.ts';
import { LeasedImage } from '../../../src/provision/fill/leased-image.ts';
import { readImage } from '../../../src/provision/stream/read-image.ts';
import type { ImagePolicy } from '../../../src/provision/fill/resolve-image.ts';
import { WarmImages } from '../../../src/provision/images/warm-images.ts';
import { MIB, POLICY, PrefetchWorld, RULE } from '../prefetch-world.ts';
import { silent } from '../world.ts';

let world: PrefetchWorld;
beforeEach(async () => {
  world = await PrefetchWorld.make();
});
afterEach(() => world.close());

const until = (condition: () => boolean | Promise<boolean>) =>
  vi.waitFor(async () => {
    expect(await condition()).toBe(true);
  }, 10_000);

/** Lets time pass until something is so. */
async function whenIt(condition: () => boolean | Promise<boolean>, stepMs = 1_000): Promise<void> {
  await vi.waitFor(
    async () => {
      world.clock.advance(stepMs);
      expect(await condition()).toBe(true);
    },
    { timeout: 20_000, interval: 1 },
  );
}

describe('a look', () => {
  it('brings what fits, with its proof, and nothing else; a second one reads nothing', async () => {
    world.store.putImage('images/a.raw');
    world.store.putImage('images/b/c.raw');
    world.store.putImage('images/other.img');
    await world.prefetcher.look();
    expect(await world.cached()).toEqual(['images/a.raw', 'images/b/c.raw']);
    const read = new Map(world.store.readBytes);
    await world.prefetcher.look();
    expect(world.store.readBytes).toEqual(read);
    expect(world.audited).toMatchObject([
      { who: 'daemon', what: 'image prefetch', outcome: 'done' },
      { who: 'daemon', what: 'image prefetch', outcome: 'done' },
    ]);
  });

  it('refuses what a fill would refuse, in the same words, and once', async () => {
    world.store.put('images/unproven.raw', randomBytes(1_000 * 512));
    world.store.putImage('images/wrong.raw');
    world.store.put('images/wrong.raw.sha256', `${'0'.repeat(64)}\n`);
    const hostile = Buffer.alloc(MIB);
    hostile.write('QFI\u00fb', 'latin1');
    world.store.put('images/hostile.raw.sha256', `${world.store.put('images/hostile.raw', hostile)}\n`);
    await world.prefetcher.look();
    await world.prefetcher.look();
    expect(await world.cached()).toEqual([]);
    expect(world.problems()).toEqual({
      'images/unproven.raw': 'DIGEST_MISSING',
      'images/wrong.raw': 'DIGEST_MISMATCH',
      'images/hostile.raw': 'IMAGE_FORBIDDEN_FEATURE',
    });
    expect(world.audited).toHaveLength(3);
    expect(world.store.readBytes.get('images/wrong.raw')).toBeLessThan(2 * MIB);
  });

  it('tries a refused one again when what proves it comes, and otherwise seldom', async () => {
    world.store.put('images/a.raw', randomBytes(MIB));
    await world.prefetcher.look();
    const stat = vi.spyOn(world.store, 'stat');
    for (let looks = 0; looks < 5; looks += 1) await world.prefetcher.look();
    expect(stat).not.toHaveBeenCalled();
    const sha256 = world.store.put('images/a.raw', randomBytes(MIB));
    world.store.put('images/a.raw.sha256', sha256);
    await world.prefetcher.look();
    expect(await world.cached()).toEqual(['images/a.raw']);
    expect(world.problems()).toEqual({});
  });

  it('keeps to the limits of the rule, the newest first, and to the size of the cache', async () => {
    await world.restart({ rules: [{ ...RULE, countMax: 2 }], budgetBytes: 100 * MIB });
    for (const name of ['a', 'b', 'c']) world.store.putImage(`images/${name}.raw`);
    await world.prefetcher.look();
    expect(await world.cached()).toEqual(['images/b.raw', 'images/c.raw']);
    expect(world.prefetcher.state.rules()).toMatchObject([{ beyond: 1 }]);
    await world.restart({ rules: [{ ...RULE, pin: false }], budgetBytes: 2.5 * MIB });
    world.store.putImage('images/d.raw');
    await world.prefetcher.look();
    expect((await world.cached()).length).toBeLessThanOrEqual(2);
    expect(world.prefetcher.state.rules()).toMatchObject([{ beyond: 2 }]);
  });

  it('refuses what no rule of the policy lets any domain have', async () => {
    const hostPolicy = [{ name: 'prod', allow: true, images: ['images/prod/'] }];
    await world.restart({ hostPolicy });
    world.store.putImage('images/a.raw');
    world.store.putImage('images/prod/b.raw');
    await world.prefetcher.look();
    expect(await world.cached()).toEqual(['images/prod/b.raw']);
    expect(world.problems()).toEqual({ 'images/a.raw': 'POLICY_REFUSED' });
    expect(world.audited).toContainEqual(expect.objectContaining({ decision: 'denied', outcome: 'refused' }));
  });

  it('leaves everything as it is while the store cannot be listed', async () => {
    const sha256 = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    world.store.buckets.listFails = 'STORE_UNREACHABLE';
    await world.prefetcher.look();
    expect(world.prefetched.isPinned(sha256)).toBe(true);
    expect(world.prefetcher.state.rules()).toMatchObject([{ problem: { code: 'STORE_UNREACHABLE' } }]);
  });
});

describe('a fill of what was brought', () => {
  const { signal } = new AbortController();
  const fillFrom = async (policy: Partial<ImagePolicy> = {}) => {
    const needs = {
      ...{
        images: world.store,
        cache: world.cache,
        clock: world.clock,
        decompressors: new SystemDecompressors(),
      },
      policy: { ...POLICY, ...policy },
    };
    const request = volumeRequestOf({ image: 'images/a.raw', format: 'raw' });
    const leased = new LeasedImage(needs, request, { signal, log: silent, isImageWanted: () => false });
    const sha256 = await leased.use((image) => readImage(world, image, signal, () => undefined));
    const { from } = leased;
    await leased.close();
    return { sha256, from };
  };

  it('reads none of its bytes from the store', async () => {
    const sha256 = world.store.putImage('images/a.raw', 20 * MIB);
    await world.prefetcher.look();
    const before = world.store.readBytes.get('images/a.raw');
    expect(await fillFrom()).toEqual({ sha256, from: 'cache' });
    expect(world.store.readBytes.get('images/a.raw')).toBe(before);
  });

  it('neither does so where a SHA-512 is all that proves it, and compares that again', async () => {
    const bytes = randomBytes(2 * MIB);
    const sha256 = world.store.put('images/a.raw', bytes);
    const sha512 = createHash('sha512').update(bytes).digest('hex');
    world.store.put('images/a.raw.sha512', `${sha512}\n`);
    await world.prefetcher.look();
    const before = world.store.readBytes.get('images/a.raw') ?? 0;
    expect(await fillFrom()).toEqual({ sha256, from: 'cache' });
    expect(world.store.readBytes.get('images/a.raw')).toBe(before);
    await writeFile(path.join(world.folder, 'cache', sha256), 'damaged', { flag: 'r+' });
    expect(await fillFrom()).toEqual({ sha256, from: 'store' });
    expect(world.store.readBytes.get('images/a.raw')).toBeGreaterThanOrEqual(before + bytes.length);
  });

  it('is told of beforehand', async () => {
    const sha256 = world.store.putImage('images/a.raw');
    const warm = new WarmImages(world.cache, world.prefetched);
    const request = volumeRequestOf({ image: 'images/a.raw', format: 'raw' });
    const targets = (change: object = {}) => warm.targetsOf([{ ...request, ...change }]);
    expect(await targets({ sha256 })).toEqual(new Set());
    await world.prefetcher.look();
    expect(await targets()).toEqual(new Set(['vda']));
    expect(await targets({ sha256 })).toEqual(new Set(['vda']));
    expect(await targets({ sha256: '0'.repeat(64) })).toEqual(new Set());
    expect(await targets({ version: 'another' })).toEqual(new Set());
  });
});

describe('a golden volume', () => {
  const made: string[] = [];
  const golden: GoldenAhead = {
    has: (vg, { sha256 = '' }) => Promise.resolve(made.includes(`${vg} ${sha256}`) ? sha256 : undefined),
    ensure: (vg, { sha256, provenBy = [] }) => {
      made.push(`${vg} ${sha256 ?? provenBy.join()}`);
      return Promise.resolve(sha256 ?? 'f'.repeat(64));
    },
  };
  const rules = [{ ...RULE, toCache: false, toGroups: ['vg0'] }];
  beforeEach(() => {
    made.length = 0;
  });

  it('is made once for each digest, and again when a pinned one is gone', async () => {
    await world.restart({ rules, golden });
    const first = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    await world.prefetcher.look();
    expect(made).toEqual([`vg0 ${first}`]);
    expect(world.prefetched.isPinned(first)).toBe(true);
    expect(await world.cached()).toEqual([]);
    made.length = 0;
    await world.prefetcher.look();
    expect(made).toEqual([`vg0 ${first}`]);
    const second = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    expect(made).toEqual([`vg0 ${first}`, `vg0 ${second}`]);
    expect([first, second].map((sha256) => world.prefetched.isPinned(sha256))).toEqual([false, true]);
  });

  it('is not begun while a volume waits, and needs a thin pool and some digest', async () => {
    await world.restart({ rules, golden });
    world.store.putImage('images/a.raw');
    world.waiting.queuedCount = 1;
    const looking = world.prefetcher.look();
    await until(() => world.clock.sleeping > 0);
    expect(made).toEqual([]);
    world.waiting.queuedCount = 0;
    await whenIt(() => made.length === 1);
    await looking;
    const bytes = randomBytes(MIB);
    world.store.put('images/b.raw', bytes);
    world.store.put('images/b.raw.sha512', createHash('sha512').update(bytes).digest('hex'));
    await world.prefetcher.look();
    expect(made[1]).toBe(`vg0 sha512:${createHash('sha512').update(bytes).digest('hex')}`);
    expect(world.problems()).toEqual({});
    await world.restart({ rules });
    await world.prefetcher.look();
    expect(world.problems()).toMatchObject({ 'images/a.raw': 'POOL_UNSUITABLE' });
  });
});

describe('what is pinned', () => {
  it('is not evicted, not by gc and not by rm, also after a restart without a store', async () => {
    const pinned = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    world.store.buckets.listFails = 'STORE_UNREACHABLE';
    await world.restart({ budgetBytes: 1 });
    await world.prefetcher.look();
    expect(await world.cache.evict('all')).toEqual([]);
    await expect(world.cache.remove(pinned)).rejects.toMatchObject({ code: 'POLICY_REFUSED' });
    expect(await world.cached()).toEqual(['images/a.raw']);
  });

  it('is no longer when the rule is gone, the object is gone, or there is a new one', async () => {
    const old = world.store.putImage('images/a.raw');
    const gone = world.store.putImage('images/b.raw');
    await world.prefetcher.look();
    const replaced = world.store.putImage('images/a.raw');
    world.store.remove('images/b.raw');
    await world.prefetcher.look();
    expect([old, gone, replaced].map((sha256) => world.prefetched.isPinned(sha256))).toEqual([
      false,
      false,
      true,
    ]);
    expect((await world.cache.evict('all')).map(({ sha256 }) => sha256).sort()).toEqual([old, gone].sort());
    await world.restart({ rules: [] });
    expect(world.prefetched.isPinned(replaced)).toBe(false);
  });

  it('stays when the new one is refused', async () => {
    const good = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    world.store.put('images/a.raw', randomBytes(MIB + 512));
    await world.prefetcher.look();
    expect(world.problems()).toEqual({ 'images/a.raw': 'DIGEST_MISMATCH' });
    expect(world.prefetched.isPinned(good)).toBe(true);
  });

  it('comes back when it is lost; what is not pinned does so only when it is another one', async () => {
    world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    await world.restart({ rules: [] });
    await world.cache.evict('all');
    await world.restart();
    await world.prefetcher.look();
    expect(await world.cached()).toEqual(['images/a.raw']);
    const free = { rules: [{ ...RULE, pin: false }] };
    await world.restart(free);
    await world.prefetcher.look();
    await world.cache.evict('all');
    await world.prefetcher.look();
    await world.restart(free);
    await world.prefetcher.look();
    expect(await world.cached()).toEqual([]);
    world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    expect(await world.cached()).toEqual(['images/a.raw']);
  });

  it('may be any golden volume of an image of the rule as long as nothing is known of that image', async () => {
    const mayPin = (sha256: string, image = 'images/a.raw') => world.prefetched.mayPin({ sha256, image });
    const tooLong = `:sha256:${'0'.repeat(64)}`;
    const old = 'e'.repeat(64);
    expect([mayPin(old), mayPin(old, 'images/a.iso'), mayPin(old, tooLong)]).toEqual([true, false, true]);
    const sha256 = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    expect([mayPin(sha256), mayPin(old), mayPin(old, 'images/gone.raw'), mayPin(old, tooLong)]).toEqual([
      ...[true, false, false, false],
    ]);
    await writeFile(path.join(world.folder, 'prefetched.json'), '');
    world.store.buckets.listFails = 'STORE_UNREACHABLE';
    await world.restart();
    await world.prefetcher.look();
    expect([mayPin(sha256), mayPin(old)]).toEqual([true, true]);
    await world.restart({ rules: [{ ...RULE, pin: false }] });
    expect(mayPin(sha256)).toBe(false);
  });

  it('is found out again when what was written down is damaged', async () => {
    const sha256 = world.store.putImage('images/a.raw');
    await world.prefetcher.look();
    await writeFile(path.join(world.folder, 'prefetched.json'), '{"images":[{}]}');
    await world.restart();
    expect(world.prefetched.isPinned(sha256)).toBe(false);
    const before = world.store.readBytes.get('images/a.raw');
    await world.prefetcher.look();
    expect(world.prefetched.isPinned(sha256)).toBe(true);
    expect(world.store.readBytes.get('images/a.raw')).toBe(before);
  });
});

describe('news from the store', () => {
  const lists = () => world.store.buckets.asked.filter((asked) => asked.startsWith('list')).length;

  it('make it look again at once; many together do so once', async () => {
    world.prefetcher.start();
    await until(() => lists() > 0 && world.store.buckets.listening.size === 1);
    await whenIt(() => lists() === 2);
    world.store.putImage('images/a.raw');
    for (let times = 0; times < 1_000; times += 1) world.store.buckets.announce('images', 'a.raw');
    await whenIt(async () => (await world.cached()).length === 1, 100);
    await whenIt(() => world.clock.sleeping > 0, 0);
    expect(lists()).toBeLessThanOrEqual(4);
  });

  it('that are false do no harm', async () => {
    world.prefetcher.start();
    await until(() => world.store.buckets.listening.size === 1);
    world.store.buckets.announce('images', 'nothing-of-the-kind.raw');
    const before = lists();
    await whenIt(() => lists() > before);
    expect(await world.cached()).toEqual([]);
    expect(world.problems()).toEqual({});
  });

  it('that are lost are made up for at the next interval', async () => {
    world.store.buckets.listenFails = 'not-offered';
    world.prefetcher.start();
    await until(() => lists() > 0);
    world.store.putImage('images/a.raw');
    await whenIt(async () => (await world.cached()).length === 1, 60_000);
    expect(world.prefetcher.news.states()).toMatchObject([{ state: 'polling' }]);
  });

  it('are asked for again after a break, with pauses that grow', async () => {
    world.prefetcher.start();
    await until(() => world.store.buckets.listening.size === 1);
    world.store.buckets.listenFails = 'failed';
    world.store.buckets.breakOff();
    const asks = () => world.store.buckets.asked.filter((asked) => asked.startsWith('listen')).length;
    for (let minutes = 0; minutes < 60; minutes += 1) {
      for (let seconds = 0; seconds < 60; seconds += 1) world.clock.advance(1_000);
      await turn();
      await turn();
    }
    expect(asks()).toBeLessThan(40);
    expect(asks()).toBeGreaterThan(10);
  });

  it('that came while the connection was broken are made up for as soon as there is a new one', async () => {
    world.prefetcher.start();
    await until(() => world.store.buckets.listening.size === 1);
    await whenIt(() => lists() === 2);
    world.store.buckets.breakOff();
    await until(() => world.store.buckets.listening.size === 0);
    world.store.putImage('images/a.raw');
    const brokenAtMs = world.clock.nowMs();
    await whenIt(async () => (await world.cached()).length === 1, 10);
    expect(world.clock.nowMs() - brokenAtMs).toBeLessThan(600_000);
  });

  it('stop with the daemon', async () => {
    world.prefetcher.start();
    await until(() => world.store.buckets.listening.size === 1);
    await world.prefetcher.stop();
    expect(world.store.buckets.listening.size).toBe(0);
  });
});

describe('low priority', () => {
  it.each([
    ['while the host is frozen', 'frozen'],
    ['while a volume waits for its turn', 'fills'],
  ] as const)('rests %s, in the middle of an image too', async (_when, why) => {
    const stand = (still: boolean) => {
      world.frozen = still && why === 'frozen' ? { reason: 'test' } : undefined;
      world.waiting.queuedCount = still && why === 'fills' ? 1 : 0;
    };
    world.store.putImage('images/a.raw', 30 * MIB);
    let reads = 0;
    world.store.beforeRead = () => {
      reads += 1;
      if (reads === 2) stand(true);
      return Promise.resolve();
    };
    const looking = world.prefetcher.look();
    await until(() => world.clock.sleeping > 0);
    const before = reads;
    for (let seconds = 0; seconds < 100; seconds += 1) {
      world.clock.advance(1_000);
      await turn();
    }
    expect(reads).toBe(before);
    expect(reads).toBeLessThan(8);
    stand(false);
    await whenIt(async () => (await world.cached()).length === 1);
    await looking;
  });

  it('reads no faster than it may', async () => {
    const take = vi.fn(() => Promise.resolve());
    await world.restart({ rate: { take } });
    world.store.putImage('images/a.raw', 9 * MIB);
    await world.prefetcher.look();
    const taken = take.mock.calls.reduce((sum, [bytes]: readonly unknown[]) => sum + Number(bytes), 0);
    expect(taken).toBeGreaterThanOrEqual(world.store.readBytes.get('images/a.raw') ?? Infinity);
    expect(taken).toBeGreaterThanOrEqual(9 * MIB);
  });

  it('ends in the middle when the daemon does, and leaves nothing behind', async () => {
    world.store.putImage('images/a.raw', 30 * MIB);
    world.prefetcher.start();
    world.store.beforeRead = () => {
      world.frozen = { reason: 'test' };
      return Promise.resolve();
    };
    await until(() => world.frozen !== undefined && world.clock.sleeping > 0);
    await world.prefetcher.stop();
    expect(await world.cache.strays('list')).toEqual([]);
    expect(await world.cached()).toEqual([]);
    expect(world.audited).toEqual([]);
  });
});
