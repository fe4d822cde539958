/**
 * Goal: for every state a volume and its ledger row can be in, the planner does the one safe thing.
 * Method: each case names what is on the volume group and in the ledger, and what must be decided.
 */
import { describe, expect, it } from 'vitest';
import type { PlanInput } from '../../src/core/plan/input.ts';
import type { PlannedFill } from '../../src/core/plan/planned-fill.ts';
import { isStartable, plan } from '../../src/core/plan.ts';
import { planReclaim } from '../../src/core/plan/left-behind.ts';
import type { Domain, VolumeRequest } from '../../src/core/request.ts';
import type { LogicalVolume } from '../../src/core/volume/volume.ts';
import {
  ADOPTING_TAG,
  fillTags,
  imageTag,
  privateName,
  retiredName,
  sealTags,
} from '../../src/core/volume/volume.ts';

const US = '11111111-1111-4111-8111-111111111111';
const OTHER = '22222222-2222-4222-8222-222222222222';
const FILL = '0123456789abcdef';
const NEXT = 'fedcba9876543210';
const SHA256 = 'a'.repeat(64);
const location = { pool: 'guests', vg: 'vg0', lv: 'vm1' };
const request: VolumeRequest = {
  target: 'vda',
  image: { bucket: 'images', key: 'debian.qcow2' },
  format: 'qcow2',
  generation: 1,
};
const domain: Domain = {
  uuid: US,
  name: 'vm1',
  disks: [],
  annotation: { start: 'manual', volumes: [request] },
};

function volume(lv: string, tags: readonly string[] = []): LogicalVolume {
  return {
    vg: 'vg0',
    lv,
    uuid: lv,
    sizeBytes: 1 << 30,
    tags,
    active: true,
    open: false,
    segmentType: 'linear',
    writable: true,
  };
}

const sealOf = (domainUuid: string, generation = 1, image = request.image, fillId = FILL) =>
  sealTags({ fillId, target: 'vm1', domainUuid, image: imageTag(image), sha256: SHA256, generation });
const inactive = () => ({
  ...volume('vm1', sealOf(US)),
  active: false,
  segmentType: 'thin',
  thinPool: 'pool0',
});
const asideOf = (domainUuid: string) => volume(retiredName(FILL), sealOf(domainUuid));
const fillingFor = (domainUuid: string) => fillTags({ fillId: FILL, target: 'vm1', domainUuid });

function row(change: Partial<PlannedFill> = {}): PlannedFill {
  return { fillId: FILL, domainUuid: US, domainName: 'vm1', request, location, state: 'filling', ...change };
}

function decide(input: Partial<PlanInput>) {
  const planned = plan({
    domain,
    located: [{ request, location }],
    problems: [],
    volumes: [],
    blankness: new Map(),
    fills: [],
    running: new Set(),
    firstStarts: new Map(),
    stoppedPools: new Map(),
    hostPolicy: undefined,
    keyStates: new Map(),
    keysElsewhere: new Map(),
    nowMs: 1_000,
    ...input,
  });
  return { planned, disk: planned.disks[0] };
}

const blank = new Map([['vg0/vm1', { blank: true } as const]]);
const notBlank = new Map([['vg0/vm1', { blank: false, why: 'ext4 found' } as const]]);
const passing = { code: 'STORE_UNREACHABLE', message: 'MinIO is away' } as const;
const lasting = { code: 'DIGEST_MISMATCH', message: 'wrong bytes' } as const;

