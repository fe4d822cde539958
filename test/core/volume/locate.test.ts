import { describe, expect, it } from 'vitest';
import type {
  DiskSource,
  Domain,
  DomainDisk,
  LogicalPool,
  VolumeRequest,
} from '../../../src/core/request.ts';
import { thinPlaces } from '../../../src/core/thin/thin-place.ts';
import { locateVolumes } from '../../../src/core/volume/locate.ts';
import type { LogicalVolume } from '../../../src/core/volume/volume.ts';

const guests: LogicalPool = { name: 'guests', uuid: 'u1', vg: 'vg0', active: true };
const fast: LogicalPool = { name: 'fast', uuid: 'u2', vg: 'my-vg', active: false };
const pools = [guests, fast];

function request(target: string): VolumeRequest {
  return { target, image: { bucket: 'images', key: 'a' }, format: 'raw', generation: 1 };
}

function disk(target: string, source: DiskSource, more: Partial<DomainDisk> = {}): DomainDisk {
  const plain = { readonly: false, shareable: false, transient: false };
  return { target, device: 'disk', source, ...plain, ...more };
}

function domainOf(disks: readonly DomainDisk[], annotated = ['vda']): Domain {
  return { uuid: 'u', name: 'web1', disks, annotation: { start: 'manual', volumes: annotated.map(request) } };
}

const inPool: DiskSource = { type: 'volume', pool: 'guests', volume: 'root' };

/** The one problem with a domain, in which its disk must not be located. */
function problemWith(domain: Domain, known = pools) {
  const { located, problems } = locateVolumes(domain, known);
  expect(located).toEqual([]);
  expect(problems).toHaveLength(1);
  expect(problems[0]?.target).toBe('vda');
  expect(problems[0]?.message).toMatch(/\.$/);
  expect(problems[0]?.hint).toMatch(/\.$/);
  return problems[0];
}

describe('a volume is found', () => {
  it.each<[DiskSource, pool: string, vg: string, lv: string]>([
    [inPool, 'guests', 'vg0', 'root'],
    [{ type: 'volume', pool: 'fast', volume: 'a-b' }, 'fast', 'my-vg', 'a-b'],
    [{ type: 'block', path: '/dev/vg0/root' }, 'guests', 'vg0', 'root'],
    [{ type: 'block', path: '/dev/my-vg/a-b' }, 'fast', 'my-vg', 'a-b'],
    [{ type: 'block', path: '/dev/mapper/vg0-root' }, 'guests', 'vg0', 'root'],
    [{ type: 'block', path: '/dev/mapper/my--vg-a--b' }, 'fast', 'my-vg', 'a-b'],
  ])('%j', (source, pool, vg, lv) => {
    const { located, problems } = locateVolumes(domainOf([disk('vda', source)]), pools);
    expect(problems).toEqual([]);
    expect(located).toEqual([{ request: request('vda'), location: { pool, vg, lv } }]);
  });

  it('with driver type raw and startupPolicy mandatory', () => {
    const plain = disk('vda', inPool, { driverType: 'raw', startupPolicy: 'mandatory' });
    expect(locateVolumes(domainOf([plain]), pools).problems).toEqual([]);
  });

  it('in the first active pool where two are on one volume group, or in the one named', () => {
    const asleep = { ...guests, name: 'asleep', active: false };
    const awake = { ...guests, name: 'awake' };
    const poolOf = (source: DiskSource, known: LogicalPool[]) =>
      locateVolumes(domainOf([disk('vda', source)]), known).located[0]?.location.pool;
    const byPath: DiskSource = { type: 'block', path: '/dev/vg0/root' };
    expect(poolOf(byPath, [asleep, awake, guests])).toBe('awake');
    expect(poolOf(byPath, [asleep])).toBe('asleep');
    expect(poolOf({ type: 'volume', pool: 'asleep', volume: 'root' }, [asleep, awake])).toBe('asleep');
  });

  it('only where there is an annotation', () => {
    const { annotation, ...plain } = domainOf([disk('vda', inPool)]);
    expect(annotation).toBeDefined();
    expect(locateVolumes(plain, pools)).toEqual({ located: [], problems: [] });
  });
});

