/** The way from lvp to a daemon: its control socket on this host, or its HTTP API on another. */

/** A question in the words of core/protocol/control-protocol.ts, whichever way it goes. */
export interface Asked {
  readonly method: 'GET' | 'POST';
  /** As on the control socket: `/v1/domains`; with its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: object | undefined;
}

/**
 * Contract: what the daemon refuses is thrown as it said it, and whatever keeps it from being asked as
 * DAEMON_UNREACHABLE, with what to do about it. Nothing is tried twice, and no redirect is followed.
 */
export interface Transport {
  /**
   * The text of the answer, which comes within a bounded time. With `onLine` it takes as long as it takes, and each
   * line is given away as soon as it is there; no text is left then.
   */
  ask(asked: Asked, onLine?: (line: string) => void): Promise<string>;
}

/** Longer than the daemon's own limit for a verb, so that its explanation arrives. */
export const ANSWER_DEADLINE_MS = 65_000;
