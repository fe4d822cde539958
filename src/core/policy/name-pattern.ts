/**
 * Patterns for names: `*` stands for any characters or none, `?` for exactly one, everything else for itself.
 * The whole name has to fit, and capital letters count.
 */

/**
 * At most as many steps as the pattern has characters times those of the name: of all the stars that were met,
 * only the last one is ever given more, since an earlier one has nothing to gain by it.
 */
export function fitsPattern(name: string, pattern: string): boolean {
  // By characters, not by halves of them.
  const chars = Array.from(name);
  const parts = Array.from(pattern);
  let at = 0;
  let part = 0;
  let star: { readonly part: number; at: number } | undefined;
  while (at < chars.length) {
    if (parts[part] === '*') {
      star = { part, at };
      part += 1;
    } else if (part < parts.length && (parts[part] === '?' || parts[part] === chars[at])) {
      part += 1;
      at += 1;
    } else if (star !== undefined) {
      star.at += 1;
      at = star.at;
      part = star.part + 1;
    } else {
      return false;
    }
  }
  while (parts[part] === '*') part += 1;
  return part === parts.length;
}
