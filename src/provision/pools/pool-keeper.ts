/**
 * libvirt stops a pool whose refresh fails, and deactivates its LVs, as if somebody had run `virsh pool-destroy`:
 * an LV that another program removes in that moment is enough. Such a pool is started again. One that an operator
 * has stopped stays stopped, and libvirt says the same of both (the event "stopped", the pool inactive), so there
 * has to be proof that it was a refresh:
 *
 * - a refresh of our own failed, and the pool was active right before and inactive right after; or
 * - an LV that was open while the pool was active has stayed open, and the pool is inactive: libvirt refuses to
 *   stop a pool of which an LV is in use (vgchange fails), so nobody can have asked for it.
 *
 * Without either the pool is left as it is, and people are told how to start it.
 */
import type { Problem } from '../../core/errors.ts';
import { describeProblem, toProblem } from '../../core/errors.ts';
import type { LogicalPool } from '../../core/request.ts';
import type { LogicalVolume } from '../../core/volume/volume.ts';
import { poolStopped } from '../observe.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { Pools } from '../ports/libvirt.ts';
import type { Volumes } from '../ports/volumes.ts';

/** Starts in a row before it is left to people; with the pauses between them this is about half an hour. */
export const STARTS_MAX = 9;
const PAUSE_FIRST_MS = 5_000;
const PAUSE_MAX_MS = 600_000;
/** A pool that has been active for so long is sound again: its failures are counted from the first. */
const SOUND_AFTER_MS = 60_000;

interface Recovery {
  /** What proves that nobody asked for it. */
  readonly why: string;
  /** Tries so far. */
  starts: number;
  /** Monotonic time at which the pool was first seen active again. */
  activeSinceMs?: number;
  problem?: Problem;
}

interface KeeperNeeds {
  readonly pools: Pools;
  readonly volumes: Pick<Volumes, 'list'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The pools of libvirt, watched: whoever uses this port needs to know nothing of all that. */
export class PoolKeeper implements Pools {
  readonly #needs: KeeperNeeds;
  readonly #recoveries = new Map<string, Recovery>();
  /** UUIDs of the LVs that were open when the pool was last seen active, by pool. */
  readonly #open = new Map<string, ReadonlySet<string>>();
  readonly #stopping = new AbortController();

  constructor(needs: KeeperNeeds) {
    this.#needs = needs;
  }

  async list(): Promise<readonly LogicalPool[]> {
    return (await this.#needs.pools.list()).map((pool) => {
      if (pool.active) this.#seenActive(pool.name);
      return pool.active ? pool : { ...pool, stopped: this.#problemOf(pool.name) };
    });
  }

  /** A refresh that stops the pool is made good: starting it makes libvirt look as well. */
  async refresh(pool: string): Promise<void> {
    await this.#orStartAgain(pool, () => this.#needs.pools.refresh(pool));
  }

  async start(pool: string): Promise<void> {
    await this.#needs.pools.start(pool);
  }

  async deleteVolume(pool: string, lv: string): Promise<void> {
    const remove = () => this.#needs.pools.deleteVolume(pool, lv);
    if ((await this.#orStartAgain(pool, remove)) === 'started') await remove();
  }

  /**
   * Told of each reading of the world; `ours` are the pools on which we have something to do. Begins to start
   * those that have stopped by themselves, and does not wait for it.
   */
  look(
    {
      pools,
      volumes,
    }: { readonly pools: readonly LogicalPool[]; readonly volumes: readonly LogicalVolume[] },
    ours: ReadonlySet<string>,
  ): void {
    for (const { name, vg, active } of pools) {
      const open = volumes.filter((volume) => volume.vg === vg && volume.open);
      if (active) {
        this.#open.set(name, new Set(open.map(({ uuid }) => uuid)));
        continue;
      }
      const before = this.#open.get(name);
      this.#open.delete(name);
      const stillOpen = open.find(({ uuid }) => before?.has(uuid) === true);
      if (stillOpen === undefined || !ours.has(name)) continue;
      this.#startIfStillOpen(name, stillOpen).catch((error: unknown) => {
        this.#needs.log.warn(
          { pool: name, problem: toProblem(error) },
          'why the pool has stopped cannot be told',
        );
      });
    }
  }

