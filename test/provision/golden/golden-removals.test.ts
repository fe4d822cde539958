/**
 * Goal: golden volumes beyond the budget of their pool go, the least recently used first, never one that is used or
 * pinned, and whoever wants one gets it all the same; what was begun before a crash is met again. Method: the real verbs
 * of daemon and helper over a world in memory.
 */
import { describe, expect, it } from 'vitest';
import { goldenOf, imageIn, run, thinWorld } from '../thin-world.ts';
import { MIB, until } from '../world.ts';
import type { World } from '../world.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const clone = (number: number) => ({
  ...{ vg: 'vg0', fillId: number.toString(16).padStart(16, '0'), target: `x${number}`, domainUuid: uuid },
});

/** Room for two golden volumes of 1 MiB. */
const budgeted = (): World => thinWorld({ goldenMax: { bytes: 2 * MIB } });
const names = async (world: World) =>
  (await world.goldens.list()).map(({ seal }) => seal.image.slice(7, 8)).sort();

const image = (world: World, key: string) => imageIn(world, `${key}.raw`, key.charCodeAt(0));

/** Golden volumes of these images, one second after the other. */
async function made(world: World, keys: string) {
  const goldens = new Map<string, Awaited<ReturnType<typeof goldenOf>>>();
  for (const key of keys) {
    goldens.set(key, await goldenOf(world, image(world, key)));
    world.clock.advance(1_000);
  }
  const of = (key: string) => {
    const golden = goldens.get(key);
    if (golden === undefined) throw new Error(key);
    return golden;
  };
  return { of };
}

describe('golden volumes beyond their budget', () => {
  it('go by the time of their last clone, or of their fill where there is none', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    const before = world.goldens.usedAtMs(of('a'));
    await world.goldens.clone(of('a'), clone(1), MIB);
    expect(world.goldens.usedAtMs(of('a'))).toBe((before ?? 0) + 2_000);
    world.clock.advance(1_000);
    await made(world, 'c');
    const gone = await world.goldens.retire();
    expect(gone.map(({ lv }) => lv)).toEqual([of('b').lv]);
    expect(await names(world)).toEqual(['a', 'c']);
    expect(world.names()).toContain('vg0/lvp-fill-0000000000000001');
  });

  it('go by themselves after a fill, and at the next look', async () => {
    const world = budgeted();
    await made(world, 'abc');
    // What the helper measures here is nothing: only now there is too much.
    expect(await names(world)).toEqual(['a', 'b', 'c']);
    await world.goldens.ensure('vg0', image(world, 'd'), run());
    await world.goldens.idle();
    expect(await names(world)).toEqual(['b', 'c', 'd']);
    await made(world, 'e');
    await world.reconciler.requestAll();
    expect(await names(world)).toEqual(['c', 'd', 'e']);
  });

  it('stay while somebody holds or clones them, and while they are pinned', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    world.pinned.add(of('b').seal.sha256);
    await world.goldens.whileHeld('vg0', image(world, 'a'), run(), async (golden) => {
      await made(world, 'cd');
      await world.goldens.retire();
      expect(await names(world)).toEqual(['a', 'b', 'd']);
      await expect(world.goldens.drop(golden)).rejects.toMatchObject({ code: 'GOLDEN_IN_USE' });
    });
    await expect(world.goldens.drop(of('b'))).rejects.toMatchObject({ code: 'POLICY_REFUSED' });
    const cloning = world.goldens.clone(of('a'), clone(1), MIB);
    expect((await world.goldens.retire()).map(({ seal }) => seal.image)).toEqual(['images/d.raw']);
    await cloning;
    world.clock.advance(1_000);
    await made(world, 'e');
    await world.goldens.retire();
    expect(await names(world)).toEqual(['b', 'e']);
  });

  it('count as just used when nothing is known of them', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    for (const { fillId } of world.ledger.goldens()) world.ledger.removeGolden(fillId);
    world.restart();
    world.clock.advance(3_600_000);
    await world.reconciler.requestAll();
    expect(['a', 'b'].map((key) => world.goldens.usedAtMs(of(key)))).toEqual([
      world.clock.nowMs(),
      world.clock.nowMs(),
    ]);
    world.clock.advance(1_000);
    await world.goldens.clone(of('a'), clone(1), MIB);
    world.clock.advance(1_000);
    await made(world, 'c');
    await world.goldens.retire();
    expect(await names(world)).toEqual(['a', 'c']);
  });

  it('are forgotten once they are gone, whoever removed them', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    await world.goldens.drop(of('a'));
    world.volumes.remove(of('b').lv);
    await world.reconciler.requestAll();
    expect(world.ledger.goldens()).toEqual([]);
  });

  it('stay where it cannot be written down that they go, and are used all the same', async () => {
    const world = budgeted();
    const { of } = await made(world, 'abc');
    const putGolden = world.ledger.putGolden.bind(world.ledger);
    world.ledger.putGolden = () => {
      throw new Error('SQLITE_FULL');
    };
    await world.goldens.clone(of('a'), clone(1), MIB);
    expect(await world.goldens.retire()).toEqual([]);
    world.ledger.putGolden = putGolden;
    expect((await world.goldens.retire()).map(({ lv }) => lv)).toEqual([of('b').lv]);
  });
});

