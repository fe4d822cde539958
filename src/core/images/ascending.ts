/** The order of places in an object, by radix: a comparison for each pair of millions would stop the program. */

const DIGIT_BITS = 16;
const DIGITS = 2 ** DIGIT_BITS;

/** The indices of `places`, which are 0 to 2^53, from the lowest place to the highest; equal ones keep their order. */
export function ascendingOrder(places: Float64Array): Uint32Array {
  let order = new Uint32Array(places.length);
  // Plain loops: the methods of typed arrays that call a function for each element take ten times as long.
  for (let index = 0; index < order.length; index++) order[index] = index;
  if (isAscending(places)) return order;
  let highest = 0;
  for (const place of places) highest = Math.max(highest, place);
  let sorted = new Uint32Array(places.length);
  for (let divisor = 1; divisor <= highest; divisor *= DIGITS) {
    const digit = (index: number) => Math.floor((places[index] ?? 0) / divisor) % DIGITS;
    const next = new Uint32Array(DIGITS + 1);
    for (const index of order) next[digit(index) + 1] = (next[digit(index) + 1] ?? 0) + 1;
    for (let value = 1; value < DIGITS; value++) next[value] = (next[value] ?? 0) + (next[value - 1] ?? 0);
    for (const index of order) {
      const value = digit(index);
      const at = next[value] ?? 0;
      next[value] = at + 1;
      sorted[at] = index;
    }
    [order, sorted] = [sorted, order];
  }
  return order;
}

/** As QEMU's own programs write them. */
function isAscending(places: Float64Array): boolean {
  for (let index = 1; index < places.length; index++) {
    if ((places[index] ?? 0) < (places[index - 1] ?? 0)) return false;
  }
  return true;
}
