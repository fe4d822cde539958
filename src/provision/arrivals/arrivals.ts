/**
 * Volumes that were set aside for domains that arrive with their storage: who may use them, when they are
 * sealed, and when they are removed. What is known of them beside their tags is in memory alone. So after a
 * restart none of them is accepted or removed any more, because it cannot be told whether somebody's bytes
 * have come meanwhile; only that a guest runs on one proves that it is whole.
 */
import { toProblem } from '../../core/errors.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import { activePoolOn, locateVolumes } from '../../core/volume/locate.ts';
import type { LogicalVolume, ReceivingMark } from '../../core/volume/volume.ts';
import { fillIdOf, readMark } from '../../core/volume/volume.ts';
import { readDomainXml } from '../../core/xml/domain-xml.ts';
import type { DiscardNeeds } from '../fill/discard-volume.ts';
import { discardVolume } from '../fill/discard-volume.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { Domains, LibvirtDomain } from '../ports/libvirt.ts';
import type { GateOperation } from '../ports/verbs.ts';

/** How long a migration may take to begin after its volumes were set aside, in ms. */
export const EXPECTED_MS = 3_600_000;
/** How long libvirt may take from `migrate begin` to `prepare begin` of one migration, in ms. */
const PERMIT_MS = 30_000;

/**
 * - expected: set aside, and nobody has been let in. `permitUntilMs`: `migrate begin` was admitted, and the next
 *   `prepare begin` of this domain is the same migration's.
 * - admitted: QEMU was let at the volumes, and has been watched since.
 * - unclear: its guest may have run, or we did not see everything. Then nothing is removed any more.
 */
type Stage =
  | { readonly stage: 'expected'; readonly untilMs: number; readonly permitUntilMs?: number }
  | { readonly stage: 'admitted' | 'unclear' };

export interface ArrivalNeeds extends DiscardNeeds {
  readonly domains: Pick<Domains, 'read' | 'hasArrived'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A volume that is set aside, or was to be. */
interface SetAside {
  readonly volume: LogicalVolume;
  readonly mark: ReceivingMark;
}

export function setAsideFor(volumes: readonly LogicalVolume[], domainUuid?: string): SetAside[] {
  return volumes.flatMap((volume) => {
    const mark = readMark(volume.tags);
    const isTheirs = mark.state === 'receiving' && (domainUuid ?? mark.domainUuid) === mark.domainUuid;
    return isTheirs ? [{ volume, mark }] : [];
  });
}

export class Arrivals {
  readonly #needs: ArrivalNeeds;
  /** By domain UUID. */
  readonly #stages = new Map<string, Stage>();
  /** Fill ids of the volumes that are just being set aside, by domain UUID. */
  readonly #preparing = new Map<string, readonly string[]>();
  /**
   * LV UUIDs of volumes with which guests have come that cannot be sealed: what they write there now proves nothing. One
   * that is set aside in the place of such a volume has its fill id, which is that of the seal where the guest was.
   */
  readonly #hollow = new Set<string>();

  constructor(needs: ArrivalNeeds) {
    this.#needs = needs;
  }

  /** True if volumes were set aside for the domain, or are found to be. */
  isWatched(uuid: string): boolean {
    return this.#stages.has(uuid);
  }

  /** Volumes are just being set aside for the domain. */
  isPreparing(uuid: string): boolean {
    return this.#preparing.has(uuid);
  }