describe('plan, for one disk', () => {
  const cases: [name: string, input: Partial<PlanInput>, expected: object][] = [
    ['nothing there: fill a new volume', {}, { action: 'fill', from: 'new' }],
    [
      'a blank volume: take it over',
      { volumes: [volume('vm1')], blankness: blank },
      { action: 'fill', from: 'adopt' },
    ],
    [
      'a volume with content: refuse',
      { volumes: [volume('vm1')], blankness: notBlank },
      { action: 'refuse' },
    ],
    ['a volume nobody examined: refuse', { volumes: [volume('vm1')] }, { action: 'refuse' }],
    [
      'sealed for us: nothing to do',
      { volumes: [volume('vm1', sealOf(US))] },
      { action: 'none', sha256: SHA256 },
    ],
    [
      'sealed for us by a fill that is still telling libvirt: wait',
      { volumes: [volume('vm1', sealOf(US))], fills: [row()], running: new Set([FILL]) },
      { action: 'wait', fillId: FILL },
    ],
    [
      'a thin one that was named and not activated, by a fill that was cut off: finish it',
      { volumes: [inactive()], fills: [row({ state: 'publishing' })] },
      { action: 'finish', fillId: FILL },
    ],
    [
      'the same after a failure: not without a pause',
      { volumes: [inactive()], fills: [row({ state: 'failed', problem: passing, retryAtMs: 9_000 })] },
      { action: 'hold', retryAtMs: 9_000 },
    ],
    [
      'a thin one that somebody has deactivated since: nothing to do',
      { volumes: [inactive()], fills: [row({ state: 'ready' })] },
      { action: 'none', sha256: SHA256 },
    ],
    [
      'an inactive thin one of which nothing is known: nothing to do',
      { volumes: [inactive()] },
      { action: 'none', sha256: SHA256 },
    ],
    ['sealed for another domain: refuse', { volumes: [volume('vm1', sealOf(OTHER))] }, { action: 'refuse' }],
    [
      'sealed with another generation: refuse',
      { volumes: [volume('vm1', sealOf(US, 2))] },
      { action: 'refuse' },
    ],
    [
      'half a seal: refuse',
      {
        volumes: [
          volume(
            'vm1',
            sealOf(US).filter((tag) => !tag.includes('sha256')),
          ),
        ],
        blankness: blank,
      },
      { action: 'refuse' },
    ],
    ['our fill runs: wait', { fills: [row()], running: new Set([FILL]) }, { action: 'wait', fillId: FILL }],
    [
      'our fill runs, but for an older annotation: end it',
      { fills: [row({ request: { ...request, sha256: SHA256 } })], running: new Set([FILL]) },
      { action: 'cancel', fillId: FILL },
    ],
    [
      'an interrupted fill with its private volume: resume',
      { fills: [row()], volumes: [volume(privateName(FILL), fillingFor(US))] },
      { action: 'fill', from: 'resume', fillId: FILL },
    ],
    [
      'an interrupted fill whose annotation has changed: a new volume',
      {
        fills: [row({ request: { ...request, generation: 2 } })],
        volumes: [volume(privateName(FILL), fillingFor(US))],
      },
      { action: 'fill', from: 'new' },
    ],
    [
      'a private volume of a lost ledger: a new volume',
      { volumes: [volume(privateName(FILL), fillingFor(US))] },
      { action: 'fill', from: 'new' },
    ],
    [
      'sealed under the private name: only the rename is missing',
      { volumes: [volume(privateName(FILL), sealOf(US))] },
      { action: 'finish', fillId: FILL },
    ],
    [
      'sealed under the private name while another fill failed: still only the rename',
      {
        volumes: [volume(privateName(FILL), sealOf(US))],
        fills: [row({ fillId: 'f'.repeat(16), state: 'failed', problem: lasting })],
      },
      { action: 'finish', fillId: FILL },
    ],
    [
      'sealed under the private name, but the rename failed: not again at once',
      {
        volumes: [volume(privateName(FILL), sealOf(US))],
        fills: [row({ state: 'failed', problem: passing, retryAtMs: 2_000 })],
      },
      { action: 'hold', retryAtMs: 2_000 },
    ],
    [
      'sealed under the private name for another domain: not ours',
      { volumes: [volume(privateName(FILL), sealOf(OTHER))] },
      { action: 'fill', from: 'new' },
    ],
    [
      'adoption interrupted under the final name: go on with it',
      { volumes: [volume('vm1', fillingFor(US))] },
      { action: 'fill', from: 'adopt', fillId: FILL },
    ],
    [
      'adoption interrupted for another domain: refuse',
      { volumes: [volume('vm1', fillingFor(OTHER))] },
      { action: 'refuse' },
    ],
    [
      'sealed for a first start of this guest that was refused: claim',
      { volumes: [volume('vm1', sealOf(OTHER))], firstStarts: new Map([[OTHER, 'vm1']]) },
      { action: 'claim', fillId: FILL },
    ],
    [
      'sealed for a refused first start, but with another image: refuse',
      {
        volumes: [volume('vm1', sealOf(OTHER, 1, { bucket: 'images', key: 'other' }))],
        firstStarts: new Map([[OTHER, 'vm1']]),
      },
      { action: 'refuse' },
    ],
    [
      'sealed for a refused first start of another guest: refuse',
      { volumes: [volume('vm1', sealOf(OTHER))], firstStarts: new Map([[OTHER, 'vm2']]) },
      { action: 'refuse' },
    ],
    [
      'being filled for an earlier try: wait for that',
      {
        fills: [row({ domainUuid: OTHER })],
        firstStarts: new Map([[OTHER, 'vm1']]),
        running: new Set([FILL]),
      },
      { action: 'wait', fillId: FILL },
    ],
    [
      'another domain fills this volume now: refuse',
      { fills: [row({ domainUuid: OTHER })] },
      { action: 'refuse' },
    ],
    [
      'another domain once failed on this volume: ours now',
      { fills: [row({ domainUuid: OTHER, state: 'failed', problem: lasting })] },
      { action: 'fill', from: 'new' },
    ],
    [
      'published and gone: hold',
      { fills: [row({ state: 'ready' })] },
      { action: 'hold', problem: { code: 'VOLUME_MISSING' } },
    ],
    [
      'published and replaced by a blank volume: hold',
      { fills: [row({ state: 'ready' })], volumes: [volume('vm1')], blankness: blank },
      { action: 'hold', problem: { code: 'VOLUME_MISSING' } },
    ],
    ['failed for good: hold', { fills: [row({ state: 'failed', problem: lasting })] }, { action: 'hold' }],
    [
      'failed for good, annotation changed since: fill',
      { fills: [row({ state: 'failed', problem: lasting, request: { ...request, format: 'raw' } })] },
      { action: 'fill', from: 'new' },
    ],
    [
      'failed for a passing reason: hold until the pause is over',
      { fills: [row({ state: 'failed', problem: passing, retryAtMs: 2_000 })] },
      { action: 'hold', retryAtMs: 2_000 },
    ],
    [
      'failed for a passing reason, pause over: fill',
      { fills: [row({ state: 'failed', problem: passing, retryAtMs: 999 })] },
      { action: 'fill', from: 'new' },
    ],
    [
      'failed for a passing reason, and the clock was set back a day: fill',
      { fills: [row({ state: 'failed', problem: passing, retryAtMs: 90_000_000 })] },
      { action: 'fill', from: 'new' },
    ],
    [
      'published, and being put aside to be made again: wait',
      {
        volumes: [volume('vm1', sealOf(US))],
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'waiting' })],
        running: new Set([NEXT]),
      },
      { action: 'wait', fillId: NEXT },
    ],
    [
      'published, and was to be put aside when a crash came: nothing to do',
      {
        volumes: [volume('vm1', sealOf(US))],
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'waiting' })],
      },
      { action: 'none', fillId: FILL },
    ],
    [
      'put aside, and its fill not begun yet: fill',
      { volumes: [asideOf(US)], fills: [row({ fillId: NEXT, replaces: FILL, state: 'waiting' })] },
      { action: 'fill', from: 'new' },
    ],
    [
      'put aside, and its fill interrupted: resume',
      {
        volumes: [
          asideOf(US),
          volume(privateName(NEXT), fillTags({ fillId: NEXT, target: 'vm1', domainUuid: US })),
        ],
        fills: [row({ fillId: NEXT, replaces: FILL })],
      },
      { action: 'fill', from: 'resume', fillId: NEXT },
    ],
    [
      'put aside, and a blank volume has its name: still filled',
      {
        volumes: [asideOf(US), volume('vm1')],
        blankness: blank,
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'waiting' })],
      },
      { action: 'fill', from: 'adopt' },
    ],
    [
      'put aside, and its fill failed for a passing reason: hold, and say that it is aside',
      {
        volumes: [asideOf(US)],
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'failed', problem: passing, retryAtMs: 2_000 })],
      },
      {
        action: 'hold',
        retryAtMs: 2_000,
        problem: { hint: expect.stringContaining('`lvp cancel vm1` gives it back') as string },
      },
    ],
    [
      'put aside, its fill failed for a passing reason, pause over: fill',
      {
        volumes: [asideOf(US)],
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'failed', problem: passing, retryAtMs: 999 })],
      },
      { action: 'fill', from: 'new' },
    ],
    [
      'put aside, and its fill failed for good: its name back',
      {
        volumes: [asideOf(US)],
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'failed', problem: lasting })],
      },
      { action: 'restore', fillId: FILL },
    ],
    [
      'put aside, and its fill was cancelled: its name back',
      { volumes: [asideOf(US)], fills: [row({ fillId: NEXT, replaces: FILL, state: 'cancelled' })] },
      { action: 'restore', fillId: FILL },
    ],
    [
      'put aside, and the annotation has changed since: its name back',
      {
        volumes: [asideOf(US)],
        fills: [row({ fillId: NEXT, replaces: FILL, request: { ...request, generation: 2 } })],
      },
      { action: 'restore', fillId: FILL },
    ],
    [
      'put aside while a guest had just opened it: its name back',
      {
        volumes: [{ ...asideOf(US), open: true }],
        fills: [row({ fillId: NEXT, replaces: FILL, state: 'waiting' })],
      },
      { action: 'restore', fillId: FILL },
    ],
    ['put aside, and the ledger is lost: its name back', { volumes: [asideOf(US)] }, { action: 'restore' }],
    [
      'put aside, published again, and that one gone: its name back',
      { volumes: [asideOf(US)], fills: [row({ fillId: NEXT, replaces: FILL, state: 'ready' })] },
      { action: 'restore' },
    ],
    [
      'put aside, the ledger lost, and a blank volume has its name: refuse',
      { volumes: [asideOf(US), volume('vm1')], blankness: blank },
      { action: 'refuse', problem: { code: 'VOLUME_STATE' } },
    ],
    [
      'put aside, and its successor lacks only its name: finish',
      { volumes: [asideOf(US), volume(privateName(NEXT), sealOf(US, 1, request.image, NEXT))] },
      { action: 'finish', fillId: NEXT },
    ],
    [
      'put aside for another domain: refuse',
      { volumes: [asideOf(OTHER)] },
      { action: 'refuse', problem: { code: 'VOLUME_OF_OTHER_DOMAIN' } },
    ],
    [
      'a volume with a name aside but no seal of that fill: nothing of ours',
      { volumes: [volume(retiredName(FILL)), volume(retiredName(NEXT), sealOf(US))] },
      { action: 'fill', from: 'new' },
    ],
    ['cancelled: hold', { fills: [row({ state: 'cancelled' })] }, { action: 'hold' }],
  ];

  it.each(cases)('%s', (_name, input, expected) => {
    expect(decide(input).disk).toMatchObject(expected);
  });

  it('only a sealed volume is startable, whatever else is decided', () => {
    for (const [, input] of cases) {
      const { planned, disk } = decide(input);
      expect(isStartable(planned)).toBe(disk?.action === 'none');
    }
  });

  describe('where the policy of the host allows nothing', () => {
    const hostPolicy = [{ name: 'nothing', allow: false }];

    it.each(cases)('begins nothing and leaves alone what is published: %s', (_name, input) => {
      const before = decide(input).disk ?? expect.fail('no disk');
      const { disk } = decide({ ...input, hostPolicy });
      expect(['fill', 'claim']).not.toContain(disk?.action);
      if (['none', 'finish', 'restore'].includes(before.action)) {
        expect({ ...disk, policy: undefined }).toEqual({ ...before, policy: undefined });
      }
      if (['fill', 'claim'].includes(before.action)) {
        expect(['refuse', 'restore']).toContain(disk?.action);
        // Of a volume aside that cannot have its name back there is more to be said.
        const code = disk?.aside === undefined ? 'POLICY_REFUSED' : 'VOLUME_STATE';
        if (disk?.action === 'refuse') expect(disk.problem.code).toBe(code);
      }
      expect(disk?.policy?.allowed).toBe(false);
    });

    it('ends what runs, unless only its name is missing', () => {
      const running = { fills: [row()], running: new Set([FILL]) };
      expect(decide({ ...running, hostPolicy }).disk).toMatchObject({ action: 'cancel', fillId: FILL });
      const sealed = { ...running, volumes: [volume(privateName(FILL), sealOf(US))] };
      expect(decide({ ...sealed, hostPolicy }).disk).toMatchObject({ action: 'wait', fillId: FILL });
      const published = { ...running, volumes: [volume('vm1', sealOf(US))] };
      expect(decide({ ...published, hostPolicy }).disk).toMatchObject({ action: 'wait', fillId: FILL });
    });

    it('gives back what was put aside for a fill that would be tried again', () => {
      const failed = row({
        fillId: NEXT,
        state: 'failed',
        problem: passing,
        retryAtMs: 2_000,
        replaces: FILL,
      });
      const input = { volumes: [asideOf(US)], fills: [failed] };
      expect(decide(input).disk?.action).toBe('hold');
      expect(decide({ ...input, hostPolicy }).disk).toMatchObject({ action: 'restore', fillId: FILL });
    });

    it('says so rather than why an earlier fill failed', () => {
      const input = { fills: [row({ state: 'failed', problem: lasting })], hostPolicy };
      expect(decide(input).disk).toMatchObject({ action: 'refuse', problem: { code: 'POLICY_REFUSED' } });
    });
  });

  it('judges a volume that is to be taken over by its size, a sealed one not', () => {
    const hostPolicy = [{ name: 'small', allow: true, sizeMaxBytes: (1 << 30) - 1 }];
    const judged = (tags?: readonly string[]) =>
      decide({ volumes: [volume('vm1', tags)], blankness: blank, hostPolicy }).disk;
    expect(judged()).toMatchObject({ action: 'refuse', problem: { code: 'POLICY_REFUSED' } });
    expect(judged(sealOf(US))).toMatchObject({ action: 'none', policy: { allowed: true } });
  });

  it('reports drift, and keeps the published volume', () => {
    const image = { bucket: 'images', key: 'older.qcow2' };
    const { disk } = decide({ volumes: [volume('vm1', sealOf(US, 1, image))] });
    expect(disk).toMatchObject({
      action: 'none',
      drift: expect.stringContaining('images/older.qcow2') as string,
    });
  });

  it('says how a published volume is made again, for drift as for another generation', () => {
    const image = { bucket: 'images', key: 'older.qcow2' };
    expect(decide({ volumes: [volume('vm1', sealOf(US, 1, image))] }).disk).toMatchObject({
      drift: expect.stringContaining('`lvp reprovision vm1 vda`') as string,
    });
    expect(decide({ volumes: [volume('vm1', sealOf(US, 2))] }).disk).toMatchObject({
      problem: { hint: expect.stringContaining('`lvp reprovision vm1 vda`') as string },
    });
  });

  it('is not startable while the annotation has a mistake', () => {
    const { planned } = decide({
      volumes: [volume('vm1', sealOf(US))],
      problems: [{ code: 'DISK_UNSUITABLE', message: 'no disk vdb' }],
    });
    expect(isStartable(planned)).toBe(false);
  });
});

