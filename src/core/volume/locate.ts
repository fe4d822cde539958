/** Finds the logical volume behind each annotated disk, or says why there is none that could be filled. */
import type { Problem } from '../errors.ts';
import { encryptionMistakes } from '../key/disk-encryption.ts';
import { isJob } from '../owner.ts';
import { quote } from '../quote.ts';
import type { Domain, DomainDisk, LogicalPool, VolumeLocation, VolumeRequest } from '../request.ts';
import type { ThinPlaces } from '../thin/thin-place.ts';
import { NOTHING_THIN } from '../thin/thin-place.ts';
import { splitMapperName, targetNameMistake, vgNameMistake } from './lvm-names.ts';

export interface LocatedVolume {
  readonly request: VolumeRequest;
  readonly location: VolumeLocation;
}

/** A problem and the disk it is about. */
export type DiskProblem = Problem & { readonly target: string };

export interface Locations {
  readonly located: readonly LocatedVolume[];
  readonly problems: readonly DiskProblem[];
}

/** The pool through which libvirt knows the volumes of a group just now. */
export function activePoolOn(pools: readonly LogicalPool[], vg: string): LogicalPool | undefined {
  return pools.find((pool) => pool.vg === vg && pool.active);
}

/** All annotated volumes of a domain; a disk with any problem is in `problems` only. */
export function locateVolumes(
  domain: Domain,
  pools: readonly LogicalPool[],
  places: ThinPlaces = NOTHING_THIN,
): Locations {
  // What a job wants is thick, and what is there already decides how it ends.
  const thin = isJob(domain.uuid) ? NOTHING_THIN : places;
  const located: LocatedVolume[] = [];
  const problems: DiskProblem[] = [];
  const targetsOf = targetsByVolume(domain, pools, thin);
  for (const request of domain.annotation?.volumes ?? []) {
    const { target } = request;
    const disk = domain.disks.find((one) => one.target === target);
    if (disk === undefined) {
      problems.push({ target, ...noSuchDisk(target, domain) });
      continue;
    }
    const location = locate(disk, pools, thin);
    const found = [
      ...diskMistakes(disk),
      ...encryptionMistakes(disk, request, location),
      ...('code' in location ? [location] : sharedMistakes(target, location, targetsOf)),
    ];
    problems.push(...found.map((problem) => ({ target, ...problem })));
    if (found.length === 0 && !('code' in location)) located.push({ request, location });
  }
  return { located, problems };
}

function unsuitable(message: string, hint: string): Problem {
  return { code: 'DISK_UNSUITABLE', message, hint };
}

function noSuchDisk(target: string, domain: Domain): Problem {
  const targets = domain.disks.map((disk) => disk.target).join(', ');
  return unsuitable(
    `Domain ${quote(domain.name)} has no disk ${quote(target)}, but its annotation has a volume for it.`,
    targets === '' ? 'It has no disks at all.' : `Its disks: ${targets}.`,
  );
}

/** What the disk says of itself that does not go with a volume filled before the start. */
function diskMistakes(disk: DomainDisk): Problem[] {
  const name = `Disk ${quote(disk.target)}`;
  const { startupPolicy = 'mandatory', driverType = 'raw' } = disk;
  const checks: [boolean, message: string, hint: string][] = [
    [
      disk.device !== 'disk',
      `is a device of kind ${quote(disk.device)}; only a plain disk can be filled.`,
      'Use <disk device="disk">.',
    ],
    [
      disk.shareable,
      'is <shareable/>: another guest could be using the volume.',
      'Remove <shareable/>, or the volume from the annotation.',
    ],
    [
      disk.readonly,
      'is <readonly/>, and a volume is filled for one guest that writes to it.',
      'Remove <readonly/>, or the volume from the annotation.',
    ],
    [
      disk.transient,
      'is <transient/>: what the guest writes would be thrown away.',
      'Remove <transient/>, or the volume from the annotation.',
    ],
    [
      startupPolicy !== 'mandatory',
      `has startupPolicy=${quote(startupPolicy)}, so libvirt would start the guest without it.`,
      'Remove startupPolicy, or write startupPolicy="mandatory".',
    ],
    [
      driverType !== 'raw',
      `has the driver type ${quote(driverType)}; a logical volume holds the disk as it is.`,
      'Write <driver name="qemu" type="raw"/>: the image is converted while the volume is filled.',
    ],
  ];
  return checks.filter(([wrong]) => wrong).map(([, message, hint]) => unsuitable(`${name} ${message}`, hint));
}

