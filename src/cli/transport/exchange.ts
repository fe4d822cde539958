/** One question and its answer over HTTP, with limits in time and length. */
import type { IncomingMessage, RequestOptions } from 'node:http';
import type { request } from 'node:http';

const ANSWER_BYTES_MAX = 16 * 2 ** 20;

export interface Exchange {
  /** Of node:http or node:https. */
  readonly send: typeof request;
  readonly options: Omit<RequestOptions, 'headers'> & { readonly headers?: Readonly<Record<string, string>> };
  readonly body: object | undefined;
  readonly deadlineMs: number;
  /** Given each line of an answer with status 200, which then may take its time. */
  readonly onLine?: ((line: string) => void) | undefined;
}

export interface Answer {
  readonly status: number;
  /** Without the lines that have been given away. */
  readonly text: string;
}

/** Rejects with what Node says of the connection, or with what `onLine` throws. */
export async function exchange({ send, options, body, deadlineMs, onLine }: Exchange): Promise<Answer> {
  const json = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = send(
      {
        ...options,
        headers: {
          ...options.headers,
          ...(json === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': json.length }),
        },
        ...(onLine === undefined ? { signal: AbortSignal.timeout(deadlineMs) } : {}),
      },
      resolve,
    );
    // An answer that breaks off is told by the answer itself.
    sent.on('error', reject);
    sent.end(json);
  });
  const status = response.statusCode ?? 0;
  const isByLine = onLine !== undefined && status === 200;
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    text += chunk;
    if (isByLine) {
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    }
    if (text.length > ANSWER_BYTES_MAX) throw new Error('the answer is too long');
  }
  if (!isByLine) return { status, text };
  // The last line need not end.
  if (text !== '') onLine(text);
  return { status, text: '' };
}

/** In words, where Node has only a code. */
export function reasonOf(error: unknown, deadlineMs: number): string {
  const code = codeOf(error);
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such socket',
    ECONNREFUSED: 'nobody listens there',
    ECONNRESET: 'the connection was broken off',
    ENOTFOUND: 'there is no host of that name',
    EAI_AGAIN: 'the name of the host cannot be looked up now',
    EHOSTUNREACH: 'there is no way to that host',
    ABORT_ERR: `no answer within ${deadlineMs / 1000} s`,
  };
  return known[code] ?? (error instanceof Error ? error.message : String(error));
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
