/** Rows as text, no wider than what they are shown on. Pure. */
import stringWidth from 'string-width';

export interface TableStyle {
  /** What there is room for; undefined: as much as is needed. */
  readonly width?: number | undefined;
  /** Columns that are never shortened: what people copy. */
  readonly whole?: readonly number[];
  /** Of a cell that has been padded to the width of its column. */
  readonly paint?: (padded: string, cell: string, column: number) => string;
}

const GAP = 2;
/** Nothing is shortened to less, and what is shorter stays. */
const SHORT = 12;
/** How much of what is left of a name is its beginning: the middle goes first. */
const HEAD_SHARES = [0.5, 0.25, 0.75, 0, 1];
const CUT = '…';
const SEGMENTER = new Intl.Segmenter();

/** The first row is the heading. */
export function table(rows: readonly (readonly string[])[], style: TableStyle = {}): string {
  const { width, whole = [], paint = (padded: string): string => padded } = style;
  const cells = fitted(
    rows.map((row) => row.map((cell) => shownPlainly(cell))),
    width,
    whole,
  );
  const widths = columnsOf(cells).map(widestOf);
  return cells
    .map((row) =>
      row
        .map((cell, column) => {
          const isLast = column === row.length - 1;
          return paint(isLast ? cell : padded(cell, widths[column] ?? 0), cell, column);
        })
        .join(' '.repeat(GAP))
        .trimEnd(),
    )
    .join('\n');
}

/** Whoever names a domain or an image must not instruct the terminal. */
function shownPlainly(cell: string): string {
  return cell.replaceAll(/\p{Cc}/gu, '?');
}

function padded(cell: string, width: number): string {
  return cell + ' '.repeat(Math.max(0, width - stringWidth(cell)));
}

function columnsOf(rows: readonly (readonly string[])[]): readonly (readonly string[])[] {
  return (rows[0] ?? []).map((_, column) => rows.map((row) => row[column] ?? ''));
}

function widestOf(column: readonly string[]): number {
  return Math.max(...column.map((cell) => stringWidth(cell)));
}

/** The widest columns are narrowed until all fits, as long as different names stay different. */
function fitted(
  rows: readonly (readonly string[])[],
  width: number | undefined,
  whole: readonly number[],
): readonly (readonly string[])[] {
  const columns = columnsOf(rows);
  const widths = columns.map(widestOf);
  const tooWide = () => widths.reduce((sum, one) => sum + one + GAP, -GAP) - (width ?? Infinity);
  if (tooWide() <= 0) return rows;
  const least = columns.map((column, at) => (whole.includes(at) ? widestOf(column) : leastWidthOf(column)));
  for (let excess = tooWide(); excess > 0; excess -= 1) {
    const widest = widths.reduce(
      (best, one, at) => (one > (least[at] ?? 0) && one > (widths[best] ?? 0) ? at : best),
      widths.findIndex((one, at) => one > (least[at] ?? 0)),
    );
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  const shortened = columns.map((column, at) => shortenAll(column, widths[at] ?? 0).cells);
  return rows.map((_, row) => shortened.map((column) => column[row] ?? ''));
}

/** The least at which cells that differ are still shown differently. */
function leastWidthOf(column: readonly string[]): number {
  const full = widestOf(column);
  for (let width = Math.min(SHORT, full); width < full; width += 1) {
    if (shortenAll(column, width).isDistinct) return width;
  }
  return full;
}

/** Cut in such a place that what differs is kept, in the middle if that does it. */
export function shortenAll(
  column: readonly string[],
  width: number,
): { readonly cells: readonly string[]; readonly isDistinct: boolean } {
  const count = new Set(column).size;
  let best: readonly string[] = [];
  for (const share of HEAD_SHARES) {
    const cells = column.map((cell) => shorten(cell, width, share));
    const distinct = new Set(cells).size;
    if (distinct === count) return { cells, isDistinct: true };
    if (best.length === 0 || distinct > new Set(best).size) best = cells;
  }
  return { cells: best, isDistinct: false };
}

function shorten(cell: string, width: number, headShare: number): string {
  if (stringWidth(cell) <= width) return cell;
  const room = Math.max(0, width - stringWidth(CUT));
  const head = Math.floor(room * headShare);
  const letters = Array.from(SEGMENTER.segment(cell), ({ segment }) => segment);
  return `${taken(letters, head).join('')}${CUT}${taken(letters.toReversed(), room - head)
    .reverse()
    .join('')}`;
}

/** As many from the front as there is room for; some letters take the room of two. */
function taken(letters: readonly string[], room: number): string[] {
  const kept: string[] = [];
  let used = 0;
  for (const letter of letters) {
    used += stringWidth(letter);
    if (used > room) break;
    kept.push(letter);
  }
  return kept;
}
