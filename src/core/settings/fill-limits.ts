/** How much is filled at the same time, how much waits, and how long one may take. */
export interface FillLimits {
  /** Fills that run at the same time. */
  readonly concurrentMax: number;
  /** Fills that wait for their turn; what comes then is refused with QUEUE_FULL and tried again later. */
  readonly queueMax: number;
  /** From the beginning of a run to its publishing; waiting for its turn does not count. */
  readonly deadlineMs: number;
}