describe('plan, for an encrypted disk', () => {
  const key = { provider: 'file', id: 'vm1' } as const;
  const encrypted = { located: [{ request: { ...request, key }, location }] };
  const encryption = 'luks1' as const;
  const sealed = sealTags({
    ...{ fillId: FILL, target: 'vm1', domainUuid: US, image: imageTag(request.image), sha256: SHA256 },
    ...{ generation: 1, encryption },
  });
  const ours = fillTags({ fillId: FILL, target: 'vm1', domainUuid: US, encryption });
  const unfinished = row({ request: { ...request, key } });

  it.each<[name: string, input: Partial<PlanInput>, expected: object]>([
    ['nothing there: fill', {}, { action: 'fill', from: 'new' }],
    ['sealed as encrypted: nothing to do', { volumes: [volume('vm1', sealed)] }, { action: 'none' }],
    [
      'sealed as plain: refused',
      { volumes: [volume('vm1', sealOf(US))] },
      {
        action: 'refuse',
        problem: { code: 'VOLUME_STATE', message: expect.stringContaining('is not encrypted') as string },
      },
    ],
    [
      'an interrupted fill that was encrypted: resumed',
      { volumes: [volume(privateName(FILL), ours)], fills: [unfinished] },
      { action: 'fill', from: 'resume' },
    ],
    [
      'an interrupted fill that was not: begun anew',
      { volumes: [volume(privateName(FILL), fillingFor(US))], fills: [unfinished] },
      { action: 'fill', from: 'new' },
    ],
    [
      'a fill with another key runs: ended',
      {
        fills: [row({ request: { ...request, key: { ...key, id: 'other' } } })],
        running: new Set([FILL]),
      },
      { action: 'cancel' },
    ],
    [
      'its key is that of another disk: refused',
      { keysElsewhere: new Map([['file:vm1', { domainUuid: OTHER, says: 'disk vda of domain vm2' }]]) },
      {
        action: 'refuse',
        problem: { code: 'KEY_IN_USE', message: expect.stringContaining('vm2') as string },
      },
    ],
    [
      'its key is that of another disk, but it is sealed: not stopped',
      {
        volumes: [volume('vm1', sealed)],
        keysElsewhere: new Map([['file:vm1', { domainUuid: OTHER, says: 'disk vda of domain vm2' }]]),
      },
      { action: 'none' },
    ],
    [
      'its key is that of an earlier try of the same guest: fill',
      {
        keysElsewhere: new Map([['file:vm1', { domainUuid: OTHER, says: 'disk vda of domain vm1' }]]),
        firstStarts: new Map([[OTHER, 'vm1']]),
      },
      { action: 'fill' },
    ],
  ])('%s', (_name, input, expected) => {
    expect(decide({ ...encrypted, ...input }).disk).toMatchObject(expected);
  });

  it('is refused for a plain disk on an encrypted volume', () => {
    expect(decide({ volumes: [volume('vm1', sealed)] }).disk).toMatchObject({
      action: 'refuse',
      problem: { code: 'VOLUME_STATE', message: 'Volume vg0/vm1 is encrypted, and its disk is not.' },
    });
  });

  it('says of a thin one that it is no clone', () => {
    const located = [{ request: { ...request, key }, location: { ...location, thinPool: 'pool0' } }];
    expect(decide({ located }).disk?.because).toContain('written to pool0 and is no clone');
  });
});

