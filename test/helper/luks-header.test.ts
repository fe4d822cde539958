/** Goal: only the header that we make counts as ours. Method: the one of cryptsetup, and each field of it spoiled. */
import { describe, expect, it } from 'vitest';
import { PHDR_BYTES, readLuksHeader } from '../../src/helper/luks-header.ts';

/** As cryptsetup 2.6.1 and 2.7.5 write it, with keys in these slots. */
function header(...enabled: readonly number[]): Buffer {
  const bytes = Buffer.alloc(PHDR_BYTES);
  bytes.write('LUKS\xba\xbe', 0, 'latin1');
  bytes.writeUInt16BE(1, 6);
  bytes.write('aes', 8);
  bytes.write('xts-plain64', 40);
  bytes.write('sha256', 72);
  bytes.writeUInt32BE(4096, 104);
  bytes.writeUInt32BE(64, 108);
  for (let slot = 0; slot < 8; slot += 1) {
    bytes.writeUInt32BE(enabled.includes(slot) ? 0x00ac71f3 : 0x0000dead, 208 + slot * 48);
  }
  return bytes;
}

describe('the header of an encrypted volume', () => {
  it('says which slots hold a key', () => {
    expect(readLuksHeader(header(0))).toEqual({ slots: [0] });
    expect(readLuksHeader(header(1, 7))).toEqual({ slots: [1, 7] });
    expect(readLuksHeader(header())).toEqual({ slots: [] });
  });

  it.each<[string, (bytes: Buffer) => unknown]>([
    ['no LUKS header', (bytes) => bytes.fill(0)],
    ['no LUKS header', (bytes) => bytes.writeUInt8(0xbf, 5)],
    ['version 2', (bytes) => bytes.writeUInt16BE(2, 6)],
    ['cipher serpent', (bytes) => bytes.write('serpent', 8)],
    ['cipher something unreadable', (bytes) => bytes.write('aes\n', 8)],
    ['mode cbc-essiv:sha256', (bytes) => bytes.write('cbc-essiv:sha256', 40)],
    ['hash sha1', (bytes) => bytes.write('sha1\0\0', 72)],
    ['payloadSectors 4040', (bytes) => bytes.writeUInt32BE(4040, 104)],
    ['keyBits 256', (bytes) => bytes.writeUInt32BE(32, 108)],
    ['slot 3', (bytes) => bytes.writeUInt32BE(0, 208 + 3 * 48)],
  ])('is none of ours: %s', (why, spoil) => {
    const bytes = header(0);
    spoil(bytes);
    expect(readLuksHeader(bytes)).toContain(why);
  });

  it('is none when it is cut off', () => {
    expect(readLuksHeader(header(0).subarray(0, PHDR_BYTES - 1))).toContain('no LUKS header');
  });
});
