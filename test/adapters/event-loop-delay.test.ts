/** Goal: a program that stands still is noticed, whatever it was doing, and said once a window. */
import { readFile } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { watchEventLoop } from '../../src/adapters/event-loop-delay.ts';
import { silent } from '../provision/world.ts';

const BLOCKED_MS = 400;

function block(): void {
  const startedMs = performance.now();
  while (performance.now() - startedMs < BLOCKED_MS);
}

/** A log that keeps what is warned of: how long, in ms. */
function listening() {
  const said: number[] = [];
  const warn = (fields: object) => void said.push((fields as { longestMs: number }).longestMs);
  return { said, log: { ...silent, warn } };
}

async function until(condition: () => boolean): Promise<void> {
  for (let waits = 0; waits < 1000 && !condition(); waits++) await pause(10);
}

it.each([
  ['a timer', (work: () => void) => setTimeout(work, 1)],
  [
    'a read that has ended',
    (work: () => void) => {
      readFile(import.meta.filename, work);
    },
  ],
  ['a promise', (work: () => void) => void pause(1).then(work)],
])('what %s sets off is noticed', async (_what, setOff) => {
  const { said, log } = listening();
  const stop = watchEventLoop(log, 0);
  setOff(block);
  await until(() => said.some((longestMs) => longestMs > BLOCKED_MS / 2));
  stop();
  expect(Math.max(...said)).toBeGreaterThan(BLOCKED_MS / 2);
});

it('says the longest of a window, once', async () => {
  const { said, log } = listening();
  const stop = watchEventLoop(log, 3_600_000);
  block();
  await until(() => said.length > 0);
  block();
  await pause(100);
  stop();
  expect(said).toHaveLength(1);
});
