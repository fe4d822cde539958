/** LVM as the verbs see it: rows in, single metadata commits out. */
import { z } from 'zod';
import { ProvisionError } from '../core/errors.ts';
import { repairOf } from '../core/thin/pool-trouble.ts';
import type { LogicalVolume, ThinPool, VolumeGroup } from '../core/volume/volume.ts';
import { commandFailed, mustRun, runCommand } from './command.ts';

/** A row of `lvs`, with what only the helper needs to know. */
export interface VolumeRow extends LogicalVolume {
  /** It is activated by nobody who does not ask for it by an option of its own. */
  readonly skipsActivation: boolean;
  /** What an active thin volume holds of its pool, shared with others or not; rounded up. */
  readonly mappedBytes?: number | undefined;
  /** Only of a thin pool. */
  readonly pool?: Omit<ThinPool, 'vg' | 'lv' | 'sizeBytes'> | undefined;
  /** Kernel device numbers of an active LV. */
  readonly device?: { readonly major: number; readonly minor: number } | undefined;
}

export interface Reading {
  readonly groups: readonly VolumeGroup[];
  readonly volumes: readonly VolumeRow[];
}

/** Each call that changes something is one LVM command, hence one metadata commit. */
export interface Lvm {
  volumes(vgs: readonly string[]): Promise<readonly VolumeRow[]>;
  /** Those of the named groups that exist here, and their volumes. */
  read(vgs: readonly string[]): Promise<Reading>;
  create(vg: string, lv: string, sizeBytes: number, tags: readonly string[]): Promise<void>;
  /** A thin LV of that pool, all of which reads zero. */
  createThin(vg: string, pool: string, lv: string, sizeBytes: number, tags: readonly string[]): Promise<void>;
  /**
   * A thin LV with the content and size of another one, writable whatever that one is; not active, nor activated by
   * anybody who does not ask for it by an option of its own.
   */
  snapshot(vg: string, origin: string, lv: string, tags: readonly string[]): Promise<void>;
  extend(vg: string, lv: string, sizeBytes: number): Promise<void>;
  /** `unskip`: in the same commit the LV becomes one that is activated like any other. */
  swapTags(
    vg: string,
    lv: string,
    remove: readonly string[],
    add: readonly string[],
    unskip?: 'unskip',
  ): Promise<void>;
  rename(vg: string, from: string, to: string): Promise<void>;
  /** Also one that is not to be activated by itself. Waits until udev has made its node. */
  activate(vg: string, lv: string): Promise<void>;
  /** Fails if anybody has it open. */
  deactivate(vg: string, lv: string): Promise<void>;
  /** Also keeps it from being activated by itself. */
  makeReadOnly(vg: string, lv: string): Promise<void>;
  /** Deactivates and removes, if the LV carries all these tags at that moment. */
  remove(vg: string, lv: string, tags: readonly string[]): Promise<void>;
}

const REPORT = ['--reportformat', 'json', '--units', 'b', '--nosuffix'];
const VOLUME_FIELDS =
  'vg_name,lv_name,lv_uuid,lv_size,lv_tags,lv_active,lv_device_open,lv_permissions,lv_role,lv_kernel_major,lv_kernel_minor,segtype,pool_lv,origin,lv_skip_activation,data_percent,metadata_percent,lv_metadata_size,chunk_size,zero,lv_health_status,lv_check_needed';

const Bytes = z
  .string()
  .regex(/^[0-9]+$/)
  .transform(Number)
  .pipe(z.int());

const VolumeFields = z.object({
  vg_name: z.string(),
  lv_name: z.string(),
  lv_uuid: z.string(),
  lv_size: Bytes,
  lv_tags: z.string(),
  lv_active: z.string(),
  lv_device_open: z.string(),
  lv_permissions: z.string(),
  lv_role: z.string(),
  lv_kernel_major: z.string(),
  lv_kernel_minor: z.string(),
  segtype: z.string(),
  pool_lv: z.string(),
  origin: z.string(),
  lv_skip_activation: z.string(),
  data_percent: z.string(),
  metadata_percent: z.string(),
  lv_metadata_size: z.string(),
  chunk_size: z.string(),
  zero: z.string(),
  lv_health_status: z.string(),
  lv_check_needed: z.string(),
});
type VolumeFields = z.infer<typeof VolumeFields>;

