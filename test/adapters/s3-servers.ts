/** Real S3 servers on loopback, where the test host's build has made them: two by different people. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'minio';

export const KEYS = { accessKey: 'test-access', secretKey: 'test-secret-key' };

const state = process.env['LVP_HOST_DIR'] ?? resolve(import.meta.dirname, '../../.host');

export interface S3Server {
  readonly endpoint: string;
  readonly client: Client;
  close(): Promise<void>;
}

interface Kind {
  readonly name: string;
  readonly program: string | undefined;
  /** versitygw answers 404 to an access key it does not know, and HEAD has no body that would say why. */
  readonly unknownKeyIs: 'STORE_ACCESS_DENIED' | 'IMAGE_NOT_FOUND';
  readonly command: (folder: string, port: number) => { args: string[]; env: Record<string, string> };
}

export const SERVERS: readonly Kind[] = [
  {
    name: 'MinIO',
    program: globSync(`${state}/minio-*`)[0],
    unknownKeyIs: 'STORE_ACCESS_DENIED',
    command: (folder, port) => ({
      args: ['server', '--quiet', `${folder}/data`],
      env: {
        MINIO_ADDRESS: `127.0.0.1:${port}`,
        MINIO_BROWSER: 'off',
        MINIO_ROOT_USER: KEYS.accessKey,
        MINIO_ROOT_PASSWORD: KEYS.secretKey,
      },
    }),
  },
  {
    name: 'versitygw',
    program: globSync(`${state}/versitygw-*`)[0],
    unknownKeyIs: 'IMAGE_NOT_FOUND',
    command: (folder, port) => ({
      args: [
        ...['--port', `127.0.0.1:${port}`, '--quiet'],
        ...[
          'posix',
          '--versioning-dir',
          `${folder}/versions`,
          '--sidecar',
          `${folder}/sidecar`,
          `${folder}/data`,
        ],
      ],
      env: { ROOT_ACCESS_KEY: KEYS.accessKey, ROOT_SECRET_KEY: KEYS.secretKey },
    }),
  },
];

/** Resolves when it answers; there is a bucket `images`. */
export async function startServer({ program = '', command }: Kind): Promise<S3Server> {
  const folder = mkdtempSync(join(tmpdir(), 's3-'));
  for (const name of ['data', 'versions', 'sidecar']) mkdirSync(join(folder, name));
  const port = await freePort();
  const { args, env } = command(folder, port);
  const server: ChildProcess = spawn(program, args, {
    env: { PATH: process.env['PATH'], HOME: folder, ...env },
    stdio: 'ignore',
  });
  const client = new Client({ endPoint: '127.0.0.1', port, useSSL: false, region: 'us-east-1', ...KEYS });
  const close = async () => {
    const ended = new Promise((done) => server.once('exit', done));
    server.kill();
    await ended;
    rmSync(folder, { recursive: true });
  };
  for (let tries = 0; tries < 200; tries++) {
    const made = await client.makeBucket('images').then(
      () => true,
      () => false,
    );
    if (made) return { endpoint: `http://127.0.0.1:${port}`, client, close };
    await pause(200);
  }
  await close();
  throw new Error(`${program} does not answer`);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
