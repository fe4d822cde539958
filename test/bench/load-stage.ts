/** What a load run works with: a store, two images, a host that serves and fills, and clients beside it. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashToken, makeToken, tokenLine } from '../../src/adapters/http-api/token-file.ts';
import type { Job, JobRequest } from '../../src/core/protocol/job-protocol.ts';
import type { HttpSettings } from '../../src/core/settings/http-settings.ts';
import { CertificateFolder } from '../adapters/http-api/certificates.ts';
import { attachDevice } from './devices.ts';
import type { BenchImage } from './images.ts';
import { ImageSources } from './images.ts';
import { makeLink } from './link.ts';
import type { Clients, Seen } from './load-clients.ts';
import type { FromHost, HostSetUp, Ready } from './load-host.ts';
import type { Cleanup } from './shell.ts';
import { startStore } from './store.ts';

/** Of one identity; the daemon's own default. */
export const REQUESTS_PER_SECOND_MAX = 2_000;
/** Each has an eighth of the clients: so many unknown tokens are checked before failures are held back. */
export const TOKENS = 8;
export const ENDED_JOBS = 10_000;

export interface StageOptions {
  /** For the store, the loop devices and the host's state; made, and removed. */
  readonly folder: string;
  /** For the images. */
  readonly disk: string;
  readonly port: number;
}

export class Stage {
  readonly images: readonly BenchImage[];
  readonly tokens: readonly string[];
  readonly host: LoadHost;
  readonly shape: (isShaped: boolean) => void;
  readonly #prefix: string;
  readonly #cleanup: Cleanup;

  private constructor(
    parts: Pick<Stage, 'images' | 'tokens' | 'host' | 'shape'> & { prefix: string; cleanup: Cleanup },
  ) {
    this.images = parts.images;
    this.tokens = parts.tokens;
    this.host = parts.host;
    this.shape = parts.shape;
    this.#prefix = parts.prefix;
    this.#cleanup = parts.cleanup;
  }

  static async set({ folder, disk, port }: StageOptions, cleanup: Cleanup): Promise<Stage> {
    for (const made of [folder, disk]) makeFolder(made, cleanup);
    const image = await new ImageSources(disk).image('qcow2');
    // Two objects, so that the fills do not share a download.
    const images = [image, { ...image, key: `other-${image.key}` }];
    const store = await startStore(folder, port, images, false, cleanup);
    const devices = ['volume0', 'volume1'].map((name) =>
      attachDevice(folder, name, image.virtualBytes, cleanup),
    );
    const link = makeLink(cleanup);
    const state = join(folder, 'state');
    makeFolder(state, cleanup);
    const { http, tokens } = await httpOf(state, cleanup);
    const host = await LoadHost.start(
      link.prefix,
      { folder: state, endpoint: `http://${link.host}:${store.port}`, devices, http, endedJobs: ENDED_JOBS },
      cleanup,
    );
    return new Stage({
      images,
      tokens,
      host,
      shape: (isShaped) => {
        link.shape(isShaped);
      },
      prefix: link.prefix,
      cleanup,
    });
  }

  /** Begins at once; `stop()` ends them early, and `seen` is there afterwards. */
  clients(about: Omit<Clients, 'url' | 'tokens'> & { readonly tokens?: readonly string[] }) {
    const child = startChild(this.#prefix, 'load-clients.ts', this.#cleanup);
    const seen = once(child, 'message').then(([message]) => message as Seen);
    child.send({ url: this.host.ready.url, tokens: this.tokens, ...about } satisfies Clients);
    return {
      seen,
      stop: () => {
        child.send('stop');
      },
    };
  }
}

/** The process that serves and fills. */
export class LoadHost {
  readonly pid: number;
  readonly ready: Ready;
  /** The longest time for which its thread stood still since this was set to 0. */
  stillMs = 0;
  readonly #child: ChildProcess;
  readonly #begun: ((id: string) => void)[] = [];
  readonly #ended = new Map<string, (job: Job) => void>();
  #count = 0;

