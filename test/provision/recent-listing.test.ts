/**
 * Goal: what was last read stands for another reading only while nothing of ours has changed anything since, and for no
 * longer than a second. Method: a port whose answers come when the test says so.
 */
import { describe, expect, it } from 'vitest';
import type { VolumeListing, Volumes } from '../../src/provision/ports/volumes.ts';
import { RecentListing } from '../../src/provision/recent-listing.ts';

const listing: VolumeListing = { volumes: [], groups: [], thinPools: [] };
const later: VolumeListing = { volumes: [], groups: [], thinPools: [] };
const volume = { vg: 'vg0', fillId: '0123456789abcdef', target: 'web1', domainUuid: 'u' };

function begin() {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs };
  const lists: PromiseWithResolvers<VolumeListing>[] = [];
  const discards: PromiseWithResolvers<undefined>[] = [];
  const ask = <T>(asked: PromiseWithResolvers<T>[]): Promise<T> => {
    const answer = Promise.withResolvers<T>();
    asked.push(answer);
    return answer.promise;
  };
  const port: Partial<Volumes> = {
    list: () => ask(lists),
    discard: () => ask(discards),
    examine: () => Promise.resolve({ blank: true }),
  };
  const recent = new RecentListing(port as Volumes, clock);
  return { clock, lists, discards, recent, volumes: recent.volumes };
}

type Begun = ReturnType<typeof begin>;

async function read({ volumes, lists }: Begun, answer = listing): Promise<void> {
  const reading = volumes.list();
  lists.at(-1)?.resolve(answer);
  expect(await reading).toBe(answer);
}

describe('what was last read', () => {
  it('stands for a second from when it was asked for', async () => {
    const begun = begin();
    expect(begun.recent.recent()).toBeUndefined();
    const reading = begun.volumes.list();
    begun.clock.nowMs = 900;
    begun.lists[0]?.resolve(listing);
    await reading;
    begun.clock.nowMs = 999;
    expect(begun.recent.recent()).toBe(listing);
    begun.clock.nowMs = 1000;
    expect(begun.recent.recent()).toBeUndefined();
  });

  it('is what was read last, and examining changes nothing', async () => {
    const begun = begin();
    await read(begun);
    await read(begun, later);
    await begun.volumes.examine('vg0', 'web1');
    expect(begun.recent.recent()).toBe(later);
  });

  it('stands for nothing from a change on, nor what is read while that is under way, until it is read again', async () => {
    const begun = begin();
    await read(begun);
    const change = begun.volumes.discard(volume);
    expect(begun.recent.recent()).toBeUndefined();
    await read(begun);
    expect(begun.recent.recent()).toBeUndefined();
    begun.discards[0]?.reject(new Error('the helper is gone'));
    await expect(change).rejects.toThrow('the helper is gone');
    expect(begun.recent.recent()).toBeUndefined();
    await read(begun, later);
    expect(begun.recent.recent()).toBe(later);
  });

  it('stands for nothing if a change began before it was answered, even if that has ended by then', async () => {
    const begun = begin();
    const reading = begun.volumes.list();
    const change = begun.volumes.discard(volume);
    begun.discards[0]?.resolve(undefined);
    await change;
    begun.lists[0]?.resolve(listing);
    await reading;
    expect(begun.recent.recent()).toBeUndefined();
  });

  it('is kept past no verb that changes something', async () => {
    const verbs = Object.keys(begin().volumes).filter((verb) => verb !== 'list' && verb !== 'examine');
    expect(verbs.length).toBeGreaterThanOrEqual(11);
    for (const verb of verbs) {
      const port = new Proxy({} as Volumes, {
        get: (_port, name) => () => (name === 'list' ? Promise.resolve(listing) : Promise.resolve()),
      });
      const recent = new RecentListing(port, { monotonicMs: () => 0 });
      await recent.volumes.list();
      await recent.volumes[verb as 'discard'](volume);
      expect(recent.recent(), verb).toBeUndefined();
    }
  });
});
