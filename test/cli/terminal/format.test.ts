import { describe, expect, it } from 'vitest';
import { progressLine } from '../../../src/cli/terminal/format.ts';

const filling = {
  target: 'vda',
  image: 'images/small.raw',
  format: 'raw',
  pool: 'guests',
  volume: 'vm1',
  state: 'filling',
} as const;

describe('the line of a fill', () => {
  it('has a bar once the size of the image is known', () => {
    const line = progressLine({ ...filling, phase: 'filling', bytesDone: 512, bytesTotal: 1024 }, false);
    expect(line).toContain('[############------------] 50 %');
  });

  it('says when the volume is being read back', () => {
    const line = progressLine({ ...filling, phase: 'verifying', bytesDone: 512, bytesTotal: 1024 }, false);
    expect(line).toMatch(/^vda filling .* 50 %, .*, verifying$/);
  });

  it('shows no full bar before that', () => {
    const line = progressLine({ ...filling, phase: 'resolving', bytesDone: 0, bytesTotal: 0 }, false);
    expect(line).toBe('vda filling, resolving');
  });
});
