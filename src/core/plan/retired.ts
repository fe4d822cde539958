/**
 * Published volumes that were put aside because their content is being made again (`lvp reprovision`), and what
 * becomes of them. The ledger's row of the new fill says for whom one stands aside (`replaces`); without such a
 * row it gets its name back. It is removed only with the row's word that the new volume is finished.
 */
import type { Problem } from '../errors.ts';
import { isPassing } from '../errors.ts';
import type { LogicalVolume, Seal } from '../volume/volume.ts';
import { fillIdOf, readMark, retiredName } from '../volume/volume.ts';
import type { PlannedFill } from './planned-fill.ts';
import { isUnfinished, volumeKey } from './planned-fill.ts';

/** A volume under its name aside; the seal says where it comes from. */
export interface RetiredVolume {
  readonly volume: LogicalVolume;
  readonly seal: Seal;
}

/** What is to be done about one of them. `leave`: it cannot be proven that nobody needs it any more. */
export type RetiredPlan = RetiredVolume & { readonly action: 'restore' | 'remove' | 'leave' };

/** All that stand aside; a name like theirs with another seal, or none, is somebody else's. */
export function retiredVolumes(volumes: readonly LogicalVolume[]): RetiredVolume[] {
  return volumes.flatMap((volume) => {
    const seal = readMark(volume.tags);
    return seal.state === 'ready' && volume.lv === retiredName(seal.fillId) ? [{ volume, seal }] : [];
  });
}

/** Those that had this name. */
export function asidesOf(
  volumes: readonly LogicalVolume[],
  location: { readonly vg: string; readonly lv: string },
): readonly RetiredVolume[] {
  return retiredVolumes(volumes).filter((retired) => nameBefore(retired) === volumeKey(location));
}

function nameBefore({ volume, seal }: RetiredVolume): string {
  return volumeKey({ vg: volume.vg, lv: seal.target });
}

/** True while this fill is to take the volume's place: it goes on, or is tried again by itself. */
export function isKeptAside(fill: PlannedFill, seal: Seal): boolean {
  return fill.replaces === seal.fillId && (isTriedAgain(fill) || isUnfinished(fill.state));
}

/** True for one that has failed and keeps what it is to replace aside until it is tried again. */
export function isTriedAgain({ state, replaces, problem }: PlannedFill): boolean {
  return state === 'failed' && replaces !== undefined && problem !== undefined && isPassing(problem);
}

/** What the ledger had written down as a fill that was never to be: nothing had been changed yet. */
const NEVER_BEGUN: Problem = {
  code: 'CANCELLED',
  message: 'Making its content again was cut off before anything was changed.',
  hint: 'Run `lvp reprovision` again if it is still wanted.',
};

/**
 * What a row takes over from the one before it. A fill that is tried again still stands for the volume it is to
 * replace; once that is the disk's volume again, its row says why nothing has come of it.
 */
export function carriedOver(
  before: PlannedFill | undefined,
  fillId: string | undefined,
): Pick<PlannedFill, 'replaces' | 'problem'> {
  if (before?.replaces === undefined) return {};
  if (fillId === before.replaces) return { problem: before.problem ?? NEVER_BEGUN };
  return fillId === undefined || fillId === before.fillId ? { replaces: before.replaces } : {};
}

/** The row of a fill that is not to take the volume's place any more: with the reason, if it did not end by itself. */
export function givenUp<Row extends PlannedFill>(row: Row): Row {
  if (!isTriedAgain(row) && !isUnfinished(row.state)) return row;
  const problem: Problem = {
    code: 'CANCELLED',
    message:
      'Making its content again was given up: the annotation has changed, the policy of this host does not allow it, or a guest had the volume open.',
    hint: 'Run `lvp reprovision` again if it is still wanted.',
  };
  return { ...row, state: 'cancelled', problem };
}

/** What becomes of those that nobody works on and that stand aside for nobody. */
export function planRetired(input: {
  readonly volumes: readonly LogicalVolume[];
  readonly fills: readonly PlannedFill[];
  readonly running: ReadonlySet<string>;
}): RetiredPlan[] {
  const all = retiredVolumes(input.volumes);
  return all.flatMap((retired): RetiredPlan[] => {
    const { volume, seal } = retired;
    const keepers = input.fills.filter((fill) => isKeptAside(fill, seal));
    // One that a guest has opened in the moment before it was put aside is that guest's.
    if (keepers.some(({ fillId }) => input.running.has(fillId) || !volume.open)) return [];
    const name = nameBefore(retired);
    const holder = input.volumes.find((other) => volumeKey(other) === name);
    if (holder !== undefined) {
      return [{ ...retired, action: isReplacedBy(input.fills, retired, holder) ? 'remove' : 'leave' }];
    }
    const isAlone = all.filter((other) => nameBefore(other) === name).length === 1;
    // The new one is finished but for its name, which it gets first.
    const isAfter = input.volumes.some((other) => isSealedHeir(other, retired));
    return [{ ...retired, action: isAlone && !isAfter ? 'restore' : 'leave' }];
  });
}

/** Only what is written in both places counts: the new volume's seal, and the row of the fill that made it. */
function isReplacedBy(
  fills: readonly PlannedFill[],
  { volume, seal }: RetiredVolume,
  holder: LogicalVolume,
): boolean {
  const heir = readMark(holder.tags);
  if (heir.state !== 'ready' || heir.domainUuid !== seal.domainUuid || heir.target !== seal.target)
    return false;
  return fills.some(
    (fill) =>
      fill.state === 'ready' &&
      fill.replaces === seal.fillId &&
      fill.fillId === heir.fillId &&
      fill.domainUuid === seal.domainUuid &&
      volumeKey(fill.location) === volumeKey({ vg: volume.vg, lv: seal.target }),
  );
}

function isSealedHeir(other: LogicalVolume, { volume, seal }: RetiredVolume): boolean {
  const mark = readMark(other.tags);
  return (
    mark.state === 'ready' &&
    other.vg === volume.vg &&
    fillIdOf(other.lv) === mark.fillId &&
    mark.target === seal.target &&
    mark.domainUuid === seal.domainUuid
  );
}
