/**
 * Goal: reading the world ends, and costs little, also while fills end and starts come by the dozen. Method: the
 * real reading over a world in memory that counts what it is asked.
 */
import { describe, expect, it } from 'vitest';
import type { LogicalPool } from '../../src/core/request.ts';
import { parseDomainXml } from '../../src/core/xml/domain-xml.ts';
import type { Fills } from '../../src/provision/fill/fills.ts';
import { KnownPools, observe } from '../../src/provision/observe.ts';
import type { Volumes } from '../../src/provision/ports/volumes.ts';
import { domainXml, MIB, World } from './world.ts';

describe('a reading of the world', () => {
  it('of many unmarked volumes ends, although a fill ends during each look at one of them', async () => {
    const world = new World();
    const domains = Array.from({ length: 8 }, (_, index) => {
      world.volumes.add(`vm${index}`, Buffer.alloc(MIB));
      const uuid = `11111111-1111-4111-8111-11111111111${index}`;
      return parseDomainXml(domainXml({ uuid, name: `vm${index}` }));
    });
    let settledCount = 0;
    let examined = 0;
    const volumes = {
      list: () => world.volumes.list(),
      examine: (vg: string, lv: string) => {
        examined += 1;
        settledCount += 1;
        return world.volumes.examine(vg, lv);
      },
    } as unknown as Volumes;
    const fills = {
      get settledCount() {
        return settledCount;
      },
      running: new Set<string>(),
    } as unknown as Fills;
    const needs = { ...world.admit, volumes, fills };
    const observation = await observe(needs, domains);
    expect(domains.map((domain) => observation.plan(domain).disks[0]?.action)).toEqual(
      domains.map(() => 'fill'),
    );
    expect(examined).toBe(8);
  });
});

describe('the pools, as the gate asks for them', () => {
  const pool: LogicalPool = { name: 'guests', uuid: 'pool', vg: 'vg0', active: true };

  it('are asked for once by starts that come at the same time, and anew by the next', async () => {
    const { clock } = new World();
    let asked = 0;
    let answer: (pools: readonly LogicalPool[]) => void = () => undefined;
    const pools = {
      list: () => {
        asked += 1;
        return new Promise<readonly LogicalPool[]>((resolve) => (answer = resolve));
      },
    };
    const known = new KnownPools(pools, clock, 1_000);
    const starts = Promise.all(Array.from({ length: 20 }, () => known.list()));
    expect(asked).toBe(1);
    answer([pool]);
    expect(await starts).toEqual(Array.from({ length: 20 }, () => [pool]));
    const next = known.list();
    expect(asked).toBe(2);
    answer([]);
    expect(await next).toEqual([]);
  });

  it('are what was said last while libvirt is stuck, and nothing piles up behind it', async () => {
    const { clock } = new World();
    let asked = 0;
    const pools = {
      list: (): Promise<readonly LogicalPool[]> => {
        asked += 1;
        return asked === 1 ? Promise.resolve([pool]) : new Promise(() => undefined);
      },
    };
    const known = new KnownPools(pools, clock, 1_000);
    await known.list();
    for (let start = 0; start < 10; start++) {
      const listed = known.list();
      clock.advance(1_000);
      expect(await listed).toEqual([pool]);
    }
    expect(asked).toBe(2);
  });
});
