/** Goal: no mapping ever begins as a physical volume of LVM does. */
import { describe, expect, it } from 'vitest';
import { withoutLvmLabel } from '../../src/adapters/block-label.ts';
import type { VolumeDevice } from '../../src/provision/ports/volumes.ts';

function open() {
  const bytes = Buffer.alloc(8192);
  const device: VolumeDevice = {
    sizeBytes: bytes.length,
    write: (chunk, at) => {
      bytes.set(chunk, at);
      return Promise.resolve();
    },
    zero: (at, length) => {
      bytes.fill(0, at, at + length);
      return Promise.resolve();
    },
    read: (target, at) => {
      target.set(bytes.subarray(at, at + target.length));
      return Promise.resolve();
    },
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  return { bytes, guarded: withoutLvmLabel('/dev/mapper/x', device) };
}

describe('a mapping', () => {
  it.each([0, 512, 1024, 1536])('takes no label of LVM at %i, in one piece or in two', async (at) => {
    const { bytes, guarded } = open();
    const image = Buffer.alloc(4096, 7);
    image.write('LABELONE', at);
    await expect(guarded.write(image, 0)).rejects.toMatchObject({ code: 'IMAGE_FORBIDDEN_FEATURE' });
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    await guarded.write(Buffer.from('LABE'), at);
    await expect(guarded.write(Buffer.from('LONE'), at + 4)).rejects.toMatchObject({
      code: 'IMAGE_FORBIDDEN_FEATURE',
    });
    await guarded.zero(at, 4);
    await guarded.write(Buffer.from('LONE'), at + 4);
  });

  it('takes anything else, and that text where LVM does not look', async () => {
    const { bytes, guarded } = open();
    const image = Buffer.alloc(8192, 7);
    for (const at of [1, 511, 2048, 4096]) image.write('LABELONE', at);
    await guarded.write(image, 0);
    const read = Buffer.alloc(8192);
    await guarded.read(read, 0);
    expect([read, bytes]).toEqual([image, image]);
  });
});
