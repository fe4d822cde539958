/**
 * Volumes that were put aside to be made again: those whose replacement is over get their name back, those that
 * were replaced are removed, and those of which neither is proven stay and are spoken of.
 */
import { toProblem } from '../../core/errors.ts';
import type { RetiredPlan } from '../../core/plan/retired.ts';
import { planRetired, retiredVolumes } from '../../core/plan/retired.ts';
import type { LogicalPool } from '../../core/request.ts';
import { activePoolOn } from '../../core/volume/locate.ts';
import type { LogicalVolume } from '../../core/volume/volume.ts';
import type { Observation, ObserveNeeds } from '../observe.ts';
import { observe } from '../observe.ts';
import type { Log } from '../ports/host.ts';
import type { Pools } from '../ports/libvirt.ts';

export interface SettleNeeds extends ObserveNeeds {
  readonly pools: Pools;
  readonly log: Log;
}

/**
 * Does what can be done now, by a reading that no await has come after; what fails is met again the next time.
 * Resolves with the domains it was done for.
 */
export async function settleRetired(
  needs: SettleNeeds,
  { volumes }: Pick<Observation, 'volumes'>,
): Promise<readonly string[]> {
  const aside = new Set(retiredVolumes(volumes).map(({ seal }) => seal.fillId));
  forgetRemoved(needs, (fillId) => aside.has(fillId));
  const plans = planAsides(needs, volumes);
  if (plans.length === 0) return [];
  const pools = await needs.pools.list();
  const settled: string[] = [];
  for (const retired of plans) {
    const { volume, seal, action } = retired;
    const log = needs.log.child({ volume: `${volume.vg}/${volume.lv}`, domain: seal.domainUuid });
    try {
      if (action === 'leave') {
        log.warn(
          { target: seal.target },
          'a volume that was put aside is left: its name is taken, or not its own',
        );
      } else if (await (action === 'restore' ? restore : remove)({ ...needs, log }, retired, pools)) {
        settled.push(seal.domainUuid);
      }
    } catch (error) {
      log.warn({ problem: toProblem(error) }, `a volume that was put aside could not be ${action}d yet`);
    }
  }
  return settled;
}

/**
 * A row that says that an earlier volume may be removed is kept until it is, and no longer: whoever removed it may
 * have been cut off before the row was written.
 */
function forgetRemoved({ ledger, fills }: SettleNeeds, isAside: (fillId: string) => boolean): void {
  for (const fill of ledger.fills()) {
    const { state, replaces, fillId } = fill;
    if (state !== 'ready' || replaces === undefined || isAside(replaces) || fills.running.has(fillId))
      continue;
    ledger.putFill({ ...fill, replaces: undefined });
  }
}

/** What is to be done about those that stand aside, with the ledger and the fills as they are now. */
export function planAsides(needs: ObserveNeeds, volumes: readonly LogicalVolume[]): readonly RetiredPlan[] {
  const running = new Set([...needs.fills.running, ...needs.retiring]);
  return planRetired({ volumes, fills: needs.ledger.fills(), running });
}

/** Nothing is taken on trust that was read before a call that takes its time. */
async function isStill(needs: SettleNeeds, { volume, action }: RetiredPlan): Promise<boolean> {
  const { volumes } = await observe(needs, []);
  const now = planAsides(needs, volumes);
  return now.some((other) => other.volume.uuid === volume.uuid && other.action === action);
}

async function restore(
  needs: SettleNeeds,
  { volume, seal }: RetiredPlan,
  pools: readonly LogicalPool[],
): Promise<boolean> {
  await needs.volumes.restore(volume.vg, seal);
  needs.log.info({ target: seal.target }, 'a volume that was put aside has its name back');
  const pool = activePoolOn(pools, volume.vg);
  if (pool !== undefined && volume.thinPool === undefined) await needs.pools.refresh(pool.name);
  return true;
}

async function remove(
  needs: SettleNeeds,
  retired: RetiredPlan,
  pools: readonly LogicalPool[],
): Promise<boolean> {
  const { volume, seal } = retired;
  if (volume.thinPool === undefined) {
    const pool = activePoolOn(pools, volume.vg);
    if (pool === undefined) return false;
    // libvirt removes only what it has seen under that name.
    await needs.pools.refresh(pool.name);
    if (!(await isStill(needs, retired))) return false;
    await needs.pools.deleteVolume(pool.name, volume.lv);
  } else {
    if (!(await isStill(needs, retired))) return false;
    await needs.volumes.drop(volume.vg, seal);
  }
  const { volumes } = await needs.volumes.list();
  if (volumes.some(({ uuid }) => uuid === volume.uuid)) return false;
  needs.log.info({ target: seal.target }, 'what was replaced is removed');
  forgetRemoved(needs, (fillId) => fillId !== seal.fillId);
  return true;
}
