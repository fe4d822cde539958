import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isLvName } from '../../../src/core/volume/lvm-names.ts';
import {
  fillIdOf,
  fillTags,
  goldenTags,
  imageNameOfTag,
  imageTag,
  privateName,
  readMark,
  sealTags,
  TARGET_LENGTH_MAX,
} from '../../../src/core/volume/volume.ts';

const mark = {
  fillId: '0123456789abcdef',
  target: 'web1-root',
  domainUuid: '7d3f0a52-8d0e-4b5e-9a53-0d6d1c1f9f01',
};
const seal = { ...mark, image: 'images/debian-13.qcow2', sha256: 'a'.repeat(64), generation: 2 };

/** What LVM takes: its validate_tag(), and the 128 characters of lvm(8). */
const LEGAL_TAG = /^[A-Za-z0-9_+./=!:&#-]{1,128}$/;

const anyMark = fc.record({
  fillId: fc.stringMatching(/^[0-9a-f]{16}$/),
  target: fc.stringMatching(/^[A-Za-z0-9+_.-]{1,117}$/).filter(isLvName),
  domainUuid: fc.uuid(),
});
const anyImage = fc.record({
  bucket: fc.stringMatching(/^[a-z0-9]{3,63}$/),
  key: fc.string({ unit: 'binary', minLength: 1, maxLength: 300 }),
});
const anySeal = fc
  .tuple(anyMark, anyImage, fc.stringMatching(/^[0-9a-f]{64}$/), fc.integer({ min: 1, max: 999_999_999 }))
  .map(([one, image, sha256, generation]) => ({ ...one, image: imageTag(image), sha256, generation }));

describe('tags', () => {
  it('of a fill are read back, in any order and among those of others', () => {
    fc.assert(
      fc.property(anyMark, (one) => {
        const tags = fillTags(one);
        expect(tags.every((tag) => LEGAL_TAG.test(tag))).toBe(true);
        expect(readMark(['backup', ...tags.toReversed(), 'lvprovisioner'])).toEqual({
          state: 'filling',
          ...one,
        });
      }),
    );
  });

  it('of a seal are read back, in any order and among those of others', () => {
    fc.assert(
      fc.property(anySeal, (one) => {
        const tags = sealTags(one);
        expect(tags.every((tag) => LEGAL_TAG.test(tag))).toBe(true);
        expect(readMark([...tags.toReversed(), 'backup'])).toEqual({ state: 'ready', ...one });
      }),
    );
  });

  it('of the longest volume name are still legal', () => {
    expect(
      fillTags({ ...mark, target: 'x'.repeat(TARGET_LENGTH_MAX) }).every((tag) => LEGAL_TAG.test(tag)),
    ).toBe(true);
  });
});

describe('a golden seal', () => {
  const golden = {
    ...{ fillId: mark.fillId, image: seal.image, sha256: seal.sha256, format: 'qcow2' },
    ...{ sizeBytes: 2 ** 31 + 512, contentSha256: 'b'.repeat(64), mappedBytes: 0, version: 'v1' },
  };

  it.each([golden, { ...golden, version: undefined }])('is read back, among tags of others', (one) => {
    const tags = goldenTags(one);
    expect(tags.every((tag) => LEGAL_TAG.test(tag))).toBe(true);
    const { version, ...rest } = one;
    expect(readMark([...tags.toReversed(), 'backup'])).toEqual({
      state: 'golden',
      ...rest,
      ...(version === undefined ? {} : { version }),
    });
  });

  it('is unclear without any of its tags but the version', () => {
    for (const missing of goldenTags({ ...golden, version: undefined })) {
      const found = readMark(goldenTags(golden).filter((tag) => tag !== missing));
      expect(found.state).toBe('unclear');
    }
  });

  it.each([
    { image: '' },
    { sha256: 'A'.repeat(64) },
    { format: 'vmdk' },
    { sizeBytes: 0 },
    { sizeBytes: 1.5 },
    { contentSha256: '' },
    { mappedBytes: -1 },
    { mappedBytes: 1e21 },
    { version: '' },
  ])('is unclear with %j', (change) => {
    expect(readMark(goldenTags({ ...golden, ...change })).state).toBe('unclear');
  });

  it('is unclear beside the marks of a fill or the seal of a guest’s volume', () => {
    expect(readMark([...goldenTags(golden), 'lvp:filling']).state).toBe('unclear');
    expect(readMark([...new Set([...goldenTags(golden), ...sealTags(seal)])]).state).toBe('unclear');
  });
});

describe('readMark', () => {
  it('knows what a job has filled by its seal alone, and as what the image was read', () => {
    const ofJob = { ...seal, domainUuid: 'job:11111111-2222-3333-4444-555555555555', format: 'raw+zstd' };
    const tags = sealTags(ofJob);
    expect(tags.every((tag) => LEGAL_TAG.test(tag))).toBe(true);
    expect(readMark(tags)).toEqual({ state: 'ready', ...ofJob });
    const unclear = { state: 'unclear', why: 'no valid tag lvp:format' };
    expect(readMark(sealTags({ ...ofJob, format: undefined }))).toEqual(unclear);
    expect(readMark(sealTags({ ...ofJob, format: 'vmdk' }))).toEqual(unclear);
  });

  it.each([[[]], [['backup']], [['LVP:ready', 'lvpready']]])('finds no mark of ours in %j', (tags) => {
    expect(readMark(tags)).toEqual({ state: 'unmarked' });
  });

  it('finds any missing tag of a fill or a seal unclear', () => {
    for (const tags of [fillTags(mark), sealTags(seal)]) {
      for (const missing of tags) {
        expect(readMark(tags.filter((tag) => tag !== missing)).state).toBe('unclear');
      }
    }
  });

  it.each<[tags: string[], why: string]>([
    [[...fillTags(mark), 'lvp:ready'], 'exactly one of lvp:filling, lvp:ready, lvp:receiving'],
    [[...sealTags(seal), 'lvp:receiving'], 'exactly one of lvp:filling, lvp:ready, lvp:receiving'],
    [[...sealTags(seal), 'lvp:filling'], 'exactly one of lvp:filling, lvp:ready, lvp:receiving'],
    [[...sealTags(seal), 'lvp:generation:3'], 'two tags lvp:generation'],
    [[...fillTags(mark), 'lvp:target:other'], 'two tags lvp:target'],
    [['lvp:ready'], 'no valid tag lvp:fill'],
    [fillTags({ ...mark, fillId: 'x' }), 'no valid tag lvp:fill'],
    [fillTags({ ...mark, target: '' }), 'no tag lvp:target'],
    [fillTags({ ...mark, domainUuid: '' }), 'no tag lvp:domain'],
    [sealTags({ ...seal, image: '' }), 'no tag lvp:image'],
    [sealTags({ ...seal, sha256: 'A'.repeat(64) }), 'no valid tag lvp:sha256'],
    [sealTags({ ...seal, generation: 0 }), 'no valid tag lvp:generation'],
    [sealTags({ ...seal, generation: 1.5 }), 'no valid tag lvp:generation'],
  ])('finds %j unclear', (tags, why) => {
    const found = readMark(tags);
    expect(found.state).toBe('unclear');
    expect(found.state === 'unclear' && found.why).toContain(why);
  });
});

describe('imageTag', () => {
  it.each([
    ['images', 'debian-13.qcow2', 'images/debian-13.qcow2'],
    ['images', 'a b', 'images/a#20b'],
    ['images', 'a#20b', 'images/a#2320b'],
    ['images', 'é:@', 'images/#c3#a9#3a#40'],
  ])('writes %s/%s readably', (bucket, key, tag) => {
    expect(imageTag({ bucket, key })).toBe(tag);
    expect(imageNameOfTag(tag)).toBe(`${bucket}/${key}`);
  });

  it('takes the digest of a long name', () => {
    expect(imageTag({ bucket: 'images', key: 'x'.repeat(111) })).toMatch(/^images\/x+$/);
    expect(imageTag({ bucket: 'images', key: 'x'.repeat(112) })).toMatch(/^:sha256:[0-9a-f]{64}$/);
    expect(imageNameOfTag(`:sha256:${'0'.repeat(64)}`)).toBeUndefined();
  });

  it('tells any two images apart', () => {
    // Keys close to one another, and to what escapes look like, since random ones never meet.
    const key = fc.string({
      unit: fc.constantFrom('a', '#', '2', '0', ' ', ':', 'é'),
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(key, key, (one, other) => {
        const same = imageTag({ bucket: 'images', key: one }) === imageTag({ bucket: 'images', key: other });
        expect(same).toBe(one === other);
      }),
    );
  });
});

describe('private names', () => {
  it('carry the id of the fill', () => {
    expect(privateName(mark.fillId)).toBe('lvp-fill-0123456789abcdef');
    expect(fillIdOf(privateName(mark.fillId))).toBe(mark.fillId);
  });

  it.each([
    'web1-root',
    'lvp-fill-',
    'lvp-fill-xyz',
    'lvp-fill-0123456789abcdef0',
    'a-lvp-fill-0123456789abcdef',
  ])('are not %s', (lv) => {
    expect(fillIdOf(lv)).toBeUndefined();
  });
});
