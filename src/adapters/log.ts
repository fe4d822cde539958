/** pino as the verbs see it: JSON lines for the journal, readable lines on a terminal. */
import pino from 'pino';
import type { Log } from '../provision/ports.ts';

/**
 * Fields that must never reach a log are replaced wherever they stand, as a second line behind the rule that
 * nobody logs them.
 */
const REDACTED = [
  ...['accessKey', 'secretKey', 'password', 'passphrase', 'token', 'authorization'].flatMap((name) => [
    ...[name, `*.${name}`, `*.*.${name}`],
  ]),
  ...['["x-api-token"]', '*["x-api-token"]', '*.*["x-api-token"]'],
];

/** A logger to standard output, or to `to` as JSON. `auto` is pretty on a terminal and JSON elsewhere. */
export function openLog(level: string, format: 'json' | 'pretty' | 'auto', to?: pino.DestinationStream): Log {
  const isPretty = format === 'pretty' || (format === 'auto' && process.stdout.isTTY);
  const options: pino.LoggerOptions = {
    level,
    redact: { paths: REDACTED, censor: '[redacted]' },
    // The journal knows host and process.
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    ...(isPretty ? { transport: { target: 'pino-pretty', options: { ignore: 'pid,hostname' } } } : {}),
  };
  return to === undefined ? pino(options) : pino(options, to);
}
