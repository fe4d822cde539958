/**
 * The head of an HTTP/1.1 answer (RFC 9112), read strictly: what two programs might understand differently
 * is refused, because a proxy before the store may be one of them.
 */

import { quote } from '../../core/quote.ts';

/** Longer heads are refused. S3 sends about 600 bytes. */
export const HEAD_MAX_BYTES = 16 * 1024;
const FIELDS_MAX = 100;
/** A store that wants longer is asked again nevertheless. */
const RETRY_AFTER_MAX_MS = 120_000;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const FIELD_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/;
/** Fields that say which bytes come: there must be one of each, or they could contradict each other. */
const SINGLE = new Set(['content-length', 'content-range', 'transfer-encoding', 'etag', 'x-amz-version-id']);

export interface AnswerHead {
  readonly status: number;
  /** Names in lower case. */
  readonly fields: ReadonlyMap<string, string>;
  /** Whether the connection can be used again once the body has come. */
  readonly keepsAlive: boolean;
}

/** An answer that is not HTTP as it should be. */
export class BadAnswer extends Error {
  override readonly name = 'BadAnswer';
}

/** Where the head ends, just behind the empty line; 0 if it has not ended yet. */
export function headLength(bytes: Buffer, lengthBytes: number): number {
  const at = bytes.subarray(0, lengthBytes).indexOf('\r\n\r\n', 0, 'latin1');
  return at < 0 ? 0 : at + 4;
}

/** Reads a head, the empty line included. */
export function parseHead(head: Buffer): AnswerHead {
  const [statusLine = '', ...lines] = head.toString('latin1', 0, head.length - 4).split('\r\n');
  const status = STATUS_LINE.exec(statusLine);
  if (status === null)
    throw new BadAnswer(`the answer begins with ${quote(statusLine)}, which is not HTTP/1.1`);
  if (lines.length > FIELDS_MAX) throw new BadAnswer(`the answer has more than ${FIELDS_MAX} header fields`);
  const fields = new Map<string, string>();
  for (const line of lines) {
    const field = FIELD_LINE.exec(line);
    if (field === null) throw new BadAnswer(`the answer has a malformed header field ${quote(line)}`);
    const name = (field[1] ?? '').toLowerCase();
    const value = (field[2] ?? '').trim();
    const before = fields.get(name);
    if (before !== undefined && SINGLE.has(name)) throw new BadAnswer(`the answer has two fields ${name}`);
    fields.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  const connection = (fields.get('connection') ?? '').toLowerCase().split(/[ \t]*,[ \t]*/);
  return {
    status: Number(status[2]),
    fields,
    keepsAlive: status[1] === '1' && !connection.includes('close'),
  };
}

/** The pause a store asks for (RFC 9110, 10.2.3), in seconds or as a date. */
export function retryAfterMs(field: string | undefined, nowMs: number): number | undefined {
  if (field === undefined) return undefined;
  const pauseMs = /^\d{1,6}$/.test(field) ? Number(field) * 1000 : Date.parse(field) - nowMs;
  return Number.isFinite(pauseMs) ? Math.min(Math.max(pauseMs, 0), RETRY_AFTER_MAX_MS) : undefined;
}
