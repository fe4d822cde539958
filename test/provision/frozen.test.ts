/** Goal: while a host is frozen nothing annotated starts and nothing of ours is made, named or deleted; then it goes on. */
import { describe, expect, it } from 'vitest';
import { admitStart } from '../../src/provision/gate/admit-start.ts';
import type { LuksVolumes } from '../../src/provision/ports/volumes.ts';
import { luksRefusingWhileFrozen } from '../../src/provision/while-frozen.ts';
import { domainXml, until, World } from './world.ts';

const vm1 = { uuid: '11111111-1111-4111-8111-111111111111', name: 'vm1' };
const FROZEN = { since: '2026-11-30T12:00:00Z', by: 'root', reason: 'keys leaked' };

const recordOf = (world: World) => world.ledger.fillOf(vm1.uuid, 'vda');
const codesOf = ({ problems }: { readonly problems: readonly { readonly code: string }[] }) =>
  problems.map(({ code }) => code);

async function published(): Promise<World> {
  const world = new World();
  world.define(vm1);
  await until('published', () => recordOf(world)?.state === 'ready');
  return world;
}

/** vm1's fill has begun and stands still. */
async function midFill(): Promise<World> {
  const world = new World();
  world.images.hold();
  world.define(vm1);
  await until('a private volume', () => world.names().length === 1);
  return world;
}

describe('the gate of a frozen host', () => {
  it.each(['prepare', 'migrate', 'restore'] as const)(
    'refuses a sealed volume at %s, says why, and lets it pass once thawed',
    async (operation) => {
      const world = await published();
      world.frozen = FROZEN;
      const xml = domainXml(vm1);
      const refused = await admitStart(world.admit, operation, xml);
      expect(refused.allowed).toBe(false);
      expect(codesOf(refused)).toEqual(['FROZEN']);
      expect(refused.problems[0]?.message).toContain('since 2026-11-30T12:00:00Z, by root (keys leaked)');
      world.frozen = undefined;
      expect((await admitStart(world.admit, 'prepare', xml)).allowed).toBe(true);
    },
  );

  it('has no say in a domain without annotation', async () => {
    const world = await published();
    world.frozen = FROZEN;
    const xml = domainXml(vm1).replace(/<metadata>[\s\S]*<\/metadata>/, '');
    expect((await admitStart(world.admit, 'prepare', xml)).allowed).toBe(true);
  });

  it('begins nothing for a first start', async () => {
    const world = new World();
    world.frozen = FROZEN;
    await admitStart(world.admit, 'prepare', domainXml(vm1));
    expect(recordOf(world)).toBeUndefined();
    expect(world.ledger.domains()).toEqual([]);
  });
});

describe('fills of a frozen host', () => {
  it('are not begun, and begin when it is thawed and looked at', async () => {
    const world = new World();
    world.frozen = FROZEN;
    world.define(vm1);
    await world.reconciler.idle();
    expect(recordOf(world)).toBeUndefined();
    expect(world.names()).toEqual([]);
    world.frozen = undefined;
    await world.verbs.look();
    await until('published', () => recordOf(world)?.state === 'ready');
  });

  it('end without a verdict, keep their volume, and go on in it', async () => {
    const world = await midFill();
    const [name] = world.names();
    world.frozen = FROZEN;
    expect(await world.verbs.look()).toMatchObject({ frozen: { code: 'FROZEN' } });
    world.images.letGo();
    await until('stopped', () => world.fills.running.size === 0);
    await world.reconciler.idle();
    expect(recordOf(world)).toMatchObject({ state: 'filling', attempts: 0 });
    expect(world.names()).toEqual([name]);
    world.frozen = undefined;
    await world.verbs.look();
    await until('published', () => recordOf(world)?.state === 'ready');
    expect(world.isFilled('vm1')).toBe(true);
  });

  it('notice by themselves, without being told, before they publish', async () => {
    const world = await midFill();
    const [name] = world.names();
    world.frozen = FROZEN;
    world.images.letGo();
    await until('stopped', () => world.fills.running.size === 0);
    expect(world.names()).toEqual([name]);
    expect(recordOf(world)?.state).toBe('filling');
  });
});

describe('everything else on a frozen host', () => {
  it('is refused where it would change a volume, and can be looked at', async () => {
    const world = await published();
    world.frozen = FROZEN;
    const frozen = { code: 'FROZEN' };
    const request = { target: 'vda', confirm: 'vm1/vda' };
    await expect(world.verbs.reprovision('vm1', request)).rejects.toMatchObject(frozen);
    await expect(world.verbs.provision(domainXml(vm1))).rejects.toMatchObject(frozen);
    await expect(world.verbs.retry('vm1')).rejects.toMatchObject(frozen);
    await expect(world.garbage.collect({})).rejects.toMatchObject(frozen);
    expect(await world.garbage.collect({ dryRun: true })).toEqual({ findings: [] });
    expect(codesOf(await world.verbs.domain('vm1'))).toEqual(['FROZEN']);
    const { start } = await world.verbs.explain('vm1');
    expect(start.allowed).toBe(false);
    expect(start.why).toContain('lvp incident thaw');
  });

  it('keeps what an interrupted fill has left behind until it is thawed', async () => {
    const world = await midFill();
    world.frozen = FROZEN;
    world.images.letGo();
    await until('stopped', () => world.fills.running.size === 0);
    world.undefine(vm1.uuid);
    await world.reconciler.idle();
    await world.reconciler.requestAll();
    expect(world.names()).toHaveLength(1);
    world.frozen = undefined;
    await world.reconciler.requestAll();
    expect(world.names()).toEqual([]);
  });
});

describe('encrypted volumes of a frozen host', () => {
  it('are not written, nor given other keys; a key can be tried, and all of them destroyed', async () => {
    const asked: string[] = [];
    const called = (verb: string) => () => {
      asked.push(verb);
      return Promise.resolve();
    };
    const verbs = [
      'formatLuks',
      'openLuks',
      'closeLuks',
      'checkLuks',
      'addLuksKey',
      'keepOnlyLuksKey',
      'eraseLuks',
    ];
    const inner = Object.fromEntries(verbs.map((verb) => [verb, called(verb)]));
    let frozen: typeof FROZEN | undefined = FROZEN;
    const freeze = { frozen: () => frozen };
    const luks = luksRefusingWhileFrozen(freeze, inner as unknown as LuksVolumes);
    const all = luks as unknown as Record<string, () => Promise<void>>;
    const tried = () => Promise.all(verbs.map(async (verb) => all[verb]?.().catch(() => undefined)));
    await tried();
    expect(asked).toEqual(['closeLuks', 'checkLuks', 'eraseLuks']);
    frozen = undefined;
    asked.length = 0;
    await tried();
    expect(asked.toSorted()).toEqual(verbs.toSorted());
  });
});