  /**
   * The volumes may have been read before the pool was: the LV closed and the pool stopped in between. What is
   * open after the pool was seen inactive has been open all the time.
   */
  async #startIfStillOpen(pool: string, { vg, lv, uuid }: LogicalVolume): Promise<void> {
    const { volumes } = await this.#needs.volumes.list();
    if (!volumes.some((volume) => volume.uuid === uuid && volume.open)) return;
    const recovery = this.#begin(pool, `it stopped while ${vg}/${lv} was in use`);
    if (recovery !== undefined) await this.#startUntilItRuns(pool, recovery);
  }

  /** No further start is tried; one that is under way ends by itself. */
  stop(): void {
    this.#stopping.abort();
  }

  async #orStartAgain(pool: string, work: () => Promise<void>): Promise<'done' | 'started'> {
    const before = await this.#stateOf(pool);
    try {
      await work();
      return 'done';
    } catch (error) {
      const problem = toProblem(error);
      // Anything else does not come out of a refresh that was tried: libvirt or the pool were gone before it.
      const mayBeIt = problem.code === 'LIBVIRT_FAILED' && before === 'active';
      if (!mayBeIt || (await this.#stateOf(pool)) !== 'inactive') throw error;
      const recovery = this.#begin(pool, `a refresh of it failed: ${problem.message}`);
      if (recovery === undefined) throw error;
      if (await this.#tryStart(pool, recovery)) return 'started';
      void this.#startUntilItRuns(pool, recovery);
      throw error;
    }
  }

  /** The recovery to work on; undefined if somebody does already, or if it has been tried often enough. */
  #begin(pool: string, why: string): Recovery | undefined {
    const before = this.#recoveries.get(pool);
    const isFree = before === undefined || before.activeSinceMs !== undefined;
    if (!isFree || (before?.starts ?? 0) >= STARTS_MAX) return undefined;
    const recovery: Recovery = { why, starts: before?.starts ?? 0 };
    this.#recoveries.set(pool, recovery);
    this.#needs.log.warn({ pool, why }, 'the pool has stopped without being asked, and is started again');
    return recovery;
  }

  async #startUntilItRuns(pool: string, recovery: Recovery): Promise<void> {
    const { clock, log } = this.#needs;
    try {
      while (recovery.starts < STARTS_MAX) {
        if (recovery.starts > 0) {
          const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (recovery.starts - 1));
          await clock.sleep(pauseMs, this.#stopping.signal);
        }
        if (recovery.activeSinceMs !== undefined || (await this.#tryStart(pool, recovery))) return;
      }
      log.error(
        { pool, problem: recovery.problem },
        'the pool could not be started again; it is left as it is',
      );
    } catch {
      // The end of the program cuts the pause short.
    }
  }

  async #tryStart(pool: string, recovery: Recovery): Promise<boolean> {
    const { clock, log, pools } = this.#needs;
    recovery.starts += 1;
    try {
      await pools.start(pool);
    } catch (error) {
      recovery.problem = toProblem(error);
      log.warn(
        { pool, tries: recovery.starts, problem: recovery.problem },
        'the pool could not be started again',
      );
      return false;
    }
    recovery.activeSinceMs = clock.monotonicMs();
    log.info({ pool, tries: recovery.starts }, 'the pool was started again');
    return true;
  }

  /** Unknown also where libvirt does not say. */
  async #stateOf(pool: string): Promise<'active' | 'inactive' | 'unknown'> {
    const pools = await this.#needs.pools.list().catch(() => []);
    const found = pools.find(({ name }) => name === pool);
    if (found === undefined) return 'unknown';
    return found.active ? 'active' : 'inactive';
  }

  /** Started by us or by somebody else: there is nothing left to do, but it may stop again soon. */
  #seenActive(pool: string): void {
    const recovery = this.#recoveries.get(pool);
    if (recovery === undefined) return;
    const nowMs = this.#needs.clock.monotonicMs();
    recovery.activeSinceMs ??= nowMs;
    if (nowMs - recovery.activeSinceMs >= SOUND_AFTER_MS) this.#recoveries.delete(pool);
  }

  #problemOf(pool: string): Problem {
    const recovery = this.#recoveries.get(pool);
    const { code, hint } = poolStopped(pool);
    if (recovery === undefined || recovery.activeSinceMs !== undefined) return poolStopped(pool);
    const stopped = `The storage pool ${pool} has stopped by itself: ${recovery.why}.`;
    const failed = recovery.problem === undefined ? '' : ` ${describeProblem(recovery.problem)}`;
    if (recovery.starts >= STARTS_MAX) {
      const message = `${stopped} It could not be started again in ${recovery.starts} tries.${failed}`;
      return { code, message, hint };
    }
    const tries = recovery.starts === 0 ? '' : ` (${recovery.starts} of ${STARTS_MAX} tries)`;
    return { code, message: `${stopped} It is being started again${tries}.${failed}` };
  }
}
