/** Goal: the digest of a device says whether any byte of it has changed, and holes need not be read for it. */
import { describe, expect, it } from 'vitest';
import { contentDigest, PIECE_BYTES, untouchedPieces } from '../../../src/provision/stream/content-digest.ts';

const signal = new AbortController().signal;

function deviceOf(bytes: Buffer) {
  const reads: number[] = [];
  return {
    reads,
    read: (target: Uint8Array, offsetBytes: number) => {
      reads.push(offsetBytes / PIECE_BYTES);
      target.set(bytes.subarray(offsetBytes, offsetBytes + target.length));
      return Promise.resolve();
    },
  };
}

describe('the digest of a device', () => {
  const sizeBytes = 3 * PIECE_BYTES + 512;
  const bytes = Buffer.alloc(sizeBytes + 4096);
  bytes.fill(0x33, 10, 100);

  it('is another one for any other byte before the end, and the same for those behind it', async () => {
    const digest = await contentDigest(deviceOf(bytes), sizeBytes, { signal });
    for (const at of [0, PIECE_BYTES, sizeBytes - 1, sizeBytes]) {
      const changed = Buffer.from(bytes);
      changed[at] = 0x34;
      const other = await contentDigest(deviceOf(changed), sizeBytes, { signal });
      expect(other === digest).toBe(at >= sizeBytes);
    }
  });

  it('is the same without reading what lies in one hole', async () => {
    const holes = () => [
      { offsetBytes: 4096, lengthBytes: 2 * PIECE_BYTES },
      { offsetBytes: 3 * PIECE_BYTES, lengthBytes: 512 },
    ];
    const isUntouched = untouchedPieces({ holes }, sizeBytes);
    const device = deviceOf(bytes);
    const quick = await contentDigest(device, sizeBytes, { signal, isUntouched });
    expect(device.reads).toEqual([0, 2]);
    expect(quick).toBe(await contentDigest(deviceOf(bytes), sizeBytes, { signal }));
  });

  it('stops when it is told to', async () => {
    const abort = new AbortController();
    const device = deviceOf(bytes);
    const pause = () => {
      abort.abort(new Error('enough'));
      return Promise.resolve();
    };
    await expect(contentDigest(device, sizeBytes, { signal: abort.signal, pause })).rejects.toThrow('enough');
    expect(device.reads).toEqual([0]);
  });
});
