/** Fills that run, or were cut off. */
import type { Problem } from '../errors.ts';
import { describeOwner } from '../owner.ts';
import type { LocatedVolume } from '../volume/locate.ts';
import type { FillMark, Seal } from '../volume/volume.ts';
import { fillIdOf, privateName, readMark } from '../volume/volume.ts';
import type { Decided } from './decision.ts';
import { refuseOther } from './decision.ts';
import type { PlanInput } from './input.ts';
import { isEncryptedAs } from './input.ts';
import type { PlannedFill } from './planned-fill.ts';
import { goesOn, sameRequest, volumeKey } from './planned-fill.ts';

export function decideRunning(
  input: PlanInput,
  disk: LocatedVolume,
  record: PlannedFill | undefined,
  refusal: Problem | undefined,
): Decided | undefined {
  if (record === undefined || !input.running.has(record.fillId)) return undefined;
  if (refusal !== undefined) {
    const why = "this host's policy does not let it be filled for the domain under its present name";
    return [{ action: 'cancel', fillId: record.fillId, why }, refusal.message];
  }
  const sameVolume = volumeKey(record.location) === volumeKey(disk.location);
  if (sameVolume && sameRequest(record.request, disk.request)) {
    return [{ action: 'wait', fillId: record.fillId }, 'it is being filled'];
  }
  return [
    { action: 'cancel', fillId: record.fillId, why: 'the annotation was changed during the fill' },
    'the annotation was changed during the fill, which is ended and begun again',
  ];
}

/** A private volume made for this disk, by whichever fill. Its tags alone say so: the ledger may be lost. */
export function unfinishedVolume(
  input: PlanInput,
  disk: LocatedVolume,
): { readonly fillId: string; readonly mark: FillMark | Seal } | undefined {
  for (const volume of input.volumes) {
    const fillId = fillIdOf(volume.lv);
    if (volume.vg !== disk.location.vg || fillId === undefined || volume.lv !== privateName(fillId)) continue;
    const mark = readMark(volume.tags);
    if (mark.state !== 'ready' && mark.state !== 'filling') continue;
    if (mark.fillId !== fillId || mark.target !== disk.location.lv || mark.domainUuid !== input.domain.uuid)
      continue;
    if (mark.state === 'filling' && !isResumable(input, disk, fillId)) continue;
    if (mark.state === 'filling' && !isEncryptedAs(mark, disk.request)) continue;
    return { fillId, mark };
  }
  return undefined;
}

/** An interrupted fill is resumed only if the ledger knows it and the request is still the same. */
function isResumable(input: PlanInput, disk: LocatedVolume, fillId: string): boolean {
  const record = input.fills.find((fill) => fill.fillId === fillId);
  return record !== undefined && goesOn(record) && sameRequest(record.request, disk.request);
}

export function decideHalfAdopted(input: PlanInput, disk: LocatedVolume, mark: FillMark): Decided {
  if (mark.domainUuid !== input.domain.uuid)
    return refuseOther(disk, `being filled for ${describeOwner(mark.domainUuid)}`);
  return [
    { action: 'fill', from: 'adopt', fillId: mark.fillId },
    'taking over the blank volume was interrupted and goes on',
  ];
}
