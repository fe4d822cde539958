/**
 * A guest's volume out of a golden one: a thin snapshot, grown. One commit makes it with the marks of its fill, so
 * that a crash at any point leaves a volume that the next call goes on with, or that discard removes.
 */
import { ProvisionError } from '../core/errors.ts';
import { isGolden } from '../core/owner.ts';
import type { HelperRequest, HelperResult } from '../core/protocol/helper-protocol.ts';
import { fillTags, goldenName, goldenTags, privateName, readMark } from '../core/volume/volume.ts';
import { carriesExactly, findFill, findNamed, stateError } from './fill.ts';
import type { ThinPools } from './groups.ts';
import type { VolumeRow } from './lvm.ts';
import { findThinPool } from './thin-pool.ts';
import type { Tools } from './tools.ts';
import { readWithGroup } from './tools.ts';

type Clone = Extract<HelperRequest, { verb: 'clone' }>;

/**
 * The private LV as a snapshot of exactly that golden volume. A guest's has nothing to be written to it: it stays
 * inactive, without a node, until it is published. One that is to be compared is active, and the service user's.
 */
export async function clone(
  tools: Tools,
  request: Clone,
  thinPools: ThinPools,
): Promise<HelperResult<'clone'>> {
  const { volume, sizeBytes } = request;
  const { vg, fillId } = volume;
  const name = privateName(fillId);
  const {
    group: { extentBytes },
    rows,
  } = await readWithGroup(tools, vg);
  const origin = findGolden(rows, request, thinPools);
  const wantedBytes = Math.ceil(sizeBytes / extentBytes) * extentBytes;
  if (wantedBytes < origin.sizeBytes) {
    throw stateError(
      vg,
      origin.lv,
      `has ${origin.sizeBytes} bytes, and the volume for ${volume.target} is to have ${wantedBytes}`,
      'A volume can only be larger than its image.',
    );
  }
  const held = findFill(rows, vg, fillId);
  if (held === undefined) await tools.lvm.snapshot(vg, origin.lv, name, fillTags(volume));
  else refuseUnfit(request, origin, held);
  if ((held ?? origin).sizeBytes < wantedBytes) await tools.lvm.extend(vg, name, wantedBytes);
  const isForReading = isGolden(volume.domainUuid);
  if (isForReading && held?.active !== true) await tools.lvm.activate(vg, name);
  const after = await tools.lvm.volumes([vg]);
  const row = findNamed(after, vg, name);
  refuseOther(row, origin);
  // LVM makes snapshots by name: somebody may have exchanged the golden volume between the look and the snapshot.
  if (findNamed(after, vg, origin.lv).uuid !== origin.uuid) {
    throw stateError(vg, origin.lv, 'was exchanged while it was being cloned');
  }
  if (isForReading) {
    await tools.devices.settle();
    await tools.devices.giveToService(row);
  }
  return { made: held === undefined ? 'created' : 'existing', sizeBytes: row.sizeBytes };
}

function refuseOther({ vg, lv, ...row }: VolumeRow, origin: VolumeRow): void {
  if (row.origin === origin.lv && row.thinPool === origin.thinPool) return;
  throw stateError(vg, lv, `is no snapshot of ${origin.lv}`, 'Discard this fill and begin another.');
}

/** The golden volume, as it was sealed: nobody has it open, and nobody could have written to it. */
function findGolden(rows: readonly VolumeRow[], { volume, golden }: Clone, thinPools: ThinPools): VolumeRow {
  const { vg } = volume;
  const pool = findThinPool(rows, thinPools, vg);
  const name = goldenName(golden.fillId);
  const row = rows.find(({ lv }) => lv === name);
  if (row === undefined) {
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `There is no golden volume ${vg}/${name}.`,
      hint: `See lvs -o +tags ${vg}; it is made again when it is next wanted.`,
    });
  }
  const mark = readMark(row.tags);
  if (mark.state !== 'golden' || mark.fillId !== golden.fillId || !carriesExactly(row, goldenTags(mark))) {
    throw stateError(vg, row.lv, 'does not carry the seal of a golden volume');
  }
  if (mark.sha256 !== golden.sha256 || mark.format !== golden.format) {
    throw stateError(vg, row.lv, `holds ${mark.sha256} read as ${mark.format}, and another image is wanted`);
  }
  if (row.segmentType !== 'thin' || row.thinPool !== pool.lv) {
    throw stateError(vg, row.lv, `is no thin volume of ${pool.lv}`);
  }
  const why = row.writable ? 'can be written to' : row.open ? 'is open' : undefined;
  if (why === undefined) return row;
  throw stateError(
    vg,
    row.lv,
    `${why}, so it may hold something else by now`,
    `If nobody needs it, remove it (lvremove ${vg}/${row.lv}): it is made again when it is next wanted.`,
  );
}

function refuseUnfit({ volume }: Clone, origin: VolumeRow, held: VolumeRow): void {
  if (held.lv !== privateName(volume.fillId) || !carriesExactly(held, fillTags(volume))) {
    throw stateError(volume.vg, held.lv, `carries other marks of fill ${volume.fillId} than were asked for`);
  }
  refuseOther(held, origin);
}
