/**
 * Goal: what many domains cost grows with their number and no faster. Method: calls are counted, for a time says
 * as much about the machine; `npm run scale` shows times. Everything but bus and LVM is real, see CrowdedHost.
 */
import { describe, expect, it } from 'vitest';
import { CrowdedHost, propertyReadsOf, xmlReadsOf } from '../bench/crowded-host.ts';
import type { Counts } from '../bench/crowded-host.ts';

const SMALL = 100;
const LARGE = 400;

const names = [
  'bus',
  'Refresh',
  'helper list',
  'ledger fills',
  'ledger domains',
  'ledger domainOf',
  'ledger fillsOf',
];
const countsOf = (counts: Counts) =>
  new Map([...names, 'ledger fillsAt', 'ledger putFill'].map((name) => [name, counts.of(name)]));

async function looked(
  size: number,
): Promise<{ first: ReturnType<typeof countsOf>; again: ReturnType<typeof countsOf>; host: CrowdedHost }> {
  const host = await CrowdedHost.of(size);
  await host.lookAtEverything();
  const first = countsOf(host.counts);
  await host.lookAtEverything();
  return { first, again: countsOf(host.counts), host };
}

describe('a look at everything', () => {
  it('reads the XML of a domain without annotation, once, and asks nothing else about it', async () => {
    const host = await CrowdedHost.of(SMALL);
    await host.lookAtEverything();
    for (let index = 0; index < SMALL; index++) {
      if (index % 5 === 0) continue;
      expect([index, host.counts.of(xmlReadsOf(index)), host.counts.of(propertyReadsOf(index))]).toEqual([
        index,
        1,
        0,
      ]);
    }
    expect((await host.verbs.domains()).map(({ volumes }) => volumes[0]?.state)).toEqual(
      Array.from({ length: host.annotated }, () => 'ready'),
    );
    await host.close();
  });

  it('of four times as many domains costs four times as many calls, and hardly more readings of whole tables', async () => {
    const small = await looked(SMALL);
    const large = await looked(LARGE);
    for (const look of ['first', 'again'] as const) {
      for (const [name, count] of large[look]) {
        // What is asked once per look, whatever its size, may be asked some times more.
        const isLinear = count <= 4.5 * (small[look].get(name) ?? 0) + 8;
        expect([look, name, isLinear, small[look].get(name), count]).toEqual([
          look,
          name,
          true,
          small[look].get(name),
          count,
        ]);
      }
      // These read all there is: as often as there are domains would be quadratic.
      for (const whole of ['Refresh', 'helper list', 'ledger fills', 'ledger domains'])
        expect([look, whole, (large[look].get(whole) ?? 0) < 10]).toEqual([look, whole, true]);
    }
    await small.host.close();
    await large.host.close();
  });

  it('writes nothing to the ledger that stands there already', async () => {
    const { again, host } = await looked(SMALL);
    expect([again.get('ledger putFill'), host.counts.of('ledger putDomain')]).toEqual([0, 0]);
    await host.close();
  });
});