describe('a disk is unsuitable', () => {
  it.each<[Partial<DomainDisk>, says: string]>([
    [{ device: 'cdrom' }, 'is a device of kind "cdrom"'],
    [{ device: 'lun' }, 'is a device of kind "lun"'],
    [{ shareable: true }, 'is <shareable/>'],
    [{ readonly: true }, 'is <readonly/>'],
    [{ transient: true }, 'is <transient/>'],
    [{ startupPolicy: 'optional' }, 'has startupPolicy="optional"'],
    [{ startupPolicy: 'requisite' }, 'has startupPolicy="requisite"'],
    [{ driverType: 'qcow2' }, 'has the driver type "qcow2"'],
    [
      { encryption: { format: 'luks', engine: 'qemu', secrets: [] } },
      'is encrypted, but its annotation names no key',
    ],
  ])('%j', (more, says) => {
    const problem = problemWith(domainOf([disk('vda', inPool, more)]));
    expect(problem?.code).toBe('DISK_UNSUITABLE');
    expect(problem?.message).toContain(`Disk "vda" ${says}`);
  });

  it.each<[DiskSource, says: string]>([
    [{ type: 'other', sourceType: 'file' }, 'has a source of type "file", which names no logical volume'],
    [{ type: 'other', sourceType: 'none' }, 'has no source, which names no logical volume'],
    [{ type: 'block', path: '/dev/sda' }, 'has the source "/dev/sda", which names no'],
    [{ type: 'block', path: '/dev/disk/by-id/x' }, 'names no logical volume'],
    [{ type: 'block', path: '/dev/vg0/../sda' }, 'names no logical volume'],
    [{ type: 'block', path: 'vg0/root' }, 'names no logical volume'],
    [{ type: 'block', path: '/dev/mapper/vg0-root-real' }, 'names no logical volume'],
    [{ type: 'block', path: '/dev/vg0/..' }, 'on a volume named ".."; that name is a dot or two'],
    [{ type: 'volume', pool: 'guests', volume: '../x' }, 'that name has characters other than'],
    [{ type: 'volume', pool: 'guests', volume: '-f' }, 'that name begins with a hyphen'],
    [{ type: 'volume', pool: 'guests', volume: 'pvmove0' }, 'that name begins with "pvmove"'],
    [{ type: 'volume', pool: 'guests', volume: 'lvp-fill-0123456789abcdef' }, 'that name begins with "lvp-"'],
    [{ type: 'volume', pool: 'guests', volume: 'x'.repeat(118) }, 'that name is longer than 117'],
  ])('on %j', (source, says) => {
    const problem = problemWith(domainOf([disk('vda', source)]));
    expect(problem?.code).toBe('DISK_UNSUITABLE');
    expect(problem?.message).toContain(says);
  });

  it('that does not exist', () => {
    expect(problemWith(domainOf([disk('sda', inPool)]))).toMatchObject({
      code: 'DISK_UNSUITABLE',
      message: 'Domain "web1" has no disk "vda", but its annotation has a volume for it.',
      hint: 'Its disks: sda.',
    });
    expect(problemWith(domainOf([]))?.hint).toBe('It has no disks at all.');
  });

  it('and all its faults are told', () => {
    const bad = disk('vda', { type: 'other', sourceType: 'file' }, { shareable: true, driverType: 'qcow2' });
    expect(locateVolumes(domainOf([bad]), pools).problems).toHaveLength(3);
  });
});

describe('a pool is unsuitable', () => {
  it.each<[DiskSource, says: string]>([
    [
      { type: 'volume', pool: 'default', volume: 'x' },
      'is in the pool "default", which is not a logical storage',
    ],
    [{ type: 'block', path: '/dev/vg9/x' }, 'is in the volume group "vg9", which belongs to no logical'],
    [
      { type: 'block', path: '/dev/mapper/vg9-x' },
      'is in the volume group "vg9", which belongs to no logical',
    ],
  ])('of %j', (source, says) => {
    const problem = problemWith(domainOf([disk('vda', source)]));
    expect(problem?.code).toBe('POOL_UNSUITABLE');
    expect(problem?.message).toContain(says);
  });

  it('with a volume group of no legal name', () => {
    const problem = problemWith(domainOf([disk('vda', inPool)]), [{ ...guests, vg: '--force' }]);
    expect(problem).toMatchObject({ code: 'POOL_UNSUITABLE', hint: 'Correct <source><name> of the pool.' });
  });
});

