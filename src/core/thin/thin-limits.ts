/** How much of its thin pools a host promises, and from when on it worries. */
export interface ThinLimits {
  /** What thin volumes may grow to, all together, is at most so many times the size of their pool. */
  readonly overcommit: number;
  /** Of the pool's data or metadata in use: from here on it is warned of, and from here on nothing more is made. */
  readonly warnPercent: number;
  readonly stopPercent: number;
}
