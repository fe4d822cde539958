/** Durations as people write them in the configuration: `6h`, `90s`, `1500ms`. Largest unit first. */
const UNIT_MS: readonly (readonly [unit: string, ms: number])[] = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
];

/** The milliseconds of a duration, or undefined if the text is not one. */
export function parseDuration(text: string): number | undefined {
  const [, digits, written] = /^(\d{1,9})(ms|s|m|h)$/.exec(text) ?? [];
  const ms = UNIT_MS.find(([unit]) => unit === written)?.[1];
  return digits === undefined || ms === undefined ? undefined : Number(digits) * ms;
}

/** The shortest exact way to write a duration; parseDuration reads it back to the same number. */
export function formatDuration(durationMs: number): string {
  const [unit, ms] = UNIT_MS.find(([, each]) => durationMs > 0 && durationMs % each === 0) ?? ['ms', 1];
  return `${durationMs / ms}${unit}`;
}

/** A duration for people, of at least 0 seconds: `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function approximateDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
