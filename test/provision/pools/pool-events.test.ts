import { describe, expect, it } from 'vitest';
import { PoolEvents } from '../../../src/provision/pools/pool-events.ts';

describe('pool events', () => {
  it('are answered by a look after the first and one after the last, however many there are', async () => {
    let looks = 0;
    let endPause: () => void = () => undefined;
    const sleep = () => new Promise<void>((resolve) => (endPause = resolve));
    const events = new PoolEvents({ sleep }, () => (looks += 1));
    const passPause = async () => {
      endPause();
      await new Promise((resolve) => setImmediate(resolve));
    };
    events.heard();
    expect(looks).toBe(1);
    for (let count = 0; count < 100; count++) events.heard();
    expect(looks).toBe(1);
    await passPause();
    expect(looks).toBe(2);
    await passPause();
    await passPause();
    expect(looks).toBe(2);
    events.heard();
    expect(looks).toBe(3);
  });
});
