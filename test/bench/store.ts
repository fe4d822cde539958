/** A MinIO on this machine, plain or with TLS, holding the images. */
import { spawn } from 'node:child_process';
import { globSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'minio';
import type { BenchImage } from './images.ts';
import type { Cleanup } from './shell.ts';
import { run } from './shell.ts';

const PROJECT = join(import.meta.dirname, '../..');
/** Readable by anybody: curl and nbdkit sign nothing. */
const POLICY = {
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Principal: { AWS: ['*'] },
      Action: ['s3:GetObject'],
      Resource: ['arn:aws:s3:::images/*'],
    },
  ],
};

export const KEYS = { MINIO_ROOT_USER: 'bench-access', MINIO_ROOT_PASSWORD: 'bench-secret-key' };

export interface Store {
  readonly port: number;
  /** Of the certificate; empty without TLS. */
  readonly caPath: string;
}

export async function startStore(
  folder: string,
  port: number,
  images: readonly BenchImage[],
  isSecure: boolean,
  cleanup: Cleanup,
): Promise<Store> {
  const certificates = join(folder, 'certificates');
  mkdirSync(certificates, { recursive: true });
  if (isSecure) makeCertificate(certificates);
  const log = openSync(join(folder, 'minio.log'), 'a');
  const server = spawn(program(), ['server', '--quiet', '--certs-dir', certificates, join(folder, 'store')], {
    env: { ...process.env, ...KEYS, MINIO_ADDRESS: `:${port}`, MINIO_BROWSER: 'off' },
    stdio: ['ignore', log, log],
  });
  cleanup.add(async () => {
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill();
    await ended;
  });
  const client = new Client({
    ...{ endPoint: '127.0.0.1', port, useSSL: isSecure, region: 'us-east-1' },
    ...{ accessKey: KEYS.MINIO_ROOT_USER, secretKey: KEYS.MINIO_ROOT_PASSWORD },
  });
  // Only this program's own uploads go unchecked; what is measured checks the certificate.
  if (isSecure) client.setRequestOptions({ rejectUnauthorized: false });
  await ready(client);
  for (const { key, path, sizeBytes } of images) {
    const there = await client.statObject('images', key).catch(() => undefined);
    if (there?.size !== sizeBytes) await client.fPutObject('images', key, path);
  }
  return { port, caPath: isSecure ? join(certificates, 'public.crt') : '' };
}

async function ready(client: Client): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      if (!(await client.bucketExists('images'))) await client.makeBucket('images');
      await client.setBucketPolicy('images', JSON.stringify(POLICY));
      return;
    } catch (error) {
      if (tries === 100) throw error;
      await pause(200);
    }
  }
}

function program(): string {
  const find = () => globSync('.host/minio-*', { cwd: PROJECT })[0];
  const found = find() ?? (run(join(PROJECT, 'test/host/host'), ['build']), find());
  if (found === undefined) throw new Error('test/host/host build made no MinIO');
  return join(PROJECT, found);
}

function makeCertificate(folder: string): void {
  run('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=bench'],
    ...['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
    ...['-keyout', join(folder, 'private.key'), '-out', join(folder, 'public.crt')],
  ]);
}
