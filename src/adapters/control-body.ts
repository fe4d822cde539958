/** What a request to the control socket carries, or why it is refused. */
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { Problem } from '../core/errors.ts';
import { ProvisionError } from '../core/errors.ts';
import { boundedText } from '../core/bounded-text.ts';

const BODY_BYTES_MAX = 65_536;

export async function readBody<T>(
  request: IncomingMessage,
  schema: z.ZodType<T>,
  bytesMax = BODY_BYTES_MAX,
): Promise<T> {
  const text = await boundedText(request, bytesMax);
  if (text === undefined) throw usage(`The request is longer than ${bytesMax} bytes.`);
  return checked(schema, parseJson(text));
}

/** What stands behind the question mark of the URL. */
export function readQuery<T>({ url = '' }: IncomingMessage, schema: z.ZodType<T>): T {
  // The host is not looked at.
  const { searchParams } = new URL(url, 'http://control');
  return checked(schema, Object.fromEntries(searchParams));
}

/** USAGE with all that is wrong, unless it is as the schema says. */
function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const wrong = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'the request'}: ${message}`,
  );
  throw usage(`The request is not valid: ${wrong.join('; ')}.`);
}

function parseJson(body: string): unknown {
  try {
    return body === '' ? {} : JSON.parse(body);
  } catch {
    throw usage('The request is not JSON.');
  }
}

export function usage(message: string): ProvisionError {
  const problem: Problem = { code: 'USAGE', message, hint: 'Use the lvp of the same version.' };
  return new ProvisionError(problem);
}