describe('one volume behind two disks', () => {
  const twice = [disk('vda', inPool), disk('vdb', { type: 'block', path: '/dev/mapper/vg0-root' })];

  it('is refused for both', () => {
    const { located, problems } = locateVolumes(domainOf(twice, ['vda', 'vdb']), pools);
    expect(located).toEqual([]);
    expect(problems.map(({ target, message }) => [target, message])).toEqual([
      ['vda', 'Disks "vda" and "vdb" are on the same volume "vg0/root".'],
      ['vdb', 'Disks "vdb" and "vda" are on the same volume "vg0/root".'],
    ]);
  });

  it('is refused even if only one is annotated', () => {
    expect(problemWith(domainOf(twice))?.message).toContain('are on the same volume');
  });
});

describe('in a group with a thin pool', () => {
  const thinPools = new Map([['vg0', 'pool0']]);
  const byPath: DiskSource = { type: 'block', path: '/dev/vg0/root' };
  const lv = (name: string, thinPool?: string): LogicalVolume => ({
    ...{ vg: 'vg0', lv: name, uuid: name, sizeBytes: 1, tags: [], active: true, open: false },
    ...{ segmentType: thinPool === undefined ? 'linear' : 'thin', writable: true, thinPool },
  });
  const locate = (
    source: DiskSource,
    concerning: readonly LogicalVolume[],
    known = pools,
    configured = thinPools,
  ) =>
    locateVolumes(
      domainOf([disk('vda', source)]),
      known,
      thinPlaces(configured, () => concerning),
    );
  const place = (...found: Parameters<typeof locate>) => locate(...found).located[0]?.location;

  it('a volume that is not there is to be thin if the disk names its device, with a libvirt pool or without', () => {
    expect(place(byPath, [])).toEqual({ pool: 'guests', vg: 'vg0', lv: 'root', thinPool: 'pool0' });
    expect(place(byPath, [], [])).toEqual({ vg: 'vg0', lv: 'root', thinPool: 'pool0' });
    expect(place(inPool, [])).toEqual({ pool: 'guests', vg: 'vg0', lv: 'root' });
  });

  it('a volume that is there, or half-way there, is what it is', () => {
    const thick = { pool: 'guests', vg: 'vg0', lv: 'root' };
    expect(place(byPath, [lv('root')])).toEqual(thick);
    expect(place(byPath, [lv('lvp-fill-1')])).toEqual(thick);
    expect(place(byPath, [lv('root', 'pool1')], [], new Map())).toEqual({
      ...{ vg: 'vg0', lv: 'root', thinPool: 'pool1' },
    });
  });

  it('a thin volume cannot be had by way of a libvirt pool', () => {
    const { located, problems } = locate(inPool, [lv('root', 'pool0')]);
    expect(located).toEqual([]);
    expect(problems[0]).toMatchObject({ code: 'DISK_UNSUITABLE' });
    expect(problems[0]?.hint).toContain('/dev/vg0/root');
  });

  it('a job finds what is there in its place, thin or not', () => {
    const domain = { ...domainOf([disk('vda', inPool)]), uuid: 'job:u' };
    const places = thinPlaces(thinPools, () => [lv('root', 'pool0')]);
    expect(locateVolumes(domain, pools, places).located[0]?.location).toEqual({
      ...{ pool: 'guests', vg: 'vg0', lv: 'root' },
    });
  });

  it('a name that no volume can have is refused', () => {
    const { problems } = locate({ type: 'block', path: '/dev/vg0/lvp-gold-0000000000000001' }, [], []);
    expect(problems[0]).toMatchObject({ code: 'DISK_UNSUITABLE' });
  });
});
