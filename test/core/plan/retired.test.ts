/** Goal: a volume that was put aside is removed only on proof, and gets its name back in every other case but doubt. */
import { describe, expect, it } from 'vitest';
import type { PlannedFill } from '../../../src/core/plan/planned-fill.ts';
import { carriedOver, planRetired } from '../../../src/core/plan/retired.ts';
import type { LogicalVolume } from '../../../src/core/volume/volume.ts';
import { privateName, retiredName, sealTags } from '../../../src/core/volume/volume.ts';

const US = '11111111-1111-4111-8111-111111111111';
const OTHER = '22222222-2222-4222-8222-222222222222';
const OLD = '0123456789abcdef';
const NEW = 'fedcba9876543210';
const base = { vg: 'vg0', sizeBytes: 1, active: true, open: false, segmentType: 'linear', writable: true };
const lasting = { code: 'DIGEST_MISMATCH', message: 'wrong bytes' } as const;
const passing = { code: 'VG_FULL', message: 'full' } as const;

function sealed(lv: string, fillId: string, domainUuid = US): LogicalVolume {
  const seal = {
    fillId,
    target: 'vm1',
    domainUuid,
    image: 'images/a',
    sha256: 'a'.repeat(64),
    generation: 1,
  };
  return { ...base, lv, uuid: `${lv}-${fillId}`, tags: sealTags(seal) };
}

function row(change: Partial<PlannedFill>): PlannedFill {
  return {
    ...{ fillId: NEW, domainUuid: US, domainName: 'vm1', state: 'ready', replaces: OLD },
    request: { target: 'vda', image: { bucket: 'images', key: 'b' }, format: 'raw', generation: 1 },
    location: { pool: 'guests', vg: 'vg0', lv: 'vm1' },
    ...change,
  };
}

const aside = sealed(retiredName(OLD), OLD);
const heir = sealed('vm1', NEW);
type Input = Partial<Parameters<typeof planRetired>[0]>;
const actions = (input: Input) =>
  planRetired({ volumes: [aside], fills: [], running: new Set(), ...input }).map(({ action }) => action);

describe('a volume that was put aside', () => {
  it.each<[string, Input, ('restore' | 'remove' | 'leave')[]]>([
    ['gets its name back when nothing accounts for it', {}, ['restore']],
    ['stays while its fill is queued', { fills: [row({ state: 'waiting' })] }, []],
    [
      'stays while its fill is to be tried again',
      { fills: [row({ state: 'failed', problem: passing })] },
      [],
    ],
    [
      'gets its name back when its fill failed for good',
      { fills: [row({ state: 'failed', problem: lasting })] },
      ['restore'],
    ],
    ['gets its name back when its fill was cancelled', { fills: [row({ state: 'cancelled' })] }, ['restore']],
    ['gets its name back when its successor is gone', { fills: [row({})] }, ['restore']],
    [
      'gets its name back when a guest has it open and its fill does not run',
      { volumes: [{ ...aside, open: true }], fills: [row({ state: 'waiting' })] },
      ['restore'],
    ],
    [
      'stays while its fill runs, open or not',
      { volumes: [{ ...aside, open: true }], fills: [row({ state: 'filling' })], running: new Set([NEW]) },
      [],
    ],
    [
      'is removed when its successor is sealed and the row says ready',
      { volumes: [aside, heir], fills: [row({})] },
      ['remove'],
    ],
    [
      'stays while the row of its sealed successor is unfinished',
      { volumes: [aside, heir], fills: [row({ state: 'publishing' })] },
      [],
    ],
    ['is left when its name is taken and the ledger is lost', { volumes: [aside, heir] }, ['leave']],
    [
      'is left when the row is of another fill',
      { volumes: [aside, heir], fills: [row({ fillId: '1'.repeat(16) })] },
      ['leave'],
    ],
    [
      'is left when the row replaces another volume',
      { volumes: [aside, heir], fills: [row({ replaces: '1'.repeat(16) })] },
      ['leave'],
    ],
    [
      'is left when its name is sealed for another domain',
      { volumes: [aside, sealed('vm1', NEW, OTHER)], fills: [row({})] },
      ['leave'],
    ],
    [
      'is left when the row is of another place',
      { volumes: [aside, heir], fills: [row({ location: { pool: 'guests', vg: 'vg0', lv: 'vm2' } })] },
      ['leave'],
    ],
    [
      'is left when somebody else has its name',
      { volumes: [aside, { ...heir, tags: [] }], fills: [row({})] },
      ['leave'],
    ],
    [
      'is left when its successor lacks only its name',
      { volumes: [aside, sealed(privateName(NEW), NEW)] },
      ['leave'],
    ],
    [
      'is left when there are two of that name',
      { volumes: [aside, sealed(retiredName('1'.repeat(16)), '1'.repeat(16))] },
      ['leave', 'leave'],
    ],
    ['is not taken for one when it has another seal', { volumes: [sealed(retiredName(NEW), OLD)] }, []],
  ])('%s', (_what, input, expected) => {
    expect(actions(input)).toEqual(expected);
  });
});

describe('what a row takes over', () => {
  const before = row({ state: 'failed', problem: lasting });

  it('is the volume to be replaced, for the same fill and for the next try', () => {
    expect(carriedOver(before, NEW)).toEqual({ replaces: OLD });
    expect(carriedOver(before, undefined)).toEqual({ replaces: OLD });
  });

  it('is why nothing came of it, once the old volume has its name back', () => {
    expect(carriedOver(before, OLD)).toEqual({ problem: lasting });
    expect(carriedOver(row({ state: 'waiting' }), OLD)).toMatchObject({ problem: { code: 'CANCELLED' } });
  });

  it('is nothing for a volume of yet another fill: that would be proof of what nobody has seen', () => {
    expect(carriedOver(before, '1'.repeat(16))).toEqual({});
    expect(carriedOver(row({ replaces: undefined }), NEW)).toEqual({});
  });
});
