/**
 * What becomes of published volumes when their domain is gone: kept, or deleted if the annotation says so and it
 * is proven that the guest has ended here, or gone on elsewhere. Where a proof is missing they are kept, and their
 * rows with them, so that `lvp gc` can tell.
 */
import { fateOf, mayBeDeleted } from '../../core/plan/last-end.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { VolumeRequest } from '../../core/request.ts';
import { NOTHING_THIN } from '../../core/thin/thin-place.ts';
import type { LocatedVolume } from '../../core/volume/locate.ts';
import { locateVolumes } from '../../core/volume/locate.ts';
import type { Clock, Log } from '../ports/host.ts';
import type { FillRecord, KnownDomain, Ledger } from '../ports/ledger.ts';
import type { DeleteNeeds } from './delete-published.ts';
import { deletePublished } from './delete-published.ts';
import type { DomainEnds } from './domain-ends.ts';

/** So long a domain has to be gone: whoever replaces a definition undefines it first, and defines it anew. */
export const GONE_FOR_MS = 30_000;
/** A volume that could not be deleted is looked at again after this time; something may have had it open. */
const AGAIN_MS = 60_000;

export interface EndNeeds extends DeleteNeeds {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
}

/** A published volume that its annotation wants deleted, in one case or the other. */
export interface DoomedVolume {
  readonly record: FillRecord;
  readonly request: VolumeRequest;
}

export const UNPROVEN = 'nothing proves that its guest has ended here';

/** Published volumes of a domain, which libvirt has known, that its annotation may want deleted. */
export function doomedVolumes(known: KnownDomain | undefined, fills: readonly FillRecord[]): DoomedVolume[] {
  // One that only the gate has seen has never run.
  if (known?.origin !== 'libvirt') return [];
  return fills.flatMap((record) => {
    if (record.domainUuid !== known.domain.uuid || record.state !== 'ready') return [];
    // The domain as it was last, not as it was when the volume was filled: its disk may be on another volume now.
    const { pool, vg, thinPool } = record.location;
    const pools = pool === undefined ? [] : [{ name: pool, uuid: '', vg, active: true }];
    const thin = { ...NOTHING_THIN, poolFor: () => thinPool };
    const { located } = locateVolumes(known.domain, pools, thin);
    const isHere = (disk: LocatedVolume) =>
      disk.request.target === record.request.target &&
      volumeKey(disk.location) === volumeKey(record.location);
    const request = located.find(isHere)?.request;
    return request !== undefined && mayBeDeleted(request) ? [{ record, request }] : [];
  });
}

export class EndOfVolumes {
  readonly #needs: EndNeeds;
  readonly #ends: DomainEnds;
  /** What was last said of a volume, by fill, so that it is said once. */
  readonly #said = new Map<string, string>();

  constructor(needs: EndNeeds, ends: DomainEnds) {
    this.#needs = needs;
    this.#ends = ends;
  }

  /**
   * The domain is gone. Returns what is left: rows of volumes that are kept, and when to look again, as Unix
   * time in ms. Rows of volumes that were deleted, or are to be kept, are removed.
   */
  async settle(
    known: KnownDomain,
    doomed: readonly DoomedVolume[],
  ): Promise<{ readonly left: number; readonly againAtMs?: number }> {
    const { ledger, clock } = this.#needs;
    const lastEnd = this.#ends.provenEnd(known);
    if (lastEnd === undefined) {
      for (const { record } of doomed) this.#sayKept(record, UNPROVEN);
      return { left: doomed.length };
    }
    const toDelete = doomed.filter(({ request }) => fateOf(request, lastEnd) === 'delete');
    for (const one of doomed) if (!toDelete.includes(one)) this.#removeRow(one.record);
    if (toDelete.length === 0) return { left: 0 };
    // Intent before effect: from here on a crash does not change what becomes of them.
    if (known.goneAtMs === undefined) ledger.putDomain({ ...known, goneAtMs: clock.nowMs() });
    const goneAtMs = known.goneAtMs ?? clock.nowMs();
    const waitMs = goneAtMs + GONE_FOR_MS - clock.nowMs();
    // Further away than the whole pause: the clock was set back.
    if (waitMs > 0 && waitMs <= GONE_FOR_MS)
      return { left: toDelete.length, againAtMs: goneAtMs + GONE_FOR_MS };
    const left = await this.#deleteAll(known.domain.uuid, toDelete);
    return left === 0 ? { left } : { left, againAtMs: clock.nowMs() + AGAIN_MS };
  }

  async #deleteAll(uuid: string, doomed: readonly DoomedVolume[]): Promise<number> {
    const isStillGone = () => {
      const row = this.#needs.ledger.domainOf(uuid);
      return row?.goneAtMs !== undefined && this.#ends.provenEnd(row) !== undefined;
    };
    let left = 0;
    for (const { record } of doomed) {
      const outcome = await this.#ends.whileDeleting(uuid, () =>
        deletePublished(this.#needs, record, isStillGone),
      );
      if (outcome.outcome === 'kept') {
        left += 1;
        this.#sayKept(record, outcome.why);
        continue;
      }
      const fields = { domain: uuid, fill: record.fillId, volume: volumeKey(record.location) };
      if (outcome.outcome === 'deleted') this.#needs.log.info(fields, 'deleted, as its annotation says');
      this.#removeRow(record);
    }
    return left;
  }

  /** Not if another fill has taken its place meanwhile. */
  #removeRow({ domainUuid, request, fillId }: FillRecord): void {
    const { ledger } = this.#needs;
    this.#said.delete(fillId);
    if (ledger.fillOf(domainUuid, request.target)?.fillId === fillId)
      ledger.removeFill(domainUuid, request.target);
  }

  #sayKept({ fillId, domainUuid, domainName, location }: FillRecord, why: string): void {
    if (this.#said.get(fillId) === why) return;
    this.#said.set(fillId, why);
    this.#needs.log.warn(
      { domain: domainUuid, name: domainName, fill: fillId, volume: volumeKey(location), why },
      'its annotation may want it deleted, but it is kept; see lvp gc',
    );
  }
}
