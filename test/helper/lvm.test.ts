/** Goal: rows of LVM's report, as LVM 2.03.31 prints them, mean what the verbs take them for. */
import { describe, expect, it } from 'vitest';
import { lvUuidOf } from '../../src/helper/devices.ts';
import { mergeSegments, readFullReport } from '../../src/helper/lvm.ts';

const MIB = 1 << 20;
const common = {
  ...{ vg_name: 'vg1', lv_tags: '', lv_active: 'active', lv_device_open: '', lv_permissions: 'writeable' },
  ...{ lv_role: 'public', lv_kernel_major: '253', lv_kernel_minor: '4', pool_lv: '', origin: '' },
  ...{ lv_skip_activation: '', data_percent: '', metadata_percent: '', chunk_size: '0', zero: 'unknown' },
  ...{ lv_metadata_size: '', lv_health_status: '', lv_check_needed: '', segtype: 'linear' },
};
const pool = {
  ...{
    ...common,
    lv_name: 'pool0',
    lv_uuid: 'p',
    lv_size: 2048 * MIB,
    lv_role: 'private',
    segtype: 'thin-pool',
  },
  ...{ zero: 'zero', data_percent: '4.88', metadata_percent: '11.82', chunk_size: '65536' },
  lv_metadata_size: '4194304',
};
const clone = {
  ...{
    ...common,
    lv_name: 'web1',
    lv_uuid: 'c',
    lv_size: 10_240 * MIB,
    lv_role: 'public,snapshot,thinsnapshot',
  },
  ...{
    segtype: 'thin',
    zero: 'zero',
    pool_lv: 'pool0',
    origin: 'lvp-gold-0123456789abcdef',
    data_percent: '0.98',
  },
};
const golden = {
  ...{ ...common, lv_name: 'lvp-gold-0123456789abcdef', lv_uuid: 'g', lv_size: 1024 * MIB, segtype: 'thin' },
  ...{ zero: 'zero', pool_lv: 'pool0', lv_permissions: 'read-only', lv_skip_activation: 'skip activation' },
  ...{ lv_active: '', lv_kernel_major: '-1', lv_kernel_minor: '-1', lv_role: 'public,origin,thinorigin' },
};

function rowOf(fields: typeof common & { lv_name: string; lv_uuid: string; lv_size: number }) {
  const [row] = mergeSegments([fields]);
  return row ?? expect.fail('there is no row');
}

