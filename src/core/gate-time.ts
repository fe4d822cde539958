/** How long the gate may take: what the daemon keeps to is less than what the hook waits for. */

/** What an answer of the daemon may take beyond the grace, in ms: a reading, a key that is handed over, a look after it. */
export const ANSWER_AFTER_GRACE_MS = 3_500;
/** The way there and back, for the XML and the answer, in ms. */
const ON_THE_WAY_MS = 500;

/** After so many seconds the hook takes the daemon for dead. */
export function hookWaitSeconds(graceMs: number): number {
  return Math.ceil((graceMs + ANSWER_AFTER_GRACE_MS + ON_THE_WAY_MS) / 1000);
}