const GROUP_FIELDS = 'vg_name,vg_size,vg_free,vg_extent_size,vg_lock_type,vg_attr,vg_clustered,vg_shared';

const GroupFields = z.object({
  vg_name: z.string(),
  vg_size: Bytes,
  vg_free: Bytes,
  vg_extent_size: Bytes,
  vg_lock_type: z.string(),
  vg_attr: z.string(),
  vg_clustered: z.string(),
  vg_shared: z.string(),
});
type GroupFields = z.infer<typeof GroupFields>;

/** It wants fields for each of its reports, also those that nobody needs. */
const FULL_REPORT = [
  ...['--configreport', 'vg', '-o', GROUP_FIELDS, '--configreport', 'seg', '-o', VOLUME_FIELDS],
  ...['--configreport', 'lv', '-o', 'lv_uuid', '--configreport', 'pv', '-o', 'pv_uuid'],
  ...['--configreport', 'pvseg', '-o', 'pvseg_start'],
];

export const lvm: Lvm = {
  async volumes(vgs) {
    if (vgs.length === 0) return [];
    const argv = [...REPORT, '-o', VOLUME_FIELDS, ...vgs];
    return mergeSegments(parseReport(await mustRun(vgs.join(', '), 'lvs', argv), VolumeFields));
  },

  async read(vgs) {
    if (vgs.length === 0) return { groups: [], volumes: [] };
    // Each group's two reports are of one moment, and one command takes half as long as two.
    const result = await runCommand(vgs.join(', '), 'lvm', ['fullreport', ...REPORT, ...FULL_REPORT, ...vgs]);
    if (result.exitCode === 0) return readFullReport(result.stdout);
    // A group that is named but does not exist is no error of this call: it must not hide the others.
    const selected = vgs.map((vg) => `vg_name="${vg}"`).join(' || ');
    const argv = [...REPORT, '-o', GROUP_FIELDS, '--select', selected];
    const groups = toGroups(parseReport(await mustRun(vgs.join(', '), 'vgs', argv), GroupFields));
    return { groups, volumes: await lvm.volumes(groups.map(({ vg }) => vg)) };
  },

  async create(vg, lv, sizeBytes, tags) {
    const argv = [
      ...['--yes', '--type', 'linear', '--name', lv, '--size', `${sizeBytes}b`],
      ...['--wipesignatures', 'y', '--zero', 'y', ...tags.flatMap((tag) => ['--addtag', tag]), vg],
    ];
    await make(vg, lv, argv);
  },

  async createThin(vg, pool, lv, sizeBytes, tags) {
    // Its pool zeroes what it maps, so that there is nothing to be wiped.
    await make(vg, lv, [
      ...['--yes', '--type', 'thin', '--thinpool', pool, '--name', lv, '--virtualsize', `${sizeBytes}b`],
      ...['--wipesignatures', 'n', ...tags.flatMap((tag) => ['--addtag', tag]), vg],
    ]);
  },

  async snapshot(vg, origin, lv, tags) {
    // As --type thin, of a thin volume: --snapshot wants to load the module of classic snapshots first.
    await make(vg, lv, [
      ...['--yes', '--type', 'thin', '--setactivationskip', 'y', '--permission', 'rw', '--activate', 'n'],
      ...['--name', lv, ...tags.flatMap((tag) => ['--addtag', tag]), `${vg}/${origin}`],
    ]);
  },

  async extend(vg, lv, sizeBytes) {
    await mustRun(`${vg}/${lv}`, 'lvextend', ['--size', `${sizeBytes}b`, `${vg}/${lv}`]);
  },

  async swapTags(vg, lv, remove, add, unskip) {
    const changes = [
      ...(unskip === undefined ? [] : ['--setactivationskip', 'n']),
      ...remove.flatMap((tag) => ['--deltag', tag]),
      ...add.flatMap((tag) => ['--addtag', tag]),
    ];
    await mustRun(`${vg}/${lv}`, 'lvchange', [...changes, `${vg}/${lv}`]);
  },

  async rename(vg, from, to) {
    await mustRun(`${vg}/${from}`, 'lvrename', [vg, from, to]);
  },

  async activate(vg, lv) {
    const argv = ['--activate', 'y', '--ignoreactivationskip', `${vg}/${lv}`];
    await mustRun(`${vg}/${lv}`, 'lvchange', argv);
  },

  async deactivate(vg, lv) {
    await mustRun(`${vg}/${lv}`, 'lvchange', ['--activate', 'n', `${vg}/${lv}`]);
  },

  async makeReadOnly(vg, lv) {
    const argv = ['--permission', 'r', '--setactivationskip', 'y', `${vg}/${lv}`];
    await mustRun(`${vg}/${lv}`, 'lvchange', argv);
  },

  async remove(vg, lv, tags) {
    // Removing an LV that is active, while libvirt refreshes its pool, can take the pool down.
    await mustRun(`${vg}/${lv}`, 'lvchange', ['--activate', 'n', `${vg}/${lv}`]);
    const selected = `lv_tags={${tags.map((tag) => `"${tag}"`).join(' && ')}}`;
    const argv = ['--yes', '--select', selected, `${vg}/${lv}`];
    const result = await runCommand(`${vg}/${lv}`, 'lvremove', argv);
    if (result.exitCode === 0) return;
    // LVM forgets a volume of a thin pool that can only be read, and fails ("Cannot send messages to thin pool with read
    // only metadata"): its space comes back when the pool can be written to again.
    if ((await lvm.volumes([vg])).some((row) => row.lv === lv))
      throw commandFailed(`${vg}/${lv}`, 'lvremove', argv, result);
  },
};

