/** Up to where a fill may say that all holes are zeroed, while several are being zeroed at once. */
import { describe, expect, it } from 'vitest';
import { ZeroedPrefix } from '../../../src/provision/stream/checkpoints.ts';

describe('the zeroed prefix', () => {
  it('ends before the first hole that is not done, whichever is done first', () => {
    const zeroed = new ZeroedPrefix(0);
    const first = zeroed.begin(100, 10);
    const second = zeroed.begin(200, 50);
    expect(zeroed.endBytes).toBe(100);
    second();
    expect(zeroed.endBytes).toBe(100);
    first();
    expect(zeroed.endBytes).toBe(250);
    const third = zeroed.begin(300, 5);
    expect(zeroed.endBytes).toBe(300);
    third();
    expect(zeroed.endBytes).toBe(305);
  });

  it('of a resumed fill is never less than what an earlier one had said', () => {
    const zeroed = new ZeroedPrefix(1000);
    expect(zeroed.endBytes).toBe(1000);
    zeroed.begin(1000, 24)();
    expect(zeroed.endBytes).toBe(1024);
  });
});
