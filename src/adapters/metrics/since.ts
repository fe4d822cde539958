/** Seconds since a time of performance.now(). */
export function secondsSince(sinceMs: number): number {
  return (performance.now() - sinceMs) / 1000;
}
