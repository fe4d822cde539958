/** What crashes have left behind and nobody accounts for any more: removed, or finished if it was sealed. */
import { toProblem } from '../../core/errors.ts';
import type { Accounts } from '../../core/plan/left-behind.ts';
import { planFinish, planReclaim } from '../../core/plan/left-behind.ts';
import { activePoolOn } from '../../core/volume/locate.ts';
import type { LogicalPool } from '../../core/request.ts';
import type { LogicalVolume, Seal } from '../../core/volume/volume.ts';
import { readMark } from '../../core/volume/volume.ts';
import type { Arrivals } from '../arrivals/arrivals.ts';
import type { DiscardNeeds } from '../fill/discard-volume.ts';
import { discardVolume } from '../fill/discard-volume.ts';
import type { GoldenVolumes } from '../golden/golden-volumes.ts';
import type { ObserveNeeds } from '../observe.ts';
import { observe } from '../observe.ts';
import type { Log } from '../ports/host.ts';
import type { Pools } from '../ports/libvirt.ts';
import { publishVolume } from '../fill/publish-volume.ts';
import { settleRetired } from './settle-retired.ts';
import type { ThinPoolNews } from '../golden/thin-pool-news.ts';

export interface ReclaimNeeds extends ObserveNeeds {
  readonly pools: Pools;
  readonly luks: DiscardNeeds['luks'];
  readonly log: Log;
  readonly thinPoolNews?: ThinPoolNews | undefined;
  readonly goldens: Pick<GoldenVolumes, 'filling' | 'settle'>;
}

/**
 * Reads everything, then removes and finishes one after the other; what fails is met again the next time.
 * Resolves with the domains to look at: those that have another volume under the name of theirs now, and those
 * that volumes are set aside for.
 */
export async function reclaim(needs: ReclaimNeeds, arrivals: Arrivals): Promise<readonly string[]> {
  // What an incident has left behind is looked at before it is tidied up.
  if (needs.freeze.frozen() !== undefined) return [];
  const observation = await observe(needs, []);
  const { volumes } = observation;
  const accounts = accountsOf(needs, arrivals, volumes);
  const awaited = arrivals.findAll(volumes);
  const litter = planReclaim(accounts);
  const orphans = planFinish(accounts);
  needs.thinPoolNews?.look(observation.thinPools);
  await needs.goldens.settle(observation);
  const settled = await settleRetired(needs, observation);
  const changed = [...settled, ...awaited];
  if (litter.length + orphans.length === 0) return changed;
  const pools = await needs.pools.list();
  for (const { volume, seal } of orphans) await finishOrphan(needs, volume, seal, pools);
  for (const volume of litter) await discardLitter(needs, volume, pools);
  return changed;
}

/** What says of a private volume that somebody goes on with it. */
export function accountsOf(
  { fills, goldens, ledger }: ReclaimNeeds,
  arrivals: Arrivals,
  volumes: readonly LogicalVolume[],
): Accounts {
  return {
    volumes,
    fills: ledger.fills(),
    running: new Set([...fills.running, ...arrivals.preparing, ...goldens.filling]),
  };
}

async function discardLitter(
  needs: ReclaimNeeds,
  { vg, lv, tags }: LogicalVolume,
  pools: readonly LogicalPool[],
): Promise<void> {
  const mark = readMark(tags);
  if (mark.state !== 'filling') return;
  const { fillId } = mark;
  const pool = activePoolOn(pools, vg);
  try {
    const outcome = await discardVolume(needs, { vg, fillId }, pool?.name);
    needs.log.info({ fill: fillId, volume: `${vg}/${lv}`, outcome }, 'reclaimed an abandoned volume');
  } catch (error) {
    const problem = toProblem(error);
    needs.log.warn({ fill: fillId, problem }, 'an abandoned volume could not be removed yet');
  }
}

/** A sealed volume whose domain has gone before the last step: it gets its name, and people see that it is there. */
async function finishOrphan(
  needs: ReclaimNeeds,
  { vg, lv, thinPool }: LogicalVolume,
  seal: Seal,
  pools: readonly LogicalPool[],
): Promise<void> {
  const { fillId, target, domainUuid, encryption } = seal;
  const pool = activePoolOn(pools, vg)?.name;
  if (pool === undefined && thinPool === undefined) return;
  try {
    const location = { pool, vg, lv: target, thinPool };
    await publishVolume(needs, { vg, fillId, target, domainUuid, encryption }, seal, location);
    needs.log.info({ fill: fillId, volume: `${vg}/${target}` }, 'finished an abandoned volume');
  } catch (error) {
    const fields = { fill: fillId, volume: `${vg}/${lv}`, problem: toProblem(error) };
    needs.log.warn(fields, 'an abandoned volume could not be finished yet');
  }
}
