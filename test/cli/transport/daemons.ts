/** The same fakes behind both ways to a daemon: the control socket, and the HTTP API with TLS. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import type { ControlSocket } from '../../../src/adapters/control-socket.ts';
import { serveControl } from '../../../src/adapters/control-socket.ts';
import { readCredentials } from '../../../src/cli/transport/credentials.ts';
import { ControlTransport } from '../../../src/cli/transport/control-transport.ts';
import { HttpsTransport } from '../../../src/cli/transport/https-transport.ts';
import type { Transport } from '../../../src/cli/transport/transport.ts';
import { TestServer } from '../../adapters/http-api/server.ts';
import { EVENTS, FakeGarbageVerbs, FakeImageVerbs, FakeJobVerbs, FakeVerbs, silent } from '../fake-verbs.ts';

const METRICS = { contentType: 'text/plain; version=0.0.4', render: () => Promise.resolve('up 1\n') };

/** Both daemons, from the first test to the last; what they were asked is in the fakes, which are new for each. */
export class Daemons {
  readonly folder = mkdtempSync(join(tmpdir(), 'lvp-daemons-'));
  readonly server = new TestServer();
  readonly socket = join(this.folder, 'control.sock');
  readonly tokenFile = join(this.folder, 'token');
  verbs = new FakeVerbs();
  images = new FakeImageVerbs();
  jobs = new FakeJobVerbs();
  #control: ControlSocket | undefined;

  async open(): Promise<void> {
    await this.server.writeTokens('all', 'reader');
    writeFileSync(this.tokenFile, `${this.server.tokens.get('all') ?? ''}\n`, { mode: 0o600 });
    const parts = {
      verbs: forwarding(() => this.verbs),
      images: forwarding(() => this.images),
      jobs: forwarding(() => this.jobs),
    };
    const audit = { audit: () => Promise.resolve({ events: EVENTS, more: false }) };
    this.#control = await serveControl({
      ...{ ...parts, path: this.socket, garbage: new FakeGarbageVerbs() },
      ...{ audit, metrics: METRICS, log: silent },
    });
    await this.server.open(
      {},
      { domains: parts.verbs, images: parts.images, jobs: parts.jobs, events: audit, metrics: METRICS },
    );
  }

  renew(): void {
    this.verbs = new FakeVerbs();
    this.images = new FakeImageVerbs();
    this.jobs = new FakeJobVerbs();
  }

  async close(): Promise<void> {
    await this.#control?.close();
    await this.server.close();
    this.server.folder.remove();
    rmSync(this.folder, { recursive: true });
  }

  get url(): URL {
    return this.server.api.url;
  }

  control(): Transport {
    return new ControlTransport(this.socket);
  }

  https(): Transport {
    const files = { serverCa: this.server.own.certFile, tokenFile: this.tokenFile };
    return new HttpsTransport(this.url, readCredentials(files));
  }
}

export function useDaemons(): Daemons {
  const daemons = new Daemons();
  beforeAll(() => daemons.open());
  beforeEach(() => {
    daemons.renew();
  });
  afterAll(() => daemons.close());
  return daemons;
}

/** Whatever the object is at the moment of the call. */
function forwarding<T extends object>(now: () => T): T {
  return new Proxy({} as T, {
    get: (_, name) => {
      const value: unknown = Reflect.get(now(), name);
      return typeof value === 'function' ? (value.bind(now()) as unknown) : value;
    },
  });
}