describe('a golden volume that was to be removed when the daemon ended', () => {
  const leaving = (world: World, fillId: string, why: 'asked' | 'over-budget' = 'asked') => {
    const [row] = world.ledger.goldens().filter((one) => one.fillId === fillId);
    if (row === undefined) throw new Error(fillId);
    world.ledger.putGolden({ ...row, leaving: why });
    world.restart();
  };

  it('is removed by the next one', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    leaving(world, of('a').seal.fillId);
    await world.reconciler.requestAll();
    expect(await names(world)).toEqual(['b']);
  });

  it('because it was beyond the budget stays if there is room by now', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    leaving(world, of('a').seal.fillId, 'over-budget');
    await world.reconciler.requestAll();
    expect(await names(world)).toEqual(['a', 'b']);
    expect(world.ledger.goldens().map((row) => row.leaving)).toEqual([undefined, undefined]);
  });

  it('stays if it was used since, or is pinned', async () => {
    const world = budgeted();
    const { of } = await made(world, 'ab');
    leaving(world, of('a').seal.fillId);
    await world.goldens.clone(of('a'), clone(1), MIB);
    await world.reconciler.requestAll();
    leaving(world, of('b').seal.fillId);
    world.pinned.add(of('b').seal.sha256);
    await world.reconciler.requestAll();
    expect(await names(world)).toEqual(['a', 'b']);
    expect(world.ledger.goldens().map((row) => row.leaving)).toEqual([undefined, undefined]);
  });

  it('because it is damaged is not trusted again, and goes', async () => {
    const world = budgeted();
    const { of } = await made(world, 'a');
    world.volume(of('a').lv)?.bytes.fill(0x11);
    // Somebody is just making a clone of it, so that it cannot be removed.
    await world.goldens.whileHeld('vg0', image(world, 'a'), run(), async (golden) => {
      const checking = world.goldens.check(golden, new AbortController().signal);
      let isOver = false;
      void checking.finally(() => (isOver = true)).catch(() => undefined);
      await until('checked', () => {
        world.clock.advance(20);
        return isOver;
      });
      expect(await checking).toMatchObject({ code: 'GOLDEN_DAMAGED' });
    });
    expect(await names(world)).toEqual(['a']);
    world.restart();
    const { lv } = await world.goldens.ensure('vg0', image(world, 'a'), run());
    expect(lv).not.toBe(of('a').lv);
    await world.reconciler.requestAll();
    expect((await world.goldens.list()).map((golden) => golden.lv)).toEqual([lv]);
  });
});

describe('whoever wants a golden volume that is being removed', () => {
  it('gets another one, however often that happens', async () => {
    const world = budgeted();
    const domains = [1, 2, 3, 4, 5, 6].map((number) => ({
      uuid: `${number}`.repeat(8) + '-1111-4111-8111-111111111111',
      ...{ name: `vm${number}`, source: 'block' as const },
    }));
    const rest = { isOver: false };
    const evicting = (async () => {
      while (!rest.isOver) {
        for (const golden of await world.goldens.list())
          await world.goldens.drop(golden).catch(() => undefined);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    for (const domain of domains) world.define(domain);
    const rows = () => domains.map(({ uuid: of }) => world.ledger.fillOf(of, 'vda'));
    await until('ended', () => rows().every((row) => row?.state === 'ready' || row?.state === 'failed'));
    rest.isOver = true;
    await evicting;
    expect(rows().map((row) => row?.state)).toEqual(domains.map(() => 'ready'));
    for (const { name } of domains) expect(world.isFilled(name)).toBe(true);
  });
});
