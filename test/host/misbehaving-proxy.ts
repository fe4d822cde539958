/**
 * Stands before a host's MinIO and misbehaves as told; run inside the test host. It speaks TLS with MinIO's
 * own certificate and hands requests on unchanged, so that their signatures stay right.
 *
 *   node misbehaving-proxy.ts CERTS-DIR STATS-FILE
 *
 * Port 9443: the store. Port 9444 (plain, loopback): PUT /mode with a Mode, GET /stats. What it has sent of
 * each object is also kept in STATS-FILE, which may lie outside of the host and survive its power cut.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as pause } from 'node:timers/promises';

export interface Mode {
  readonly kind: 'well' | 'stall' | 'drip' | 'wrong-length' | 'bit-flip' | 'storm' | 'redirect';
  /** Answers with bytes of an object that it happens to; then all is well again. */
  times: number;
  /** Of all answers together. */
  readonly bytesPerSecond?: number;
}

export interface Stats {
  /** Bytes of bodies sent, by object. */
  bytes: Record<string, number>;
  /** Misbehaviours. */
  happened: number;
  /** Requests that followed a redirect. */
  strayed: number;
}

const [certs = '', statsFile = ''] = process.argv.slice(2);
const ca = readFileSync(`${certs}/../ca.pem`);
const agent = new https.Agent({ keepAlive: true, ca });
let mode: Mode = { kind: 'well', times: 0 };
let sentInWindow = 0;
const stats = loadStats();

function loadStats(): Stats {
  try {
    return JSON.parse(readFileSync(statsFile, 'utf8')) as Stats;
  } catch {
    return { bytes: {}, happened: 0, strayed: 0 };
  }
}

/** What happens to this answer. Metadata are left alone: it is the long reads that break in life. */
function fate(request: http.IncomingMessage): Mode['kind'] {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  if (Number(last) - Number(first) < 1 << 20 || first === undefined || mode.times === 0) return 'well';
  mode.times -= 1;
  stats.happened += 1;
  return mode.kind;
}

function forward(request: http.IncomingMessage, response: http.ServerResponse): void {
  const kind = fate(request);
  if (kind === 'storm') {
    response.writeHead(503, { 'retry-after': '1', 'content-type': 'application/xml' });
    response.end('<Error><Code>SlowDown</Code></Error>');
    return;
  }
  if (kind === 'redirect') {
    response.writeHead(307, { location: 'http://127.0.0.1:9444/elsewhere' }).end();
    return;
  }
  const { method, url, headers } = request;
  const asked = https.request(
    { host: '127.0.0.1', port: 9000, servername: 'minio.test', agent, method, path: url, headers },
    (answer) => {
      void relay(kind, url ?? '', answer, response).catch(() => response.destroy());
    },
  );
  asked.on('error', () => response.destroy());
  response.on('close', () => asked.destroy());
  request.pipe(asked);
}

async function relay(
  kind: Mode['kind'],
  url: string,
  answer: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const headers = { ...answer.headers };
  const length = Number(headers['content-length'] ?? 0);
  if (kind === 'wrong-length') headers['content-length'] = String(length - 1000);
  response.writeHead(answer.statusCode ?? 502, headers);
  const key = url.split('?')[0] ?? '';
  let sent = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    // Not at the range's begin, where the metadata are that are compared apart.
    if (kind === 'bit-flip' && sent < length / 2 && sent + chunk.length >= length / 2) flipBit(chunk);
    if (kind === 'drip' && sent > length / 2) {
      await drip(response, chunk);
      return;
    }
    await brake(chunk.length);
    const part = kind === 'wrong-length' ? chunk.subarray(0, Math.max(0, length - 1000 - sent)) : chunk;
    sent += part.length;
    stats.bytes[key] = (stats.bytes[key] ?? 0) + part.length;
    if (!response.write(part))
      await new Promise((drained) => response.once('drain', drained).once('close', drained));
    if (response.destroyed) return;
    if (kind === 'stall' && sent > length / 2) return;
  }
  response.end();
}

/** A few bytes a second, until nobody wants them any more. */
async function drip(response: http.ServerResponse, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length && !response.destroyed; at++) {
    response.write(bytes.subarray(at, at + 1));
    await pause(200);
  }
}

function flipBit(bytes: Buffer): void {
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
}

async function brake(lengthBytes: number): Promise<void> {
  const { bytesPerSecond } = mode;
  sentInWindow += lengthBytes;
  while (bytesPerSecond !== undefined && sentInWindow > bytesPerSecond / 10) await pause(20);
}

setInterval(() => {
  sentInWindow = Math.max(0, sentInWindow - (mode.bytesPerSecond ?? Infinity) / 10);
  writeFileSync(statsFile, JSON.stringify(stats));
}, 100);

const tls = { cert: readFileSync(`${certs}/public.crt`), key: readFileSync(`${certs}/private.key`) };
https.createServer(tls, forward).listen(9443);

http
  .createServer((request, response) => {
    if (request.url === '/stats') {
      response.end(JSON.stringify(stats));
      return;
    }
    if (request.url === '/elsewhere') stats.strayed += 1;
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (request.url === '/mode') mode = JSON.parse(body) as Mode;
      response.end();
    });
  })
  .listen(9444, '127.0.0.1');
