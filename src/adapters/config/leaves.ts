/**
 * The leaves of the configuration file: each says in one sentence what is allowed, and that sentence is what a
 * mistake is answered with.
 */
import { z } from 'zod';
import { parseDuration } from '../../core/duration.ts';
import { parseSize } from '../../core/size.ts';
import { isLvName } from '../../core/volume/lvm-names.ts';

/** A value that is converted, or refused with the sentence of what is allowed. */
export function leaf<T>(allowed: string, convert: (value: unknown) => T | undefined) {
  return z.unknown().transform((value, context): T => {
    const converted = convert(value);
    if (converted !== undefined) return converted;
    context.addIssue({ code: 'custom', message: allowed });
    return z.NEVER;
  });
}

export function duration(minMs: number, maxMs: number) {
  return leaf(
    `a duration such as 500ms, 3s, 5m or 1h, from ${minMs / 1000}s to ${maxMs / 1000}s`,
    (value) => {
      const durationMs = parseDuration(String(value)) ?? NaN;
      return durationMs >= minMs && durationMs <= maxMs ? durationMs : undefined;
    },
  );
}

export function size(allowed: string, minBytes = 1, maxBytes = Infinity) {
  return leaf(allowed, (value) => sizeWithin(value, minBytes, maxBytes));
}

/** `off` is 0. */
export function sizeOrOff(allowed: string, minBytes = 1) {
  return leaf(allowed, (value) => (value === 'off' ? 0 : sizeWithin(value, minBytes, Infinity)));
}

function sizeWithin(value: unknown, minBytes: number, maxBytes: number): number | undefined {
  const bytes = typeof value === 'string' ? parseSize(value) : undefined;
  return bytes !== undefined && bytes >= minBytes && bytes <= maxBytes ? bytes : undefined;
}

export function whole(min: number, max: number) {
  return leaf(`a whole number from ${min} to ${max}`, (value) =>
    Number.isInteger(value) && Number(value) >= min && Number(value) <= max ? Number(value) : undefined,
  );
}

export function number(allowed: string, min: number, max: number) {
  return leaf(allowed, (value) =>
    typeof value === 'number' && value >= min && value <= max ? value : undefined,
  );
}

export function oneOf<const T extends string>(...words: readonly T[]) {
  return leaf(`one of ${words.join(', ')}`, (value) => words.find((word) => word === value));
}

/** One or more of these words. */
export function someOf<const T extends string>(...words: readonly T[]) {
  return leaf(`a list of at least one of ${words.join(', ')}`, (value) =>
    listOf(value, (one) => words.find((word) => word === one)),
  );
}

/** A list of at least one value that `convert` accepts; undefined for anything else. */
export function listOf<T>(
  value: unknown,
  convert: (one: unknown) => T | undefined,
): readonly T[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const list = value.map(convert);
  return list.every((one) => one !== undefined) ? list : undefined;
}

export const flag = leaf('true or false', (value) => (typeof value === 'boolean' ? value : undefined));

export const path = leaf('an absolute path', (value) =>
  typeof value === 'string' && /^\/[^\0]*$/.test(value) ? value : undefined,
);

export function names(allowed: string, pattern: RegExp, countMin = 1) {
  const list = countMin === 0 ? 'a list of names' : 'a list of at least one name';
  return leaf(`${list}, each with ${allowed}`, (value): readonly string[] | undefined => {
    const isNames =
      Array.isArray(value) &&
      value.length >= countMin &&
      new Set(value).size === value.length &&
      value.every((name): name is string => typeof name === 'string' && pattern.test(name));
    return isNames ? value : undefined;
  });
}

export function volumeGroups(countMin: number) {
  const pattern = /^[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}$/;
  return names('letters, digits and + _ . -, not beginning with -', pattern, countMin);
}

export const thinPool = leaf('the name of a logical volume, which is a thin pool', (value) =>
  typeof value === 'string' && isLvName(value) ? value : undefined,
);

/** The beginning of `BUCKET/KEY`, or undefined. */
export function parsePrefix(value: unknown): string | undefined {
  const isPrefix = typeof value === 'string' && /^[a-z0-9.-]{3,63}\/[^\p{Cc}]{0,1024}$/u.test(value);
  return isPrefix ? value : undefined;
}
