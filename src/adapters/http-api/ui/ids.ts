/** Ids of elements, by which the page knows again what was there before. */

/** Each once, in the same order: what has the id of another is numbered. White space has no place in an id. */
export function uniqueIds(wanted: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  return wanted.map((one) => {
    const id = one.replaceAll(/\s/g, '_');
    const count = (counts.get(id) ?? 0) + 1;
    counts.set(id, count);
    return count === 1 ? id : `${id}-${count}`;
  });
}
