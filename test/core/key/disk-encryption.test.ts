import { describe, expect, it } from 'vitest';
import { encryptionMistakes } from '../../../src/core/key/disk-encryption.ts';
import type { DiskEncryption, DomainDisk, VolumeRequest } from '../../../src/core/request.ts';

const location = { pool: 'guests', vg: 'vg0', lv: 'root' };
const key = { provider: 'file', id: 'web1' } as const;
const request: VolumeRequest = {
  ...{ target: 'vda', image: { bucket: 'images', key: 'a' }, format: 'raw', generation: 1 },
};
const right: DiskEncryption = {
  ...{ format: 'luks', engine: 'qemu', secrets: [{ by: 'usage', name: '/dev/vg0/root' }] },
};

function mistakesOf(encryption: DiskEncryption | undefined, asked: VolumeRequest = { ...request, key }) {
  const disk: DomainDisk = {
    ...{ target: 'vda', device: 'disk', source: { type: 'block', path: '/dev/vg0/root' } },
    ...{ readonly: false, shareable: false, transient: false, encryption },
  };
  return encryptionMistakes(disk, asked, location).map(({ message, hint }) => [message, hint]);
}

describe('encryptionMistakes', () => {
  it('finds none where disk and annotation say the same', () => {
    expect(mistakesOf(right)).toEqual([]);
    expect(mistakesOf(undefined, request)).toEqual([]);
  });

  it('does not take a disk for plain, nor for encrypted, because one of them says so', () => {
    expect(mistakesOf(right, request)).toEqual([
      [
        'Disk "vda" is encrypted, but its annotation names no key.',
        expect.stringContaining('lvp key create'),
      ],
    ]);
    expect(mistakesOf(undefined)).toEqual([
      [
        'Disk "vda" is not encrypted, but its annotation names a key.',
        expect.stringContaining('<encryption'),
      ],
    ]);
  });

  it.each<[Partial<DiskEncryption>, says: string]>([
    [{ format: 'luks2' }, 'has the encryption format "luks2"; only luks is filled.'],
    [{ format: 'qcow' }, 'has the encryption format "qcow"'],
    [{ engine: 'librbd' }, 'has the encryption engine "librbd"'],
    [{ secrets: [] }, 'has an <encryption> without a <secret>.'],
    [{ secrets: [...right.secrets, ...right.secrets] }, 'has 2 secrets in its <encryption>.'],
    [{ secrets: [{ by: 'uuid', name: 'u' }] }, 'names its secret by uuid'],
    [{ secrets: [{ by: 'nothing', name: '' }] }, 'names its secret by nothing'],
    [
      { secrets: [{ by: 'usage', name: '/dev/vg0/other' }] },
      'names a secret for "/dev/vg0/other", but its volume is /dev/vg0/root.',
    ],
  ])('%j', (change, says) => {
    const mistakes = mistakesOf({ ...right, ...change });
    expect(mistakes).toHaveLength(1);
    expect(mistakes[0]?.[0]).toContain(`Disk "vda" ${says}`);
  });
});
