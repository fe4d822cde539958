/**
 * What has happened, and how often, in one run or in many: an oracle that is never asked notices nothing.
 * Names begin with their kind: `deed define`, `fault storeFails`, `log published`, `crash daemon at …`.
 */
export class Census {
  readonly #counts = new Map<string, number>();

  count(name: string, times = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + times);
  }

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  add(other: Iterable<readonly [string, number]>): void {
    for (const [name, times] of other) this.count(name, times);
  }

  /** All of one kind, or all, in the order of their names; the kind is left out of the names. */
  entries(kind = ''): [string, number][] {
    return [...this.#counts]
      .filter(([name]) => name.startsWith(kind))
      .map(([name, times]): [string, number] => [name.slice(kind.length).trimStart(), times])
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }
}
