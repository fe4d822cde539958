/** A MinIO on this machine, plain or with TLS, holding images. */
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
  readonly url: string;
  readonly port: number;
  readonly pid: number;
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
  const drive = join(folder, 'store');
  mkdirSync(certificates, { recursive: true });
  if (isSecure) makeCertificate(certificates);
  const log = openSync(join(folder, 'minio.log'), 'a');
  // A group of its own: what interrupts this program from a terminal must not end the store before it.
  const server = spawn(program(), ['server', '--quiet', '--certs-dir', certificates, drive], {
    env: { ...process.env, ...KEYS, MINIO_ADDRESS: `:${port}`, MINIO_BROWSER: 'off' },
    stdio: ['ignore', log, log],
    detached: true,
  });
  const ended = new Promise((resolve) => server.once('exit', resolve));
  cleanup.add(async () => {
    server.kill();
    await ended;
  });
  const client = new Client({
    ...{ endPoint: '127.0.0.1', port, useSSL: isSecure, region: 'us-east-1' },
    ...{ accessKey: KEYS.MINIO_ROOT_USER, secretKey: KEYS.MINIO_ROOT_PASSWORD },
  });
  // Only this program's own uploads go unchecked; what is measured checks the certificate.
  if (isSecure) client.setRequestOptions({ rejectUnauthorized: false });
  const gone = ended.then(() => {
    throw new Error(`MinIO ended: see if port ${port} is in use (--port)`);
  });
  await Promise.race([gone, ready(client)]);
  for (const image of images) await Promise.race([gone, upload(client, drive, image)]);
  return {
    ...{ port, pid: server.pid ?? 0, url: `${isSecure ? 'https' : 'http'}://127.0.0.1:${port}` },
    caPath: isSecure ? join(certificates, 'public.crt') : '',
  };
}

async function upload(client: Client, drive: string, { key, path, format }: BenchImage): Promise<void> {
  const dug = new Set<string>();
  const digging =
    format === 'raw'
      ? setInterval(() => {
          digHoles(drive, dug);
        }, 500)
      : undefined;
  try {
    await client.fPutObject('images', key, path);
  } finally {
    clearInterval(digging);
  }
  if (format === 'raw') digHoles(drive, dug);
}

/**
 * MinIO writes the zeros of a raw image out, which is 10 GiB of memory for nothing; as holes they take none.
 * Only files where MinIO puts them by renaming: they are complete.
 */
function digHoles(drive: string, dug: Set<string>): void {
  for (const file of globSync(['.minio.sys/multipart/*/*/*/part.*', 'images/*/*/part.*'], { cwd: drive })) {
    if (dug.has(file) || !/\.\d+$/.test(file)) continue;
    dug.add(file);
    try {
      run('fallocate', ['--dig-holes', join(drive, file)]);
    } catch {
      // Renamed meanwhile: it is met again under its last name.
    }
  }
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

/** Where test/host/host builds what it needs. */
function program(): string {
  const built = process.env['LVP_HOST_DIR'] ?? join(PROJECT, '.host');
  const find = () => globSync('minio-*', { cwd: built })[0];
  const found = find() ?? (run(join(PROJECT, 'test/host/host'), ['build']), find());
  if (found === undefined) throw new Error('test/host/host build made no MinIO');
  return join(built, found);
}

function makeCertificate(folder: string): void {
  run('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=bench'],
    ...['-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
    ...['-keyout', join(folder, 'private.key'), '-out', join(folder, 'public.crt')],
  ]);
}
