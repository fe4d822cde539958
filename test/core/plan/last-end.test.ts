import { describe, expect, it } from 'vitest';
import type { LastEnd, ShutoffReason } from '../../../src/core/plan/last-end.ts';
import { fateOf, lastEndAfter, mayBeDeleted } from '../../../src/core/plan/last-end.ts';

const request = {
  target: 'vda',
  image: { bucket: 'images', key: 'x' },
  format: 'raw',
  generation: 1,
} as const;
const off = (shutoff: ShutoffReason) => ({ active: false, persistent: true, shutoff });

describe('the last end after a reading', () => {
  it.each<[LastEnd | undefined, ShutoffReason, LastEnd | undefined]>([
    [undefined, 'ended', 'here'],
    ['migrated', 'ended', 'here'],
    [undefined, 'unknown', undefined],
    ['here', 'unknown', 'here'],
    ['migrated', 'unknown', 'migrated'],
    ['here', 'migrated', 'migrated'],
    ['here', 'saved', undefined],
    ['here', 'failed', 'here'],
    ['migrated', 'failed', 'migrated'],
    [undefined, 'failed', undefined],
  ])('of %s, shut off for the reason %s, is %s', (before, reason, after) => {
    expect(lastEndAfter(before, off(reason))).toBe(after);
  });

  it('is not proven of a domain that runs, or that is on its way out', () => {
    expect(lastEndAfter('here', { active: true, persistent: true })).toBeUndefined();
    expect(lastEndAfter('here', { active: false, persistent: false })).toBeUndefined();
    expect(lastEndAfter('here', { active: false, persistent: true })).toBeUndefined();
  });
});

describe('the fate of a volume', () => {
  it('is to be kept unless the annotation says otherwise for this very end', () => {
    expect(fateOf(request, 'here')).toBe('keep');
    expect(fateOf({ ...request, onUndefine: 'delete' }, 'here')).toBe('delete');
    expect(fateOf({ ...request, onUndefine: 'delete' }, 'migrated')).toBe('keep');
    expect(fateOf({ ...request, afterMigration: 'delete' }, 'migrated')).toBe('delete');
    expect(fateOf({ ...request, afterMigration: 'delete' }, 'here')).toBe('keep');
  });

  it('is open if either attribute says delete', () => {
    expect(mayBeDeleted({ ...request, onUndefine: 'keep' })).toBe(false);
    expect(mayBeDeleted({ ...request, afterMigration: 'delete' })).toBe(true);
    expect(mayBeDeleted({ ...request, onUndefine: 'delete' })).toBe(true);
  });
});
