const UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
];

/** The shortest exact way to write a duration as the configuration has them: `6h`, `90s`, `1500ms`. */
export function formatDuration(durationMs: number): string {
  const [unit, ms] = UNITS.find(([, each]) => durationMs > 0 && durationMs % each === 0) ?? ['ms', 1];
  return `${durationMs / ms}${unit}`;
}
