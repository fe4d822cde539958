/** Goal: one does the work for all, whoever gives up meanwhile. Method: work that ends when it is told to. */
import { describe, expect, it } from 'vitest';
import type { Announce, Member } from '../../src/provision/shared-work.ts';
import { SharedWork } from '../../src/provision/shared-work.ts';

class Watcher implements Member {
  readonly abort = new AbortController();
  readonly signal = this.abort.signal;
  readonly said: string[] = [];
  phase = (phase: string, bytesTotal = 0) => void this.said.push(`${phase} ${bytesTotal}`);
  progress = (bytesDone: number) => void this.said.push(`${bytesDone}`);
}

function slowWork(shared: SharedWork<string>) {
  const works: { readonly announce: Announce; readonly end: PromiseWithResolvers<string> }[] = [];
  const ask = (member: Watcher, key = 'image') =>
    shared.run(key, member, (announce) => {
      const end = Promise.withResolvers<string>();
      member.signal.addEventListener('abort', () => {
        end.reject(member.signal.reason as Error);
      });
      works.push({ announce, end });
      return end.promise;
    });
  return { works, ask };
}

describe('work that several want', () => {
  it('is done once, all see how far it is, also who comes late, and all get what it came to', async () => {
    const { works, ask } = slowWork(new SharedWork());
    const [first, second, late] = [new Watcher(), new Watcher(), new Watcher()];
    const asked = [ask(first), ask(second)];
    works[0]?.announce.phase('filling', 10);
    works[0]?.announce.progress(4);
    asked.push(ask(late));
    works[0]?.announce.progress(8);
    works[0]?.end.resolve('done');
    expect(await Promise.all(asked)).toEqual(['done', 'done', 'done']);
    expect(works).toHaveLength(1);
    expect(second.said).toEqual(['0', 'filling 10', '4', '8']);
    expect(late.said).toEqual(['filling 10', '4', '8']);
  });

  it('is done again for whoever asks later, and at the same time for another thing', async () => {
    const { works, ask } = slowWork(new SharedWork());
    const asked = [ask(new Watcher()), ask(new Watcher(), 'other')];
    for (const [index, { end }] of works.entries()) end.resolve(`${index}`);
    expect(await Promise.all(asked)).toEqual(['0', '1']);
    const again = ask(new Watcher());
    works[2]?.end.resolve('again');
    expect(await again).toBe('again');
  });

  it('fails for all when it fails', async () => {
    const { works, ask } = slowWork(new SharedWork());
    const asked = [ask(new Watcher()), ask(new Watcher())];
    works[0]?.end.reject(new Error('wrong digest'));
    for (const one of asked) await expect(one).rejects.toThrow('wrong digest');
    expect(works).toHaveLength(1);
  });

  it('is begun by the next one when the one who does it gives up', async () => {
    const { works, ask } = slowWork(new SharedWork());
    const [first, second, third] = [new Watcher(), new Watcher(), new Watcher()];
    const asked = [first, second, third].map((member) => ask(member));
    first.abort.abort(new Error('cancelled'));
    await expect(asked[0]).rejects.toThrow('cancelled');
    await Promise.resolve();
    expect(works).toHaveLength(2);
    works[1]?.end.resolve('done');
    expect(await Promise.all(asked.slice(1))).toEqual(['done', 'done']);
  });

  it('goes on without one of those who wait', async () => {
    const { works, ask } = slowWork(new SharedWork());
    const [first, second] = [new Watcher(), new Watcher()];
    const asked = [ask(first), ask(second)];
    second.abort.abort(new Error('cancelled'));
    await expect(asked[1]).rejects.toThrow('cancelled');
    works[0]?.announce.progress(5);
    works[0]?.end.resolve('done');
    expect(await asked[0]).toBe('done');
    expect(second.said).toEqual(['0']);
  });
});