async function make(vg: string, lv: string, argv: readonly string[]): Promise<void> {
  const result = await runCommand(`${vg}/${lv}`, 'lvcreate', argv);
  if (result.exitCode === 0) return;
  const failure = commandFailed(`${vg}/${lv}`, 'lvcreate', argv, result);
  // Of a pool that is not active nothing shows it before.
  const broken = /Check of pool (\S+)\/(\S+) failed/.exec(result.stderr);
  if (broken !== null) {
    const [, group = vg, pool = ''] = broken;
    throw new ProvisionError({
      code: 'POOL_UNSUITABLE',
      message: `The thin pool ${group}/${pool} cannot be activated: ${failure.message}`,
      hint: repairOf({ vg: group, lv: pool }),
      cause: failure,
    });
  }
  if (!/insufficient (free space|suitable)|free space in thin pool/i.test(result.stderr)) throw failure;
  throw new ProvisionError({
    code: 'VG_FULL',
    message: failure.message,
    hint: `Free space in ${vg} (vgs, lvremove) or extend it (vgextend); a thin pool, with lvextend --size or --poolmetadatasize.`,
    cause: failure,
  });
}

/** Each group with its own reports; that of segments has the fields of volumes, too. */
export function readFullReport(text: string): Reading {
  const reports = parseReports(text, z.object({ vg: z.array(GroupFields), seg: z.array(VolumeFields) }));
  return {
    groups: toGroups(reports.flatMap(({ vg }) => vg)),
    volumes: mergeSegments(reports.flatMap(({ seg }) => seg)),
  };
}

/** The rows of a report. Their list is called `lv`, or `seg`, or `vg`, by the fields asked for. */
function parseReport<Row extends z.ZodType>(text: string, row: Row): z.infer<Row>[] {
  return parseReports(text, z.record(z.string(), z.array(row))).flatMap((part) => Object.values(part).flat());
}

function parseReports<Part extends z.ZodType>(text: string, part: Part): z.infer<Part>[] {
  // lvm also writes an empty "log" beside "report".
  const Report = z.object({ report: z.array(part) });
  try {
    return Report.parse(JSON.parse(text)).report;
  } catch (cause) {
    throw new ProvisionError({
      code: 'HELPER_FAILED',
      message: `LVM answered something that is no report of the expected form: ${text.slice(0, 200)}`,
      hint: 'Check that lvm2 is of version 2.03.11 or newer.',
      cause,
    });
  }
}

