/** One domain's, or one disk's, story among the journal's entries: what belongs to it, in lines for people. */
import { z } from 'zod';
import { AUDIT_IDENTIFIER } from '../../core/protocol/audit-event.ts';

const Entry = z.object({
  MESSAGE: z.string(),
  SYSLOG_IDENTIFIER: z.string().optional(),
  /** In µs. */
  __REALTIME_TIMESTAMP: z.coerce.number(),
});

/** A line of the daemon's log. */
const Said = z.looseObject({
  level: z.union([z.string(), z.number()]),
  msg: z.string(),
  fill: z.string().optional(),
  domain: z.string().optional(),
  target: z.string().optional(),
});
type Said = z.infer<typeof Said>;

const LEVELS: Readonly<Record<string, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
};
/** They stand at the front, or are the same in all lines. */
const FRONT = ['level', 'time', 'msg', 'fill', 'domain', 'target', 'problem', 'problems'];

const Problem = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() });

export class Story {
  readonly #domain: string;
  readonly #target: string | undefined;
  /** Ids of its fills, by which the helper's lines are known. */
  readonly #fills = new Set<string>();

  constructor(domainUuid: string, target: string | undefined) {
    this.#domain = domainUuid;
    this.#target = target;
  }

  /** The entry for people, or undefined if it is not of this story. */
  lineOf(json: string): string | undefined {
    // Most are not: that is seen without understanding them.
    if (!json.includes(this.#domain) && !this.#namesFill(json)) return undefined;
    const entry = Entry.safeParse(parsed(json)).data;
    if (entry === undefined || entry.SYSLOG_IDENTIFIER === AUDIT_IDENTIFIER) return undefined;
    const at = new Date(entry.__REALTIME_TIMESTAMP / 1000).toISOString();
    const said = Said.safeParse(parsed(entry.MESSAGE)).data;
    if (said !== undefined) return this.#isOurs(said) ? `${at} ${textOf(said)}` : undefined;
    const isOurs = this.#target === undefined || this.#namesFill(entry.MESSAGE);
    return isOurs ? `${at} helper ${entry.MESSAGE}` : undefined;
  }

  #namesFill(text: string): boolean {
    return [...this.#fills].some((fill) => text.includes(fill));
  }

  /** What is said of no disk is said of all. */
  #isOurs({ domain, target, fill }: Said): boolean {
    if (domain !== this.#domain) return false;
    if (this.#target !== undefined && target !== undefined && target !== this.#target) return false;
    if (fill !== undefined) this.#fills.add(fill);
    return true;
  }
}

function textOf(said: Said): string {
  const { level, target, fill, msg } = said;
  const problems = [
    said['problem'],
    ...(Array.isArray(said['problems']) ? (said['problems'] as unknown[]) : []),
  ]
    .map((one) => Problem.safeParse(one).data)
    .filter((one) => one !== undefined)
    .map(
      ({ code, message, hint }) =>
        `${code}: ${[message, hint].filter((part) => part !== undefined).join(' ')}`,
    );
  const others = Object.entries(said)
    .filter(
      ([name, value]) => !FRONT.includes(name) && ['string', 'number', 'boolean'].includes(typeof value),
    )
    .map(([name, value]) => `${name}=${String(value)}`);
  return [
    (LEVELS[level] ?? String(level)).padEnd(5),
    ...[target, fill].filter((part) => part !== undefined),
    [msg, ...problems].join(': '),
    ...others,
  ].join(' ');
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