/** The volume behind a disk's source. */
function locate(disk: DomainDisk, pools: readonly LogicalPool[], thin: ThinPlaces): VolumeLocation | Problem {
  const { source, target } = disk;
  switch (source.type) {
    case 'volume': {
      const pool = pools.find(({ name }) => name === source.pool);
      if (pool === undefined) return noSuchPool(target, source.pool);
      const location = placed(target, { pool: pool.name, vg: pool.vg, lv: source.volume });
      if ('code' in location || thin.poolOfExisting(location) === undefined) return location;
      return thinThroughPool(target, location);
    }
    case 'block': {
      const names = splitPath(source.path);
      if (names === undefined) return notOnVolume(target, `the source ${quote(source.path)}`);
      const onVg = pools.filter(({ vg }) => vg === names.vg);
      const pool = (onVg.find(({ active }) => active) ?? onVg[0])?.name;
      const thinPool = thin.poolFor(names);
      if (thinPool !== undefined)
        return placed(target, { ...(pool === undefined ? {} : { pool }), ...names, thinPool });
      return pool === undefined ? noPoolOn(target, names.vg) : placed(target, { pool, ...names });
    }
    case 'other':
      return source.sourceType === 'none'
        ? notOnVolume(target, 'no source')
        : notOnVolume(target, `a source of type ${quote(source.sourceType)}`);
  }
}

/** `/dev/VG/LV` or `/dev/mapper/VG-LV`, taken apart. */
function splitPath(path: string): { vg: string; lv: string } | undefined {
  const [, folder, name] = /^\/dev\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  if (folder === undefined || name === undefined) return undefined;
  return folder === 'mapper' ? splitMapperName(name) : { vg: folder, lv: name };
}

function placed(target: string, location: VolumeLocation): VolumeLocation | Problem {
  const { pool, vg, lv } = location;
  const vgMistake = vgNameMistake(vg);
  if (vgMistake !== undefined) {
    return pool === undefined
      ? unsuitable(
          `Disk ${quote(target)} is in the volume group ${quote(vg)}; that name ${vgMistake}.`,
          'Correct the source of the disk.',
        )
      : {
          code: 'POOL_UNSUITABLE',
          message: `Pool ${quote(pool)} has ${quote(vg)} as its volume group; that name ${vgMistake}.`,
          hint: 'Correct <source><name> of the pool.',
        };
  }
  const lvMistake = targetNameMistake(vg, lv);
  if (lvMistake !== undefined) {
    return unsuitable(
      `Disk ${quote(target)} is on a volume named ${quote(lv)}; that name ${lvMistake}.`,
      'Give the volume another name in the source of the disk.',
    );
  }
  return location;
}

function thinThroughPool(target: string, { pool = '', vg, lv }: VolumeLocation): Problem {
  return unsuitable(
    `Disk ${quote(target)} is on ${quote(`${vg}/${lv}`)} by way of the pool ${quote(pool)}, and that volume is thin: libvirt lists no thin volumes, and would not start the domain.`,
    `Write <disk type="block"> with <source dev="/dev/${vg}/${lv}"/>.`,
  );
}

function notOnVolume(target: string, what: string): Problem {
  return unsuitable(
    `Disk ${quote(target)} has ${what}, which names no logical volume.`,
    'Accepted are <disk type="volume"> in a logical pool, and <disk type="block"> on /dev/VG/LV or /dev/mapper/VG-LV.',
  );
}

function noSuchPool(target: string, pool: string): Problem {
  return {
    code: 'POOL_UNSUITABLE',
    message: `Disk ${quote(target)} is in the pool ${quote(pool)}, which is not a logical storage pool of this host.`,
    hint: 'virsh pool-list --all shows the pools; only those of type "logical" can be filled.',
  };
}

function noPoolOn(target: string, vg: string): Problem {
  return {
    code: 'POOL_UNSUITABLE',
    message: `Disk ${quote(target)} is in the volume group ${quote(vg)}, which belongs to no logical storage pool of this host.`,
    hint: 'Define one with virsh pool-define-as NAME logical --source-name VG, and start it; or name a thin pool of the group in thin_pools of the configuration.',
  };
}

/** All disks of the domain, annotated or not, by the volume they are on. */
function targetsByVolume(
  { disks }: Domain,
  pools: readonly LogicalPool[],
  thin: ThinPlaces,
): ReadonlyMap<string, readonly string[]> {
  const targets = new Map<string, string[]>();
  for (const disk of disks) {
    const location = locate(disk, pools, thin);
    if ('code' in location) continue;
    const name = volumeName(location);
    targets.set(name, [...(targets.get(name) ?? []), disk.target]);
  }
  return targets;
}

function volumeName({ vg, lv }: VolumeLocation): string {
  return `${vg}/${lv}`;
}

/** Two disks on one volume: filling it for one would change the other. */
function sharedMistakes(
  target: string,
  location: VolumeLocation,
  targetsOf: ReadonlyMap<string, readonly string[]>,
): Problem[] {
  const name = volumeName(location);
  const others = (targetsOf.get(name) ?? []).filter((other) => other !== target);
  if (others.length === 0) return [];
  const disks = [target, ...others].map(quote).join(' and ');
  return [
    unsuitable(
      `Disks ${disks} are on the same volume ${quote(name)}.`,
      'Give each disk a volume of its own.',
    ),
  ];
}
