/** What is under way ends, and rows go: of a domain that is gone or asks for nothing any more, and of disks. */
import type { Plan } from '../../core/plan.ts';
import { volumeKey } from '../../core/plan/planned-fill.ts';
import type { Domain } from '../../core/request.ts';
import type { Fills } from '../fill/fills.ts';
import type { Log } from '../ports/host.ts';
import type { Ledger } from '../ports/ledger.ts';
import type { EndOfVolumes } from './end-of-volume.ts';
import { doomedVolumes } from './end-of-volume.ts';

interface RowNeeds {
  readonly fills: Fills;
  readonly ledger: Ledger;
  readonly firstStarts: Map<string, string>;
}

interface ForgetNeeds extends RowNeeds {
  readonly log: Log;
  readonly endOfVolumes: EndOfVolumes;
}

/** Whether all rows are gone; if not, when to look again without any news, as Unix time in ms. */
export interface Forgotten {
  readonly isForgotten: boolean;
  readonly againAtMs?: number | undefined;
}

/**
 * `isThere`: without a readable annotation, so that what was published stays. Of a domain
 * that is gone, what its annotation wants deleted goes first and the domain's row last, so that a crash in
 * between is made good at the next look.
 */
export async function forgetDomain(needs: ForgetNeeds, uuid: string, isThere: boolean): Promise<Forgotten> {
  const { ledger, log } = needs;
  const known = ledger.domainOf(uuid);
  const doomed = isThere ? [] : doomedVolumes(known, ledger.fillsOf(uuid));
  const kept = new Set(doomed.map(({ record }) => record.fillId));
  const remain = endFills(
    needs,
    uuid,
    isThere ? 'the annotation was taken away' : 'the domain was undefined',
    kept,
  );
  if (known === undefined || remain) return { isForgotten: !remain };
  if (doomed.length > 0) {
    const { left, againAtMs } = await needs.endOfVolumes.settle(known, doomed);
    if (left > 0) return { isForgotten: false, againAtMs };
    // It has come back since, and its row says so.
    const row = ledger.domainOf(uuid);
    if (row?.origin !== known.origin || row.seenAtMs !== known.seenAtMs) return { isForgotten: true };
  }
  needs.firstStarts.delete(uuid);
  ledger.removeDomain(uuid);
  log.info({ domain: uuid, name: known.domain.name }, 'no longer asks for volumes');
  return { isForgotten: true };
}

/** Cancels running fills and removes the rows of all others; true if there were running ones. */
function endFills(
  { fills, ledger }: RowNeeds,
  uuid: string,
  why: string,
  kept: ReadonlySet<string>,
): boolean {
  let isAnyRunning = false;
  for (const { fillId, request } of ledger.fillsOf(uuid)) {
    if (kept.has(fillId)) continue;
    if (fills.running.has(fillId)) {
      fills.cancel(fillId, why);
      isAnyRunning = true;
    } else ledger.removeFill(uuid, request.target);
  }
  return isAnyRunning;
}

/** First starts of this guest under other UUIDs for which nothing was begun: they do not come back. */
export function forgetEarlierTries({ firstStarts, ledger }: RowNeeds, { uuid, name }: Domain): string[] {
  const filled = new Set(ledger.fills().map(({ domainUuid }) => domainUuid));
  const forgotten = [...firstStarts]
    .filter(([earlier, earlierName]) => earlier !== uuid && earlierName === name && !filled.has(earlier))
    .map(([earlier]) => earlier);
  for (const earlier of forgotten) {
    firstStarts.delete(earlier);
    ledger.removeDomain(earlier);
  }
  return forgotten;
}

/** An earlier try of a guest, unless another disk is still being filled for it: that is claimed later. */
export function forgetIfOver({ fills, firstStarts, ledger }: RowNeeds, earlier: string): boolean {
  if (fills.runningFor(earlier).length > 0) return false;
  for (const { request } of ledger.fillsOf(earlier)) ledger.removeFill(earlier, request.target);
  firstStarts.delete(earlier);
  ledger.removeDomain(earlier);
  return true;
}

/** Disks that are annotated no longer, and fills that were begun for another volume of a disk. */
export function forgetDisksNotIn({ fills, ledger }: RowNeeds, planned: Plan): void {
  const asked = new Set(planned.domain.annotation?.volumes.map(({ target }) => target));
  const places = new Map(planned.disks.map((disk) => [disk.request.target, volumeKey(disk.location)]));
  for (const fill of ledger.fillsOf(planned.domain.uuid)) {
    const place = places.get(fill.request.target);
    // What was begun for another volume of this disk is nobody's any more, and what it left is to be taken up.
    const hasMoved = place !== undefined && place !== volumeKey(fill.location) && fill.state !== 'ready';
    if (asked.has(fill.request.target) && !(hasMoved && !fills.running.has(fill.fillId))) continue;
    if (fills.running.has(fill.fillId)) fills.cancel(fill.fillId, 'the disk is no longer annotated');
    else ledger.removeFill(fill.domainUuid, fill.request.target);
  }
}
