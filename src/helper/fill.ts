/** Which LV of a group belongs to a fill, and with exactly which of our tags. */
import { ProvisionError } from '../core/errors.ts';
import type { ReceivingMark, Seal } from '../core/volume/volume.ts';
import { finalTags, privateName, readMark, retiredName } from '../core/volume/volume.ts';
import type { VolumeRow } from './lvm.ts';
import type { Tools } from './tools.ts';

/** The LV that carries this fill's marks or seal, under whichever name; undefined if there is none. */
export function findFill(rows: readonly VolumeRow[], vg: string, fillId: string): VolumeRow | undefined {
  const marked = rows.filter((row) => {
    const mark = readMark(row.tags);
    return mark.state !== 'unmarked' && mark.state !== 'unclear' && mark.fillId === fillId;
  });
  const named = rows.find((row) => row.lv === privateName(fillId));
  const [held] = marked;
  if (marked.length > 1 || (named !== undefined && named !== held)) {
    const names = [...new Set([...marked, ...(named === undefined ? [] : [named])])].map((row) => row.lv);
    throw stateError(
      vg,
      names.join(', '),
      `carry the marks or the private name of fill ${fillId}, but not both, or there are several`,
    );
  }
  return held;
}

/** The LV under that name, whatever it is; VOLUME_MISSING if there is none. */
export function findNamed(rows: readonly VolumeRow[], vg: string, lv: string): VolumeRow {
  const found = rows.find((row) => row.lv === lv);
  if (found !== undefined) return found;
  throw new ProvisionError({
    code: 'VOLUME_MISSING',
    message: `There is no logical volume ${vg}/${lv}.`,
    hint: `See lvs ${vg}.`,
  });
}

/** The one LV with exactly that seal, under its final name or aside; a copy of it would carry its tags too. */
export function findSealed(rows: readonly VolumeRow[], vg: string, seal: Seal | ReceivingMark): VolumeRow {
  const [held, ...copies] = rows.filter((row) => carriesExactly(row, finalTags(seal)));
  if (held === undefined) {
    throw new ProvisionError({
      code: 'VOLUME_MISSING',
      message: `No logical volume in ${vg} carries the seal of fill ${seal.fillId} for ${seal.target}.`,
      hint: `Somebody removed it or changed its tags: lvs -o +tags ${vg}.`,
    });
  }
  if (copies.length > 0) {
    const names = [held, ...copies].map(({ lv }) => lv).join(', ');
    throw stateError(vg, names, `carry the same seal, that of fill ${seal.fillId}`);
  }
  if (held.lv === seal.target || held.lv === retiredName(seal.fillId)) return held;
  throw stateError(vg, held.lv, `carries the seal of ${seal.target}`);
}

/** The first tags become the second ones in one commit, with `unskip` as in Lvm; what both have in common stays. */
export function exchangeTags(
  { lvm }: Pick<Tools, 'lvm'>,
  { vg, lv }: Pick<VolumeRow, 'vg' | 'lv'>,
  before: readonly string[],
  after: readonly string[],
  unskip?: 'unskip',
): Promise<void> {
  const remove = before.filter((tag) => !after.includes(tag));
  const add = after.filter((tag) => !before.includes(tag));
  return lvm.swapTags(vg, lv, remove, add, unskip);
}

/** True if the tags of ours are these and no others; tags of other people do not matter. */
export function carriesExactly(row: VolumeRow, tags: readonly string[]): boolean {
  const ours = new Set(ourTags(row));
  return ours.size === tags.length && tags.every((tag) => ours.has(tag));
}

export function ourTags(row: VolumeRow): string[] {
  return row.tags.filter((tag) => tag.startsWith('lvp:'));
}

export function stateError(vg: string, lv: string, what: string, hint?: string): ProvisionError {
  return new ProvisionError({
    code: 'VOLUME_STATE',
    message: `${vg}/${lv} ${what}. Nothing was changed.`,
    hint: hint ?? `See its tags with lvs -o +tags ${vg}; lvchange --deltag removes those set by hand.`,
  });
}
