/** An S3 server on loopback that checks no signature and misbehaves as it is told. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export const BODY = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));
export const ETAG = '"0123456789abcdef"';

export type Misbehave = (
  request: http.IncomingMessage,
  answer: http.ServerResponse,
  range: { readonly first: number; readonly last: number } | undefined,
) => boolean;

export interface FakeS3 {
  readonly endpoint: string;
  readonly requests: http.IncomingMessage[];
  /** Answers true if it has dealt with the request. */
  misbehave: Misbehave;
  close(): Promise<void>;
}

export async function startFakeS3(): Promise<FakeS3> {
  const requests: http.IncomingMessage[] = [];
  const server = http.createServer((request, answer) => {
    requests.push(request);
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const range = match === null ? undefined : { first: Number(match[1]), last: Number(match[2]) };
    if (fake.misbehave(request, answer, range)) return;
    answerWell(request, answer, range);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  const fake: FakeS3 = {
    endpoint: `http://127.0.0.1:${port}`,
    requests,
    misbehave: () => false,
    close: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
  return fake;
}

export function answerWell(
  request: http.IncomingMessage,
  answer: http.ServerResponse,
  range: { readonly first: number; readonly last: number } | undefined,
  changes: http.OutgoingHttpHeaders = {},
): void {
  const { first, last } = range ?? { first: 0, last: BODY.length - 1 };
  answer.writeHead(range === undefined ? 200 : 206, {
    etag: ETAG,
    'content-length': last - first + 1,
    ...(range === undefined ? {} : { 'content-range': `bytes ${first}-${last}/${BODY.length}` }),
    ...changes,
  });
  answer.end(request.method === 'HEAD' ? undefined : BODY.subarray(first, last + 1));
}

export function answerError(answer: http.ServerResponse, status: number, code: string): void {
  answer.writeHead(status, { 'content-type': 'application/xml' });
  answer.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
}
