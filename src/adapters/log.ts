/** pino as the verbs see it: JSON lines for the journal, readable lines on a terminal. */
import pino from 'pino';
import type { Log } from '../provision/ports/host.ts';

/**
 * Fields that must never reach a log are replaced wherever they stand, as a second line behind the rule that
 * nobody logs them. Not by pino's `redact`: with wildcards for each depth it takes ten times as long as the line.
 */
const SECRET_NAME =
  /^(x-amz-security-token|(set-)?cookie|authorization|.*(secret|password|passphrase|token|(access|private|secret)_?key))$/i;
/** Nothing we log is deeper; what is, is not shown. */
const DEPTH_MAX = 8;
const REDACTED = '[redacted]';

/** The same, with nothing secret in it; what knows itself how it is logged is left to that. */
function withoutSecrets(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > DEPTH_MAX) return '[too deep]';
  if (value instanceof Error) return withoutSecrets(pino.stdSerializers.err(value), depth + 1);
  if (Array.isArray(value)) return value.map((one) => withoutSecrets(one, depth + 1));
  if ('toJSON' in value) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]: [string, unknown]) => [
      name,
      SECRET_NAME.test(name) ? REDACTED : withoutSecrets(one, depth + 1),
    ]),
  );
}

/** A logger to standard output. `auto` is pretty on a terminal and JSON elsewhere. */
export function openLog(
  level: string,
  format: 'json' | 'pretty' | 'auto',
  to: pino.DestinationStream = pino.destination(1),
): Log {
  const isPretty = format === 'pretty' || (format === 'auto' && process.stdout.isTTY);
  const options: pino.LoggerOptions = {
    level,
    formatters: { log: (fields) => withoutSecrets(fields) as Record<string, unknown> },
    // The journal knows host and process.
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  if (!isPretty) return pino(options, to);
  const transport = { target: 'pino-pretty', options: { ignore: 'pid,hostname' } };
  return pino({ ...options, transport });
}