  /** Fill ids of volumes that are just being set aside: nobody else may take them for litter. */
  get preparing(): readonly string[] {
    return [...this.#preparing.values()].flat();
  }

  /**
   * Runs `work`, which sets these aside; while it does, nobody is let in and nothing of the domain is removed. Then
   * its migration is expected.
   */
  async prepare<T>(uuid: string, fillIds: readonly string[], work: () => Promise<T>): Promise<T> {
    this.#preparing.set(uuid, fillIds);
    try {
      const result = await work();
      const untilMs = this.#needs.clock.monotonicMs() + EXPECTED_MS;
      this.#stages.set(uuid, { stage: 'expected', untilMs });
      return result;
    } finally {
      this.#preparing.delete(uuid);
    }
  }

  isExpected(uuid: string): boolean {
    const now = this.#stages.get(uuid);
    return now?.stage === 'expected' && this.#needs.clock.monotonicMs() < now.untilMs;
  }

  /**
   * Whether this question to the gate is one of a migration that is expected. Its `prepare begin` may be asked
   * once, however it is answered: a second one would be that of a start, perhaps on half of the bytes.
   */
  mayReceive(uuid: string, operation: GateOperation): boolean {
    const now = this.#stages.get(uuid);
    if (now?.stage !== 'expected' || operation === 'restore' || this.isPreparing(uuid)) return false;
    if (operation === 'migrate') return this.isExpected(uuid);
    if (this.#needs.clock.monotonicMs() >= (now.permitUntilMs ?? -Infinity)) return false;
    this.#stages.set(uuid, { stage: 'admitted' });
    return true;
  }

  /** `migrate begin` was admitted. */
  permit(uuid: string): void {
    const now = this.#stages.get(uuid);
    if (now?.stage !== 'expected') return;
    this.#stages.set(uuid, { ...now, permitUntilMs: this.#needs.clock.monotonicMs() + PERMIT_MS });
  }

  /** libvirt says that the guest was let run: from now on only a look at it can tell what the volume holds. */
  mayHaveRun(uuid: string): void {
    if (this.#stages.get(uuid)?.stage === 'admitted') this.#stages.set(uuid, { stage: 'unclear' });
  }

  /** libvirt is away: what happens now is not seen. */
  loseSight(): void {
    for (const uuid of this.#stages.keys()) this.mayHaveRun(uuid);
  }

  /** Takes up what is found set aside and is not known yet. Resolves with whom to look at. */
  findAll(volumes: readonly LogicalVolume[]): readonly string[] {
    const found = new Set(setAsideFor(volumes).map(({ mark }) => mark.domainUuid));
    for (const uuid of found) {
      if (!this.#stages.has(uuid) && !this.isPreparing(uuid)) this.#stages.set(uuid, { stage: 'unclear' });
    }
    return [...found];
  }

  /**
   * Seals what has arrived and removes what nobody has come for, by what libvirt says of the domain just now.
   * Resolves with false if it is to be looked at again soon. Never fails.
   */
  async settle(uuid: string, found: LibvirtDomain | undefined): Promise<boolean> {
    const { domains, log, volumes } = this.#needs;
    if (this.isPreparing(uuid)) return true;
    try {
      const theirs = setAsideFor((await volumes.list()).volumes, uuid);
      if (theirs.length === 0) {
        if (!this.isExpected(uuid)) this.#stages.delete(uuid);
        return true;
      }
      if (found?.active === true && (await domains.hasArrived(uuid))) {
        this.mayHaveRun(uuid);
        const used = await this.#usedBy(found, theirs);
        for (const one of used) await this.#seal(one);
        if (used.every(({ volume }) => !this.#hollow.has(volume.uuid)) && used.length === theirs.length)
          this.#stages.delete(uuid);
        return true;
      }
      if (found?.active === true || found?.persistent === false) return true;
      return await this.#removeUnused(uuid, theirs, found === undefined);
    } catch (error) {
      log.warn({ domain: uuid, problem: toProblem(error) }, 'could not see to the volumes of an arrival');
      return false;
    }
  }

  /** What the guest does not use has received nothing, and must not be taken for what its seal would say. */
  async #usedBy(found: LibvirtDomain, theirs: readonly SetAside[]): Promise<SetAside[]> {
    const { domain } = readDomainXml(found.xml);
    const { located } = locateVolumes(domain, await this.#needs.pools.list());
    const keys = new Set(located.map(({ location }) => volumeKey(location)));
    return theirs.filter(({ volume }) => volume.open && keys.has(volumeKey(volume)));
  }

  async #seal({ volume: { vg, lv, uuid }, mark }: SetAside): Promise<void> {
    const { log, volumes } = this.#needs;
    const fields = { domain: mark.domainUuid, fill: mark.fillId, volume: `${vg}/${lv}` };
    if (this.#hollow.has(uuid)) return;
    try {
      await volumes.arrive(vg, { ...mark, state: 'ready' });
      log.info(fields, 'arrived with its domain, and sealed');
    } catch (error) {
      const problem = toProblem(error);
      if (problem.code !== 'VOLUME_STATE') throw error;
      this.#hollow.add(uuid);
      log.error(
        { ...fields, problem },
        'its domain has come, and it is not sealed: the domain is not started on it',
      );
    }
  }

  async #removeUnused(uuid: string, theirs: readonly SetAside[], isDomainGone: boolean): Promise<boolean> {
    const now = this.#stages.get(uuid);
    // Let in, watched since, never let run, and gone: the migration has failed. Or nobody has come in time. One
    // that is defined here would be filled anew if we took its volume away.
    const hasFailed = now?.stage === 'admitted';
    const isGivenUp = now?.stage === 'expected' && !this.isExpected(uuid);
    const isUnused = isDomainGone && (hasFailed || isGivenUp);
    for (const one of theirs) {
      const { volume } = one;
      // Nobody can have come to a volume that never got its name.
      const isHalfMade = fillIdOf(volume.lv) !== undefined;
      if (!isUnused && !isHalfMade) continue;
      // QEMU is still ending.
      if (volume.open) return false;
      // What was said of the domain may be older than its being let in.
      if (isUnused && (await this.#needs.domains.read(uuid)) !== undefined) return false;
      await this.remove(one);
    }
    if (isUnused) this.#stages.delete(uuid);
    return true;
  }

  /** Removes a volume that has received nothing, or only a part. */
  async remove({ volume: { vg, lv }, mark }: SetAside): Promise<void> {
    const { pools, volumes, log } = this.#needs;
    const pool = activePoolOn(await pools.list(), vg);
    await volumes.recall(vg, mark.fillId);
    await discardVolume(this.#needs, { vg, fillId: mark.fillId }, pool?.name);
    if (pool !== undefined) await pools.refresh(pool.name);
    const fields = { domain: mark.domainUuid, fill: mark.fillId, volume: `${vg}/${lv}` };
    log.info(fields, 'nothing has arrived on it; removed');
  }
}