function toGroups(rows: readonly GroupFields[]): VolumeGroup[] {
  for (const row of rows) refuseSharedGroup(row.vg_name, row.vg_lock_type);
  return rows.map((row) => ({
    vg: row.vg_name,
    sizeBytes: row.vg_size,
    freeBytes: row.vg_free,
    extentBytes: row.vg_extent_size,
    // The sixth letter of vg_attr says both: c of clvmd, s of lvmlockd.
    shared: row.vg_clustered !== '' || row.vg_shared !== '' || row.vg_attr.charAt(5) !== '-',
  }));
}

/** `lvs` prints one row for each segment as soon as a segment's field is asked for. */
export function mergeSegments(rows: readonly VolumeFields[]): VolumeRow[] {
  const byUuid = Map.groupBy(rows, (row) => row.lv_uuid);
  return [...byUuid.values()].flatMap((segments) => {
    const [first] = segments;
    if (first === undefined) return [];
    const types = [...new Set(segments.map((segment) => kindOf(segment)))].sort();
    return [toVolumeRow(first, types.join('+'))];
  });
}

function toVolumeRow(row: VolumeFields, segmentType: string): VolumeRow {
  const major = Number(row.lv_kernel_major);
  const minor = Number(row.lv_kernel_minor);
  return {
    vg: row.vg_name,
    lv: row.lv_name,
    uuid: row.lv_uuid,
    sizeBytes: row.lv_size,
    tags: row.lv_tags === '' ? [] : row.lv_tags.split(','),
    active: row.lv_active === 'active',
    open: row.lv_device_open === 'open',
    segmentType,
    // Of an inactive LV that can be written to it says "unknown", and "read-only-override" while only its device cannot.
    writable: row.lv_permissions !== 'read-only',
    // An inactive LV shows -1.
    skipsActivation: row.lv_skip_activation !== '',
    thinPool: segmentType === 'thin' ? row.pool_lv : undefined,
    origin: row.origin === '' ? undefined : row.origin,
    mappedBytes: segmentType === 'thin' ? shareOf(row.data_percent, row.lv_size) : undefined,
    pool: segmentType === 'thin-pool' ? poolOf(row) : undefined,
    device: major > 0 && minor >= 0 ? { major, minor } : undefined,
  };
}

function poolOf(row: VolumeFields): VolumeRow['pool'] {
  const metadataBytes = Number(row.lv_metadata_size);
  return {
    usedBytes: shareOf(row.data_percent, row.lv_size) ?? 0,
    metadataBytes,
    metadataUsedBytes: shareOf(row.metadata_percent, metadataBytes) ?? 0,
    chunkBytes: Number(row.chunk_size),
    zeroes: row.zero !== '',
    // What its volumes need of it is active with any of them, and then it tells its numbers; lv_active does not count that.
    active: row.data_percent !== '',
    health: healthOf(row),
  };
}

/** `lv_check_needed` is "unknown" of what is not active; one that needs it is also "metadata_read_only". */
function healthOf({ lv_check_needed: check, lv_health_status: health }: VolumeFields): string | undefined {
  if (check === 'check needed') return 'needs_check';
  return health === '' ? undefined : health;
}

/** LVM rounds to two digits behind the point; what is counted as used is never less than it is. */
function shareOf(percent: string, ofBytes: number): number | undefined {
  if (percent === '') return undefined;
  return Math.min(ofBytes, Math.ceil(((Number(percent) + 0.005) / 100) * ofBytes));
}

/** A classic snapshot and its origin call their segments `linear`; only `lv_role` gives them away. */
function kindOf(row: VolumeFields): string {
  const roles = row.lv_role.split(',');
  if (row.segtype !== 'linear' && row.segtype !== 'striped') return row.segtype;
  if (roles.includes('snapshot')) return 'snapshot';
  return roles.includes('origin') ? 'origin' : row.segtype;
}

/** In a group shared between hosts a name is locked per host by lvmlockd, which this program does not drive. */
function refuseSharedGroup(vg: string, lockType: string): void {
  if (lockType === '' || lockType === 'none') return;
  throw new ProvisionError({
    code: 'POOL_UNSUITABLE',
    message: `The volume group ${vg} is shared between hosts (lock type ${lockType}).`,
    hint: 'Take it out of volume_groups; only groups that belong to one host can be provisioned.',
  });
}
