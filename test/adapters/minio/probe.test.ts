/**
 * Goal: what the doctor is told of a store is true, and asking changes nothing there. Method: real S3 servers where the
 * test host's build has made them, and a TLS server with a certificate that is trusted or not.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type http from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { probeStore } from '../../../src/adapters/minio/probe.ts';
import type { S3Server } from '../s3-servers.ts';
import { KEYS, SERVERS, startServer } from '../s3-servers.ts';

describe.each(SERVERS.filter(({ program }) => program !== undefined))('a real $name', (kind) => {
  let server: S3Server;

  beforeAll(async () => {
    server = await startServer(kind);
  }, 60_000);
  afterAll(() => server.close());

  const access = () => ({ endpoint: new URL(server.endpoint), ...KEYS, ca: undefined });

  it('tells its time, its buckets, and whether they can be written', async () => {
    const { answer, buckets, writableBuckets, certificate } = await probeStore(access());
    expect(certificate).toBeUndefined();
    expect(answer).toMatchObject({ status: 200, code: undefined });
    expect(Math.abs(answer?.clockAheadMs ?? Infinity)).toBeLessThan(5_000);
    expect(buckets).toContain('images');
    // Only MinIO has a word for it.
    if (kind.name.toLowerCase().includes('minio')) expect(writableBuckets).toContain('images');
    else expect(writableBuckets).toBeUndefined();
  });

  it('refuses a wrong key in a way that is understood', async () => {
    const { answer, buckets } = await probeStore({ ...access(), secretKey: 'x'.repeat(40) });
    expect(answer).toMatchObject({ status: 403, code: 'SignatureDoesNotMatch' });
    expect(buckets).toBeUndefined();
  });
});

describe('over TLS', () => {
  let folder: string;
  let ca: string;
  let endpoint: URL;
  let close: () => void;
  const asked: string[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'probe-'));
    const [keyFile, certFile] = [join(folder, 'key'), join(folder, 'cert')];
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=store'],
        ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', certFile],
      ],
      { stdio: 'ignore' },
    );
    ca = readFileSync(certFile, 'utf8');
    const answer = (request: http.IncomingMessage, response: http.ServerResponse) => {
      asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
      response.writeHead(403);
      response.end('<Error><Code>AccessDenied</Code></Error>');
    };
    const server = createServer({ key: readFileSync(keyFile), cert: ca }, answer).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    endpoint = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}`);
    close = () => server.close();
  });
  afterAll(() => {
    close();
    rmSync(folder, { recursive: true });
  });

  it('verifies the certificate, says when it runs out, and only asks', async () => {
    const { certificate, answer, buckets } = await probeStore({ endpoint, ...KEYS, ca });
    expect(certificate).toMatchObject({ mistake: undefined, protocol: 'TLSv1.3' });
    expect((certificate?.expiresMs ?? 0) - Date.now()).toBeGreaterThan(86_400_000);
    expect(answer).toMatchObject({ status: 403, code: 'AccessDenied' });
    expect(buckets).toBeUndefined();
    expect(asked).toEqual(['GET /', 'GET /minio/admin/v3/accountinfo']);
  });

  it('asks nothing of somebody who cannot prove to be the store, and still says when the certificate ends', async () => {
    asked.length = 0;
    const { certificate, answer } = await probeStore({ endpoint, ...KEYS, ca: undefined });
    expect(certificate?.mistake).toMatch(/SELF_SIGNED|self.signed/);
    expect(certificate?.expiresMs).toBeGreaterThan(Date.now());
    expect(answer).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it.each(['127.0.0.1', 'localhost'])('goes to no address outside minio.addresses, as %s', async (host) => {
    asked.length = 0;
    const outside = new URL(`https://${host}:${endpoint.port}`);
    const addresses = [{ address: '10.1.2.0', prefix: 24, family: 'ipv4' }] as const;
    await expect(probeStore({ endpoint: outside, ...KEYS, ca, addresses })).rejects.toThrow(
      /not within minio\.addresses/,
    );
    expect(asked).toEqual([]);
  });

  it('does not wait for who does not answer', async () => {
    await expect(probeStore({ endpoint: new URL('https://127.0.0.1:1'), ...KEYS, ca })).rejects.toThrow(
      /ECONNREFUSED/,
    );
  });
});
