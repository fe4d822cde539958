/** The rows of one table in memory: by their key, by other keys, and in their order. */

interface Kept<Row, Other extends string> {
  /** No two rows have the same. */
  readonly keyOf: (row: Row) => string;
  readonly orderOf: (row: Row) => number;
  /** What else rows are asked for by: several may have the same. */
  readonly otherKeys: Readonly<Record<Other, (row: Row) => string>>;
}

/** What it gives out stays as it is when a row is written: whoever goes through it may write. */
export class Remembered<Row, Other extends string = never> {
  readonly #kept: Kept<Row, Other>;
  readonly #rows = new Map<string, Row>();
  readonly #byOther = new Map<string, Set<Row>>();
  #inOrder: readonly Row[] | undefined;

  constructor(rows: readonly Row[], kept: Kept<Row, Other>) {
    this.#kept = kept;
    for (const row of rows) this.set(row);
  }

  /** All of them; the next call after a write sorts them anew. */
  inOrder(): readonly Row[] {
    return (this.#inOrder ??= this.#sorted(this.#rows.values()));
  }

  /** The time it takes does not grow with the number of other rows. */
  by(other: Other, key: string): readonly Row[] {
    return this.#sorted(this.#byOther.get(indexKey(other, key)) ?? []);
  }

  get(key: string): Row | undefined {
    return this.#rows.get(key);
  }

  set(row: Row): void {
    const key = this.#kept.keyOf(row);
    const before = this.#rows.get(key);
    if (before !== undefined) this.delete(before);
    this.#rows.set(key, row);
    for (const index of this.#indexKeys(row)) {
      const rows = this.#byOther.get(index) ?? new Set();
      this.#byOther.set(index, rows.add(row));
    }
    this.#inOrder = undefined;
  }

  /** `row` is one that it gave out. */
  delete(row: Row): void {
    this.#rows.delete(this.#kept.keyOf(row));
    for (const index of this.#indexKeys(row)) {
      const rows = this.#byOther.get(index);
      rows?.delete(row);
      if (rows?.size === 0) this.#byOther.delete(index);
    }
    this.#inOrder = undefined;
  }

  #sorted(rows: Iterable<Row>): readonly Row[] {
    return [...rows].sort((a, b) => this.#kept.orderOf(a) - this.#kept.orderOf(b));
  }

  #indexKeys(row: Row): string[] {
    return Object.entries<(row: Row) => string>(this.#kept.otherKeys).map(([other, keyOf]) =>
      indexKey(other, keyOf(row)),
    );
  }
}

function indexKey(other: string, key: string): string {
  return `${other} ${key}`;
}
