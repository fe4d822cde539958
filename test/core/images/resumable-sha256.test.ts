/** Goal: a SHA-256 that was taken apart and put together again is that of node:crypto. */
import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canResumeSha256, resumableSha256 } from '../../../src/core/images/resumable-sha256.ts';

describe('resumableSha256', () => {
  it('is there in the Node we ship', () => {
    expect(canResumeSha256()).toBe(true);
  });

  it('goes on at any block, for any bytes', () => {
    fc.assert(
      fc.property(fc.nat(5000), fc.nat(70), fc.nat(300), (restBytes, blocks, stepBytes) => {
        const bytes = randomBytes(blocks * 64 + restBytes);
        const first = resumableSha256();
        first.update(bytes.subarray(0, blocks * 64));
        const state = first.state();
        if (state === undefined) throw new Error('no state');
        const second = resumableSha256({ state, doneBytes: blocks * 64 });
        for (let at = blocks * 64; at < bytes.length; at += stepBytes + 1) {
          second.update(bytes.subarray(at, at + stepBytes + 1));
        }
        expect(second.digest()).toBe(createHash('sha256').update(bytes).digest('hex'));
      }),
    );
  });

  it('counts beyond 4 Gbit', () => {
    const piece = Buffer.alloc(1 << 26, 7);
    const whole = createHash('sha256');
    let hash = resumableSha256();
    for (let done = 1; done <= 9; done++) {
      whole.update(piece);
      hash.update(piece);
      const state = hash.state();
      if (state === undefined) throw new Error('no state');
      hash = resumableSha256({ state, doneBytes: done * piece.length });
    }
    expect(hash.digest()).toBe(whole.digest('hex'));
  });

  it('has no state within a block', () => {
    const hash = resumableSha256();
    hash.update(Buffer.alloc(65));
    expect(hash.state()).toBeUndefined();
  });

  it.each([
    ['ff', 64],
    ['00'.repeat(32), 65],
    ['00'.repeat(32), -64],
    ['zz'.repeat(32), 64],
  ])('refuses the state %s after %i bytes', (state, doneBytes) => {
    expect(() => resumableSha256({ state, doneBytes })).toThrow(TypeError);
  });
});
