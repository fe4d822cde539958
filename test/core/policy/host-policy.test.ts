/**
 * Goal: the first rule that matches a domain decides, all that it says holds, and whoever is refused is told by
 * which rule and why.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PolicyRule } from '../../../src/core/policy/host-policy.ts';
import { describeVerdict, judgeFill, judgePlace, ruleFor } from '../../../src/core/policy/host-policy.ts';
import type { VolumeRequest } from '../../../src/core/request.ts';

const uuid = '11111111-1111-4111-8111-111111111111';
const OTHER = '22222222-2222-4222-8222-222222222222';
const web1 = { uuid, name: 'web1' };
const location = { pool: 'guests', vg: 'vg0', lv: 'web1' };
const request: VolumeRequest = {
  target: 'vda',
  image: { bucket: 'images', key: 'prod/debian.qcow2' },
  format: 'qcow2',
  generation: 1,
};
const disk = { request, location };
const GIB = 2 ** 30;

const rule = (more: Partial<PolicyRule> = {}): PolicyRule => ({ name: 'some', allow: true, ...more });
const judge = (more: Partial<PolicyRule>, changed: Partial<VolumeRequest> = {}) =>
  judgeFill([rule(more)], web1, { request: { ...request, ...changed }, location });

describe('which rule is for a domain', () => {
  it.each<[string, Partial<PolicyRule>, boolean]>([
    ['one without matchers', {}, true],
    ['a pattern', { domains: ['web?'] }, true],
    ['one of several patterns', { domains: ['db*', 'w*1'] }, true],
    ['none of the patterns', { domains: ['db*', 'WEB*'] }, false],
    ['a UUID', { uuids: [OTHER, uuid] }, true],
    ['another UUID', { uuids: [OTHER] }, false],
    ['pattern and UUID', { domains: ['web*'], uuids: [uuid] }, true],
    ['the pattern, not the UUID', { domains: ['web*'], uuids: [OTHER] }, false],
    ['the UUID, not the pattern', { domains: ['db*'], uuids: [uuid] }, false],
  ])('%s', (_what, matchers, isFor) => {
    expect(ruleFor([rule(matchers)], web1) !== undefined).toBe(isFor);
  });

  it('is the first that matches, not the one that says most', () => {
    const policy = [
      rule({ name: 'db', domains: ['db*'] }),
      rule({ name: 'web', domains: ['web*'] }),
      rule({ name: 'web1', domains: ['web1'], uuids: [uuid] }),
    ];
    expect(ruleFor(policy, web1)?.name).toBe('web');
  });

  it('is none for a name that no libvirt has', () => {
    expect(ruleFor([rule()], { uuid, name: 'a'.repeat(1025) })).toBeUndefined();
  });

  const anyRule: fc.Arbitrary<PolicyRule> = fc.record({
    name: fc.stringMatching(/^[a-z]{1,4}$/),
    allow: fc.boolean(),
    domains: fc.option(fc.array(fc.constantFrom('*', 'web*', 'web1', 'db?', 'x'), { minLength: 1 }), {
      nil: undefined,
    }),
    uuids: fc.option(fc.constantFrom([uuid], [OTHER]), { nil: undefined }),
    pools: fc.option(fc.constantFrom(['guests'], ['fast']), { nil: undefined }),
    images: fc.option(fc.constantFrom(['images/'], ['images/dev/']), { nil: undefined }),
    sizeMaxBytes: fc.option(fc.constantFrom(GIB, 3 * GIB), { nil: undefined }),
  });

  it('alone decides: what stands before it, and what stands behind it, changes nothing', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 8 }), (policy) => {
        const verdict = judgeFill(policy, web1, disk, 2 * GIB);
        const first = policy.findIndex((one) => ruleFor([one], web1) !== undefined);
        const [alone] = first < 0 ? [] : [policy[first]];
        expect(verdict).toEqual(judgeFill(alone === undefined ? [] : [alone], web1, disk, 2 * GIB));
        const strangers = policy.slice(0, Math.max(first, 0));
        expect(verdict).toEqual(
          judgeFill([...strangers, ...policy.slice(Math.max(first, 0), first + 1)], web1, disk, 2 * GIB),
        );
      }),
    );
  });
});

describe('what a rule allows', () => {
  it.each<[string, Partial<PolicyRule>, Partial<VolumeRequest>]>([
    ['anything, if it says nothing', {}, {}],
    ['the pool', { pools: ['fast', 'guests'] }, {}],
    ['the volume group', { volumeGroups: ['vg0'] }, {}],
    ['the image', { images: ['other/', 'images/prod/'] }, {}],
    ['the whole bucket', { images: ['images/'] }, {}],
    ['the format', { formats: ['raw', 'qcow2'] }, {}],
    ['no compression', { compression: ['none'] }, {}],
    ['the compression', { compression: ['xz'] }, { compression: 'xz' }],
    ['a size that is not known yet', { sizeMaxBytes: GIB }, {}],
    ['exactly the size', { sizeMaxBytes: GIB }, { sizeBytes: GIB }],
  ])('%s', (_what, allowed, changed) => {
    expect(judge(allowed, changed)).toMatchObject({ allowed: true, rule: allowed });
  });

  it.each<[string, Partial<PolicyRule>, Partial<VolumeRequest>, string]>([
    ['another pool', { pools: ['fast', 'slow'] }, {}, 'pool "guests" is none of "fast", "slow"'],
    ['another group', { volumeGroups: ['vg1'] }, {}, 'volume group "vg0" is none of "vg1"'],
    [
      'another image',
      { images: ['images/dev/'] },
      {},
      'the image "images/prod/debian.qcow2" begins with none of "images/dev/"',
    ],
    [
      'a bucket whose name only begins so',
      { images: ['images/'] },
      { image: { bucket: 'images-old', key: 'a' } },
      'the image "images-old/a" begins with none of "images/"',
    ],
    ['another format', { formats: ['raw'] }, {}, 'format "qcow2" is none of "raw"'],
    ['no compression', { compression: ['zstd'] }, {}, 'compression "none" is none of "zstd"'],
    [
      'another compression',
      { compression: ['none'] },
      { compression: 'xz' },
      'compression "xz" is none of "none"',
    ],
    [
      'a larger volume',
      { sizeMaxBytes: GIB },
      { sizeBytes: GIB + 512 },
      'the volume has 1.0 GiB (1073742336 bytes), and at most 1.0 GiB (1073741824 bytes) are allowed',
    ],
  ])('not %s', (_what, allowed, changed, why) => {
    expect(judge(allowed, changed)).toEqual({
      allowed: false,
      said: `rule some refuses it: ${why}`,
      problem: {
        code: 'POLICY_REFUSED',
        message: `Rule some of this host's policy does not allow this for disk vda of domain "web1": ${why}.`,
        hint: 'Change the annotation or the disk, or have `policy` in the configuration changed and the provisioner restarted, then run `lvp retry`.',
      },
    });
  });

  it('says all that is wrong at once, and not a thousand names', () => {
    const images = Array.from({ length: 1000 }, (_, index) => `images/${index}/`);
    const verdict = judge({ pools: ['fast'], images });
    expect(verdict && describeVerdict(verdict)).toBe(
      'rule some refuses it: pool "guests" is none of "fast"; the image "images/prod/debian.qcow2" begins with none of "images/0/", "images/1/", "images/2/", "images/3/", "images/4/" and 995 more',
    );
  });

  it('is nothing if it says so', () => {
    const verdict = judge({ allow: false });
    expect(verdict).toMatchObject({
      allowed: false,
      problem: {
        code: 'POLICY_REFUSED',
        message:
          'Rule some of this host\'s policy allows domain "web1" nothing, so its disk vda gets no volume.',
      },
    });
    expect(verdict && describeVerdict(verdict)).toBe('rule some allows nothing');
  });
});

describe('a domain', () => {
  it('may have anything where there is no policy', () => {
    expect(judgeFill(undefined, web1, disk)).toBeUndefined();
    expect(judgePlace(undefined, web1, 'vda', location, GIB)).toBeUndefined();
  });

  it('gets nothing where no rule matches it', () => {
    const verdict = judgeFill([rule({ domains: ['db*'] })], web1, disk);
    expect(verdict).toMatchObject({
      allowed: false,
      problem: {
        code: 'POLICY_REFUSED',
        message: `No rule of this host's policy matches domain "web1" (${uuid}), so its disk vda gets no volume.`,
      },
    });
    expect(verdict && describeVerdict(verdict)).toBe('no rule matches');
  });

  it('that brings its bytes along is asked for place and size alone', () => {
    const strict = rule({ images: ['other/'], formats: ['raw'], pools: ['guests'], sizeMaxBytes: GIB });
    expect(judgePlace([strict], web1, 'vda', location, GIB)).toEqual({ allowed: true, rule: strict });
    expect(judgePlace([strict], web1, 'vda', location, GIB + 1)?.allowed).toBe(false);
    expect(judgePlace([strict], web1, 'vda', { pool: 'fast', vg: 'vg0' }, GIB)?.allowed).toBe(false);
    expect(judgePlace([rule({ allow: false })], web1, 'vda', location, GIB)?.allowed).toBe(false);
  });
});