describe('planReclaim', () => {
  const litter = volume(privateName(FILL), fillingFor(US));
  const reclaimed = (input: Partial<Parameters<typeof planReclaim>[0]>) =>
    planReclaim({ volumes: [litter], fills: [], running: new Set(), ...input });

  it('removes a private volume that nothing accounts for', () => {
    expect(reclaimed({})).toEqual([litter]);
    expect(reclaimed({ fills: [row({ state: 'failed', problem: lasting })] })).toEqual([litter]);
  });

  it('keeps what runs, what the ledger calls unfinished, and whatever is not exactly a fill of ours', () => {
    expect(reclaimed({ running: new Set([FILL]) })).toEqual([]);
    expect(reclaimed({ fills: [row()] })).toEqual([]);
    expect(reclaimed({ volumes: [volume(privateName(FILL), sealOf(US))] })).toEqual([]);
    expect(reclaimed({ volumes: [volume(privateName(FILL))] })).toEqual([]);
    expect(reclaimed({ volumes: [volume(privateName('f'.repeat(16)), fillingFor(US))] })).toEqual([]);
    expect(reclaimed({ volumes: [volume('vm1', fillingFor(US))] })).toEqual([]);
  });

  it('gives back what was being taken over for a domain that is gone', () => {
    const half = volume('vm1', [...fillingFor(US), ADOPTING_TAG]);
    expect(reclaimed({ volumes: [half] })).toEqual([half]);
    expect(reclaimed({ volumes: [half], fills: [row()] })).toEqual([]);
  });
});