  private constructor(child: ChildProcess, ready: Ready) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.ready = ready;
    child.on('message', (message: FromHost) => {
      if ('begun' in message) this.#begun.shift()?.(message.begun);
      else if ('ended' in message) this.#ended.get(message.ended.request.volume)?.(message.ended);
      else if ('stillMs' in message) this.stillMs = Math.max(this.stillMs, message.stillMs);
    });
  }

  static async start(prefix: string, setUp: HostSetUp, cleanup: Cleanup): Promise<LoadHost> {
    const child = startChild(prefix, 'load-host.ts', cleanup);
    child.send(setUp);
    const [message] = (await once(child, 'message')) as [FromHost];
    if (!('ready' in message)) throw new Error('the host has begun with something else');
    return new LoadHost(child, message.ready);
  }

  /** Fills a volume with the image; resolves with its job's id when it has begun, `ended` with the seconds it took. */
  async fill(image: BenchImage): Promise<{ readonly id: string; readonly ended: Promise<number> }> {
    this.#count += 1;
    const volume = `made-${this.#count}`;
    const request: JobRequest = {
      ...{ volume, format: image.format, sha256: image.sha256 },
      image: `images/${image.key}`,
    };
    const begun = new Promise<string>((resolve) => this.#begun.push(resolve));
    const ended = new Promise<Job>((resolve) => this.#ended.set(volume, resolve));
    this.#child.send(request);
    return { id: await begun, ended: ended.then(secondsOf) };
  }
}

function secondsOf({ state, problem, createdAt, updatedAt }: Job): number {
  if (state !== 'completed') throw new Error(`a fill has ended ${state}: ${problem?.message ?? ''}`);
  return (Date.parse(updatedAt) - Date.parse(createdAt)) / 1_000;
}

/** As the daemon's unit sets Node up. */
function startChild(prefix: string, file: string, cleanup: Cleanup): ChildProcess {
  const [program, ...words] = prefix.split(' ');
  const child = spawn(program ?? '', [...words, process.execPath, join(import.meta.dirname, file)], {
    env: { ...process.env, NODE_OPTIONS: '--max-semi-space-size=1', MALLOC_ARENA_MAX: '2' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const closed = once(child, 'close');
  child.once('exit', (code) => {
    if (code !== 0 && code !== null) process.stderr.write(`${file} has ended with ${code}\n`);
  });
  cleanup.add(async () => {
    child.kill();
    await closed;
  });
  return child;
}

async function httpOf(folder: string, cleanup: Cleanup): Promise<{ http: HttpSettings; tokens: string[] }> {
  const certificates = new CertificateFolder();
  cleanup.add(() => {
    certificates.remove();
  });
  const { certFile, keyFile } = certificates.make({ subject: '/CN=bench' });
  const names = Array.from({ length: TOKENS }, (_, index) => `client${index}`);
  const tokens = names.map(makeToken);
  const lines = await Promise.all(
    tokens.map(async (token, index) => tokenLine(names[index] ?? '', await hashToken(token))),
  );
  const tokensFile = join(folder, 'tokens');
  writeFileSync(tokensFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  const http: HttpSettings = {
    ...{ host: '127.0.0.1', port: 8_443, tls: { certFile, keyFile }, tokensFile },
    identities: names.map((token) => ({ token, verbs: ['read'], volumePrefixes: [] })),
    ...{ imageHosts: [], metricsOpenTo: 'loopback' },
    // The defaults of the configuration.
    ...{ requestsPerSecondMax: REQUESTS_PER_SECOND_MAX, failuresPerMinuteMax: 30, connectionsMax: 256 },
  };
  return { http, tokens };
}

function makeFolder(folder: string, cleanup: Cleanup): void {
  mkdirSync(folder);
  cleanup.add(() => {
    rmSync(folder, { recursive: true, force: true });
  });
}
