/**
 * Gives a finished volume its final name. From here on it is never written again by this program.
 */
import { randomBytes } from 'node:crypto';
import { ProvisionError, toProblem } from '../../core/errors.ts';
import type { VolumeLocation } from '../../core/request.ts';
import { deleteCommand } from '../../core/volume/delete-command.ts';
import type { LogicalVolume, Seal } from '../../core/volume/volume.ts';
import { ADOPTING_TAG, readMark } from '../../core/volume/volume.ts';
import type { Log } from '../ports/host.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { PrivateVolume, Volumes } from '../ports/volumes.ts';
import type { DiscardNeeds } from './discard-volume.ts';
import { discardVolume } from './discard-volume.ts';

export interface PublishNeeds extends DiscardNeeds {
  readonly log: Log;
}

/**
 * Seals and renames. A blank volume that a tool has made under the final name meanwhile (virt-install, at a
 * second try) is moved out of the way and removed afterwards; one that is not blank stays, and the fill fails with
 * VOLUME_NOT_BLANK. `publish` is how one that is not sealed yet is published, if the helper wants more than its seal.
 */
export async function publishVolume(
  needs: PublishNeeds,
  volume: PrivateVolume,
  seal: Seal,
  { pool, thinPool }: VolumeLocation,
  publish: () => Promise<void> = () => needs.volumes.publish(volume, seal),
): Promise<void> {
  const movedAside = await publishOverBlank(needs, volume, publish);
  if (movedAside !== undefined) await discardAside(needs, movedAside, pool);
  // It lists no thin volumes.
  if (thinPool === undefined && pool !== undefined) await showLibvirt(needs, pool);
}

/** The helper refuses where the name is taken, which is rare: only then it is looked what is there. */
async function publishOverBlank(
  needs: { readonly volumes: Volumes; readonly log: Log },
  volume: PrivateVolume,
  publish: () => Promise<void>,
): Promise<PrivateVolume | undefined> {
  try {
    await publish();
    return undefined;
  } catch (error) {
    if (toProblem(error).code !== 'VOLUME_STATE') throw error;
    const { volumes } = await needs.volumes.list();
    const inTheWay = volumes.find((other) => other.vg === volume.vg && other.lv === volume.target);
    const movedAside = inTheWay === undefined ? undefined : await moveBlankAside(needs, volume, inTheWay);
    if (movedAside === undefined) throw error;
    await publish();
    return movedAside;
  }
}

/**
 * libvirt learns of the new name only by this. If it fails the volume is published all the same, and whoever
 * finds it so has libvirt look again. A pool that is stopped is looked at when it is started.
 */
async function showLibvirt(
  { pools, log }: { readonly pools: Pools; readonly log: Log },
  pool: string,
): Promise<void> {
  try {
    await pools.refresh(pool);
  } catch (error) {
    if (toProblem(error).code !== 'POOL_INACTIVE') throw error;
    log.warn({ pool }, 'published; the pool is stopped, so libvirt learns of it when the pool is started');
  }
}

async function discardAside(
  needs: PublishNeeds,
  aside: PrivateVolume,
  pool: string | undefined,
): Promise<void> {
  try {
    await discardVolume(needs, aside, pool);
  } catch (error) {
    needs.log.warn({ problem: toProblem(error) }, 'the volume that was moved aside will be reclaimed');
  }
}

/**
 * Takes the blank volume over like any other that is adopted; a crash leaves it marked, as litter to reclaim.
 * One whose taking over was cut off by a crash is taken over for good; anything else is left to the helper,
 * which refuses to publish over it.
 */
async function moveBlankAside(
  needs: { readonly volumes: Volumes; readonly log: Log },
  volume: PrivateVolume,
  inTheWay: LogicalVolume,
): Promise<PrivateVolume | undefined> {
  const mark = readMark(inTheWay.tags);
  if (
    mark.state === 'filling' &&
    mark.domainUuid === volume.domainUuid &&
    inTheWay.tags.includes(ADOPTING_TAG)
  ) {
    const { fillId, encryption } = mark;
    const aside = { ...volume, fillId, encryption };
    await needs.volumes.adopt(aside);
    return aside;
  }
  if (mark.state !== 'unmarked') return undefined;
  const examined = await needs.volumes.examine(volume.vg, volume.target);
  if (!examined.blank) {
    throw new ProvisionError({
      code: 'VOLUME_NOT_BLANK',
      message: `A volume ${volume.vg}/${volume.target} appeared during the fill and is not blank: ${examined.why}.`,
      hint: `It was left untouched. Delete it yourself (${deleteCommand(inTheWay)}) if its content is not needed, then run \`lvp retry\`.`,
    });
  }
  const aside = { ...volume, fillId: randomBytes(8).toString('hex'), encryption: undefined };
  await needs.volumes.adopt(aside);
  needs.log.info(
    { volume: `${volume.vg}/${volume.target}` },
    'a blank volume under the final name was moved aside',
  );
  return aside;
}
