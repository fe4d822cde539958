/**
 * Deletes a published volume, whose content cannot be had again. That somebody wants it gone is for the caller
 * to know; that nobody uses it and that it is what it is taken for is proven here, right before.
 */
import { asidesOf } from '../../core/plan/retired.ts';
import type { LogicalVolume, Seal } from '../../core/volume/volume.ts';
import { readMark } from '../../core/volume/volume.ts';
import type { FillRecord } from '../ports/ledger.ts';
import type { Domains, Pools } from '../ports/libvirt.ts';
import type { Volumes } from '../ports/volumes.ts';
import { readUsers, userOf } from './volume-users.ts';

export interface DeleteNeeds {
  readonly domains: Domains;
  readonly pools: Pools;
  readonly volumes: Volumes;
}

/** `kept` says why, as a sentence's end that follows "it is kept: ". */
export type DeleteOutcome =
  { readonly outcome: 'deleted' | 'absent' } | { readonly outcome: 'kept'; readonly why: string };

/**
 * Deletes the volume of a fill whose domain is gone. `isStillGone` is asked last, when nothing is waited for any
 * more: by then somebody may have been told that the domain may start. Errors of libvirt and the helper pass.
 */
export async function deletePublished(
  needs: DeleteNeeds,
  record: FillRecord,
  isStillGone: () => boolean,
): Promise<DeleteOutcome> {
  const { domains } = needs;
  // The slow reading first, so that little time is between the others and the deletion.
  const users = await readUsers(domains);
  const pools = await needs.pools.list();
  const { volumes, groups } = await needs.volumes.list();
  const { vg, lv } = record.location;
  const volume = volumes.find((one) => one.vg === vg && one.lv === lv);
  if (volume === undefined) return { outcome: 'absent' };
  const pool = pools.find((one) => one.vg === vg && one.active);
  const isThin = volume.thinPool !== undefined;
  if (pool === undefined && !isThin) return kept(`no active storage pool is on volume group ${vg}`);
  if (groups.find((group) => group.vg === vg)?.shared !== false) {
    return kept(`volume group ${vg} is shared with other hosts`);
  }
  const mistake = whyNotTheirs(volume, record);
  if (mistake !== undefined) return kept(mistake);
  // With its row gone nobody could tell what becomes of the other one.
  if (asidesOf(volumes, volume).length > 0) return kept('what it held before is still put aside');
  const user = userOf(users, volume, pools);
  if (user !== undefined) return kept(user);
  const looked = new Set(users.map(({ uuid }) => uuid));
  const newcomer = (await domains.list()).find((uuid) => !looked.has(uuid));
  if (newcomer !== undefined) return kept(`domain ${newcomer} has just appeared`);
  if ((await domains.read(record.domainUuid)) !== undefined) return kept('its domain is back');
  if (!isStillGone()) return kept('its domain is coming back');
  if (isThin) await needs.volumes.drop(vg, sealOf(volume));
  else if (pool !== undefined) await needs.pools.deleteVolume(pool.name, lv);
  return { outcome: 'deleted' };
}

function kept(why: string): DeleteOutcome {
  return { outcome: 'kept', why };
}

/** Why the volume is not the one that this fill has published, or cannot be deleted as such. */
function whyNotTheirs(volume: LogicalVolume, record: FillRecord): string | undefined {
  const mark = readMark(volume.tags);
  if (mark.state !== 'ready')
    return `its tags are ${mark.state === 'unclear' ? 'unclear' : 'not those of a finished volume'}`;
  if (!isSealOf(mark, record)) return 'its seal is not that of this domain and this fill';
  if (volume.open) return 'something has it open';
  // With the origin of a snapshot the snapshots would go, too; those of thin volumes stay.
  if (!['linear', 'striped', 'thin'].includes(volume.segmentType))
    return `it is of type ${volume.segmentType}`;
  return undefined;
}

function sealOf({ lv, tags }: LogicalVolume): Seal {
  const mark = readMark(tags);
  if (mark.state !== 'ready') throw new Error(`${lv} has lost its seal`);
  return mark;
}

function isSealOf(seal: Seal, { domainUuid, fillId, location }: FillRecord): boolean {
  return seal.domainUuid === domainUuid && seal.fillId === fillId && seal.target === location.lv;
}
