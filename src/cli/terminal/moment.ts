/** Moments as people say them on the command line: so long ago, or a date with or without a time. */
import { InvalidArgumentError } from 'commander';

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export const MOMENT_HELP =
  '30m, 2h or 7d ago, or a date and time as 2026-11-30T08:00, in this time zone or with Z';

/** For commander: Unix time in ms. Throws InvalidArgumentError. */
export function parseMoment(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (digits !== undefined) return Date.now() - Number(digits) * (UNIT_MS[unit] ?? 0);
  const isDate = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?)?$/.test(text);
  // A date alone would be taken for one of UTC.
  const ms = isDate ? Date.parse(text.length === 10 ? `${text}T00:00` : text.replace(' ', 'T')) : NaN;
  if (Number.isNaN(ms)) throw new InvalidArgumentError(`Say ${MOMENT_HELP}.`);
  return ms;
}
