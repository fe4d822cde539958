/** Goal: each golden volume has its turn, and what is wrong with one keeps none from it. Method: checks by hand. */
import { describe, expect, it } from 'vitest';
import type { GoldenVolume } from '../../../src/core/thin/golden.ts';
import { GoldenChecks } from '../../../src/provision/golden/golden-checks.ts';
import { silent } from '../world.ts';

const golden = (uuid: string, unfit?: string) =>
  ({ uuid, vg: 'vg0', lv: uuid, unfit }) as unknown as GoldenVolume;

function checking(there: GoldenVolume[]) {
  const checked: string[] = [];
  let isFrozen = false;
  const checks = new GoldenChecks({
    goldens: {
      list: () => Promise.resolve(there),
      check: ({ uuid }) => {
        checked.push(uuid);
        return uuid === 'bad'
          ? Promise.reject(new Error('cannot be read'))
          : Promise.resolve('sound' as const);
      },
    },
    clock: { nowMs: () => 0, monotonicMs: () => 0, sleep: () => Promise.resolve() },
    freeze: { frozen: () => (isFrozen ? { since: '', by: '', why: '' } : undefined) as never },
    log: silent,
    checksPerDay: 1,
  });
  return { checks, checked, freeze: () => (isFrozen = true) };
}

describe('the checks of golden volumes', () => {
  it('take one after the other, those that were never looked at first, and go on after a failure', async () => {
    const there = [golden('a'), golden('bad')];
    const { checks, checked } = checking(there);
    for (let turn = 0; turn < 3; turn++) await checks.checkNext();
    there.push(golden('c'));
    there.shift();
    for (let turn = 0; turn < 3; turn++) await checks.checkNext();
    expect(checked).toEqual(['a', 'bad', 'a', 'c', 'bad', 'c']);
  });

  it('look at none that serves nobody, and at nothing while the host is frozen', async () => {
    const { checks, checked, freeze } = checking([golden('a', 'can be written to')]);
    await checks.checkNext();
    freeze();
    await checks.checkNext();
    expect(checked).toEqual([]);
  });
});
