/** How long a fill that failed for a passing reason waits for its next try. */

/** The longest pause between two tries of a fill that failed for a passing reason, in ms. */
export const RETRY_MAX_MS = 600_000;
const RETRY_FIRST_MS = 5_000;
/** So much of a pause is left to chance: what failed together does not come back together. */
const JITTER = 0.25;

/**
 * In ms, after so many tries, of which there are no more than the pauses allow but never a last one: however
 * long a fault lasts, its end is met by a try within RETRY_MAX_MS. `chance` is from 0 to below 1.
 */
export function retryPauseMs(attempts: number, chance: number): number {
  const pauseMs = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(Math.max(attempts, 1) - 1, 16));
  return Math.round(pauseMs * (1 - JITTER * chance));
}
