/** The gate answers before the hook, which waits for so many seconds, goes on by itself. */
import { expect, it } from 'vitest';
import { hookWaitSeconds } from '../../../src/core/gate-time.ts';
import { AnswerTime } from '../../../src/provision/gate/answer-time.ts';
import { until, World } from '../world.ts';

const { clock } = new World();

/** All that one answer may consist of, each as slow as it may be. */
it.each([0, 1, 3_000, 120_000])('whatever it does, with a grace of %d ms', async (graceMs) => {
  const startedMs = clock.monotonicMs();
  const spentMs = () => clock.monotonicMs() - startedMs;
  const time = new AnswerTime(clock, graceMs);
  const read = async () => {
    let isOver = false;
    const reading = time.reading(new Promise<never>(() => undefined)).catch((error: unknown) => {
      isOver = true;
      return error;
    });
    await until('the reading has ended', () => {
      if (!isOver) clock.advance(1);
      return isOver;
    });
    expect(await reading).toMatchObject({ code: 'TIMEOUT' });
  };
  clock.advance(graceMs);
  expect(time.graceLeftMs).toBe(0);
  await read();
  expect(time.handOverMs).toBe(1_500);
  clock.advance(time.handOverMs);
  time.mustNotBeOver();
  await read();
  expect(() => {
    time.mustNotBeOver();
  }).toThrow('nobody waits for the answer any more');
  expect(time.handOverMs).toBe(0);
  expect(spentMs()).toBeLessThanOrEqual(1000 * hookWaitSeconds(graceMs) - 500);
});

it('a reading that ends in time is what it is, and keeps no clock waiting', async () => {
  const time = new AnswerTime(clock, 3_000);
  expect(await time.reading(Promise.resolve('read'))).toBe('read');
  await expect(time.reading(Promise.reject(new Error('broken')))).rejects.toThrow('broken');
});
