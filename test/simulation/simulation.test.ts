/**
 * Goal: no order of events, faults and crashes breaks a promise of docs/reliability.md. Method: runs with the seeds
 * from 1 on, on all processors, some two minutes on two; and a census of what happened in them, for an oracle that is
 * never asked notices nothing.
 */
import { describe, expect, it } from 'vitest';
import type { Census } from './census.ts';
import { runSeeds, SEEDS } from './seeds.ts';
import { simulate } from './simulation.ts';

/** An await that is passed more rarely than this in all runs together may be one at which nobody died. */
const PASSED_MIN = 400;

describe('a host where everything goes wrong', () => {
  it('keeps every promise, whoever dies where', { timeout: 1_800_000 }, async () => {
    const { broken, census } = await runSeeds(1, SEEDS);
    const again = `npm run simulate -- --seed ${broken}`;
    expect(broken, again).toBeUndefined();
    expect(neverDiedAt(census)).toEqual([]);
    expect(neverHappened(census)).toEqual([]);
  });

  it('is the same with the same seed', { timeout: 600_000 }, async () => {
    for (const seed of [3, 33, 333]) {
      const { trace } = await simulate(seed);
      expect((await simulate(seed)).trace).toEqual(trace);
    }
  });
});

/** Awaits of daemon and helper at which neither a kill nor a power cut has ever ended them. */
function neverDiedAt(census: Census): string[] {
  return census
    .entries('await')
    .filter(([place, passed]) => passed >= PASSED_MIN && deathsAt(census, place) === 0)
    .map(([place]) => place);
}

function deathsAt(census: Census, place: string): number {
  return census.of(`crash kill, ${place}`) + census.of(`crash power cut, ${place}`);
}

/** What every promise rests on: volumes published in each way, starts of each kind allowed and refused. */
function neverHappened(census: Census): string[] {
  const ways = ['new', 'resume', 'adopt', 'finish', 'claim'].map((way) => `published from ${way}`);
  const gates = ['gate prepare', 'gate restore', 'gate migrate', 'hook'].flatMap((gate) => {
    const by = gate === 'hook' ? ' by the seals' : '';
    return [`${gate} allowed${by}`, `${gate} refused${by}`];
  });
  const golden = [
    'cloned from a golden volume',
    'finished a golden volume',
    'a golden volume is damaged, and is removed',
    'a golden volume is removed: it was beyond the budget of its pool',
  ];
  const keys = [
    'the key of a volume was replaced',
    'a key could not be replaced yet',
    'an encrypted volume was made unreadable for ever',
    'this host may not read the key any more: libvirt has it no more, its guest goes on',
    'whether the key is still granted could not be told; nothing changes until it can',
  ];
  const encrypted = [
    ...['new', 'resume', 'adopt', 'finish'].map((way) => `published encrypted from ${way}`),
    ...['started encrypted', ...deathsWhileKeysChange()],
  ];
  const said = [...golden, ...keys].map((line) => `log ${line}`);
  return [...ways, ...gates, ...said, ...encrypted].filter((name) => census.of(name) === 0);
}

/** Few runs come to these, so that no count of awaits says whether the power was ever cut there. */
function deathsWhileKeysChange(): string[] {
  const steps = ['luksFormat', 'luksAddKey', 'luksKillSlot', 'luksErase'].flatMap((name) =>
    ['before', 'in', 'after'].map((when) => `helper at ${when} ${name}`),
  );
  const calls = ['libvirt write annotation', 'libvirt write annotation answered'];
  const places = [...steps, ...calls.map((name) => `daemon at ${name}`)];
  return places.map((place) => `crash power cut, ${place}`);
}
