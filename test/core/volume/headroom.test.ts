/** Goal: what is admitted fits, to the unit, and nothing that fits is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeHeadroom, headroomOf } from '../../../src/core/volume/headroom.ts';

const GIB = 2 ** 30;
const group = { sizeBytes: 100 * GIB, freeBytes: 40 * GIB, unitBytes: 4 * 2 ** 20 };

describe('headroomOf', () => {
  it('takes off what others were promised and what is to stay free', () => {
    const fits = (wantedBytes: number) => headroomOf(group, { percent: 10 }, [10 * GIB], wantedBytes).fits;
    expect([fits(20 * GIB), fits(20 * GIB + 1)]).toEqual([true, false]);
  });

  it('counts whole extents, those of each promise for itself', () => {
    const unitBytes = 4 * 2 ** 20;
    expect(headroomOf({ ...group, freeBytes: 3 * unitBytes }, { bytes: 1 }, [1, 1], 1)).toEqual({
      ...{ fits: false, freeBytes: 3 * unitBytes, reservedBytes: 2 * unitBytes },
      ...{ keepFreeBytes: unitBytes, wantedBytes: unitBytes },
    });
  });

  it('says all its numbers', () => {
    const headroom = headroomOf(group, { bytes: GIB }, [2 * GIB], 50 * GIB);
    expect(describeHeadroom(headroom)).toBe(
      'wanted are 53687091200 bytes (50.0 GiB); free are 42949672960 bytes (40.0 GiB), of which 2147483648 bytes (2.0 GiB) are reserved for other fills and 1073741824 bytes (1.0 GiB) are to stay free',
    );
  });

  it('admits one after the other exactly as many as LVM can make', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 1000 }), { maxLength: 30 });
    const of = { sizes, units: fc.integer({ min: 0, max: 500 }), unitBytes: fc.integer({ min: 1, max: 64 }) };
    const keep = fc.oneof(
      fc.record({ bytes: fc.integer({ min: 0, max: 5000 }) }),
      fc.record({ percent: fc.integer({ min: 0, max: 99 }) }),
    );
    fc.assert(
      fc.property(fc.record({ ...of, keep }), ({ sizes, units, unitBytes, keep }) => {
        const space = { sizeBytes: units * unitBytes, freeBytes: units * unitBytes, unitBytes };
        const keptBytes = 'bytes' in keep ? keep.bytes : (space.sizeBytes * keep.percent) / 100;
        const admitted: number[] = [];
        let leftUnits = units;
        for (const size of sizes) {
          const afterUnits = leftUnits - Math.ceil(size / unitBytes);
          expect(headroomOf(space, keep, admitted, size).fits).toBe(afterUnits * unitBytes >= keptBytes);
          if (afterUnits * unitBytes < keptBytes) continue;
          leftUnits = afterUnits;
          admitted.push(size);
        }
      }),
    );
  });
});