describe('a row of lvs', () => {
  it('of a linear volume has nothing of thin ones', () => {
    const row = rowOf({ ...common, lv_name: 'a', lv_uuid: 'a', lv_size: 4 * MIB });
    expect(row).toMatchObject({
      segmentType: 'linear',
      writable: true,
      active: true,
      skipsActivation: false,
    });
    expect([row.pool, row.thinPool, row.origin, row.mappedBytes]).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('of a thin pool counts as used at least what is', () => {
    expect(rowOf(pool).pool).toEqual({
      // 4.88 percent may be 4.885, and 11.82 percent of 4 MiB be 495,988 bytes.
      usedBytes: Math.ceil(2048 * MIB * 0.048_85),
      metadataUsedBytes: Math.ceil(4 * MIB * 0.118_25),
      ...{ metadataBytes: 4 * MIB, chunkBytes: 65_536, zeroes: true, active: true, health: undefined },
    });
  });

  it('of a thin pool is active with any of its volumes, though LVM calls it inactive then', () => {
    expect(rowOf({ ...pool, lv_active: '' }).pool?.active).toBe(true);
    const stopped = rowOf({ ...pool, lv_active: '', data_percent: '', metadata_percent: '' }).pool;
    expect(stopped).toMatchObject({ active: false, usedBytes: 0, metadataUsedBytes: 0 });
  });

  it('of a thin pool says whether it zeroes and what is wrong with it', () => {
    const row = rowOf({ ...pool, zero: '', data_percent: '100.00', lv_health_status: 'out_of_data' });
    expect(row.pool).toMatchObject({ zeroes: false, health: 'out_of_data', usedBytes: 2048 * MIB });
    const checked = { lv_health_status: 'metadata_read_only', lv_check_needed: 'check needed' };
    expect(rowOf({ ...pool, ...checked }).pool).toMatchObject({ health: 'needs_check' });
    expect(rowOf({ ...pool, lv_check_needed: 'unknown' }).pool).toMatchObject({ health: undefined });
  });

  it('of a thin volume says of which pool, of what, and what it holds', () => {
    expect(rowOf(clone)).toMatchObject({
      ...{ segmentType: 'thin', thinPool: 'pool0', origin: 'lvp-gold-0123456789abcdef', writable: true },
      mappedBytes: Math.ceil(10_240 * MIB * 0.009_85),
    });
  });

  it('of a golden volume has neither node nor numbers', () => {
    const row = rowOf(golden);
    expect(row).toMatchObject({ active: false, writable: false, skipsActivation: true, segmentType: 'thin' });
    expect([row.device, row.mappedBytes, row.origin]).toEqual([undefined, undefined, undefined]);
  });
});

describe('a golden volume', () => {
  const permissions: [string, boolean][] = [
    ['read-only', false],
    ['writeable', true],
    // As LVM 2.03.31 says it of an inactive one that somebody has made writable.
    ['unknown', true],
    ['read-only-override', true],
  ];
  it.each(permissions)('of which LVM says that it is %s', (lv_permissions, writable) => {
    expect(rowOf({ ...golden, lv_permissions }).writable).toBe(writable);
  });
});

describe('a device of device-mapper', () => {
  const vg = 'Vuv0EfoFl5lSt0GUK0v3Oy0Yy6ib0ZNF';
  const lv = 'u3hBfT0dVRpvpKCtnKfjOXFNqvQfPZ5o';

  it('that is an LV has its UUID in its own', () => {
    expect(lvUuidOf(`LVM-${vg}${lv}`)).toBe(lv);
  });

  it.each([`LVM-${vg}${lv}-tpool`, `CRYPT-LUKS1-${vg}-x`, `LVM-${vg}`, ''])('like %s is none', (dmUuid) => {
    expect(lvUuidOf(dmUuid)).toBe('');
  });
});

describe('the full report', () => {
  const group = {
    ...{ vg_name: 'vg1', vg_size: '10733223936', vg_free: '6429868032', vg_extent_size: '4194304' },
    ...{ vg_lock_type: '', vg_attr: 'wz--n-', vg_clustered: '', vg_shared: '' },
  };
  const text = (parts: readonly object[]) => JSON.stringify({ report: parts, log: [] });

  it('tells of groups, also of one without volumes, and of their volumes', () => {
    const rest = { pv: [{ pv_uuid: 'x' }], lv: [], pvseg: [] };
    const size = String(2048 * MIB);
    const read = readFullReport(
      text([
        { vg: [{ ...group, vg_name: 'vg0' }], ...rest, seg: [] },
        { vg: [group], ...rest, seg: [{ ...pool, lv_size: size }] },
      ]),
    );
    expect(read.groups.map(({ vg, freeBytes }) => [vg, freeBytes])).toEqual([
      ['vg0', 6_429_868_032],
      ['vg1', 6_429_868_032],
    ]);
    expect(read.volumes).toMatchObject([{ vg: 'vg1', lv: 'pool0', segmentType: 'thin-pool' }]);
  });

  it('is refused for a group that lvmlockd locks, and where a part is missing', () => {
    const locked = text([{ vg: [{ ...group, vg_lock_type: 'sanlock' }], seg: [] }]);
    expect(() => readFullReport(locked)).toThrow(/shared between hosts/);
    expect(() => readFullReport(text([{ vg: [group] }]))).toThrow(/no report of the expected form/);
  });
});
