/**
 * A host that is frozen for an incident. A file beside the configuration says so: it outlives restarts, counts when
 * the daemon is down, and belongs to root, so that a daemon that was taken over cannot thaw itself.
 */
import type { Problem } from './errors.ts';

/** In the folder of the configuration. hooks/qemu reads it as well. */
export const FROZEN_NAME = 'frozen';
const LINE_CHARS_MAX = 200;

/** All of it may be missing: that the file is there is what counts. */
export interface Frozen {
  /** RFC 3339. */
  readonly since?: string | undefined;
  readonly by?: string | undefined;
  readonly reason?: string | undefined;
}

/** Three lines: since when, by whom, why. The hook shows the first and the last of them. */
export function formatFrozen({ since = '', by = '', reason = '' }: Frozen): string {
  return [since, by, reason].map((line) => `${plain(line)}\n`).join('');
}

export function parseFrozen(text: string): Frozen {
  const [since, by, reason] = text.split('\n', 3).map((line) => {
    const said = plain(line);
    return said === '' ? undefined : said;
  });
  return { since, by, reason };
}

export function frozenProblem({ since, by, reason }: Frozen): Problem {
  const when = since === undefined ? '' : ` since ${since}`;
  const whose = by === undefined ? '' : `, by ${by}`;
  return {
    code: 'FROZEN',
    message: `This host is frozen${when}${whose}${reason === undefined ? '' : ` (${reason})`}: no annotated domain starts, and nothing is filled.`,
    hint: 'When the incident is over: sudo lvp incident thaw',
  };
}

/** One line, without what a terminal or a log would take for more. */
function plain(line: string): string {
  return line
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
    .slice(0, LINE_CHARS_MAX);
}
