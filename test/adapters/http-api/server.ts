/** The HTTP API on a real socket, over verbs that remember what they were asked. */
import { writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request as plainRequest } from 'node:http';
import type { Agent } from 'node:https';
import { request as tlsRequest } from 'node:https';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { HttpApi } from '../../../src/adapters/http-api.ts';
import { openHttpApi } from '../../../src/adapters/http-api.ts';
import type { HttpApiOptions } from '../../../src/adapters/http-api/routes.ts';
import { hashToken, makeToken, tokenLine } from '../../../src/adapters/http-api/token-file.ts';
import type { AuditEvent } from '../../../src/core/protocol/audit-event.ts';
import type { HttpSettings } from '../../../src/core/settings/http-settings.ts';
import { HTTP_RIGHTS } from '../../../src/core/settings/http-settings.ts';
import type { Clock } from '../../../src/provision/ports/host.ts';
import { FakeImageVerbs, FakeVerbs, silent } from '../../cli/fake-verbs.ts';
import type { Pair } from './certificates.ts';
import { CertificateFolder } from './certificates.ts';
import { FakeJobs } from './fake-jobs.ts';
import { FAKE_SPACE, FakeAudit } from './fake-seeing.ts';

export const clock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve, reject) => {
      // A test's second is short.
      const timer = setTimeout(resolve, durationMs / 50);
      signal?.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(new Error('aborted'));
      });
    }),
};

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Of an answer in JSON. */
  readonly body: unknown;
}

export interface Call {
  readonly token?: string | undefined;
  readonly client?: Pair | undefined;
  readonly headers?: Record<string, string>;
  /** An object is sent as JSON. */
  readonly body?: unknown;
  readonly agent?: Agent;
}

export class TestServer {
  readonly folder = new CertificateFolder();
  readonly authority = this.folder.make({ subject: '/CN=clients', isAuthority: true });
  readonly own = this.folder.make({ subject: '/CN=lvp' });
  readonly tokensFile = join(this.folder.path, 'tokens');
  readonly tokens = new Map<string, string>();
  readonly jobs = new FakeJobs();
  readonly domains = new FakeVerbs();
  readonly events = new FakeAudit();
  readonly images = new FakeImageVerbs();
  readonly audited: Omit<AuditEvent, 'at'>[] = [];
  #api: HttpApi | undefined;

  get settings(): HttpSettings {
    const { certFile, keyFile } = this.own;
    return {
      ...{ host: '127.0.0.1', port: 0, tokensFile: this.tokensFile },
      tls: { certFile, keyFile, clientCaFile: this.authority.certFile },
      identities: [
        { token: 'all', verbs: HTTP_RIGHTS, volumePrefixes: [] },
        { token: 'reader', verbs: ['read'], volumePrefixes: [] },
        {
          token: 'ci',
          verbs: ['read', 'provision', 'cancel', 'retry', 'reprovision', 'annotate'],
          volumePrefixes: ['ci-'],
        },
        { certificate: 'CN=admin,O=Example', verbs: HTTP_RIGHTS, volumePrefixes: [] },
        { certificate: 'ci', verbs: ['read'], volumePrefixes: [] },
      ],
      ...{ imageHosts: ['minio:9000'], metricsOpenTo: 'nobody' },
      ...{ requestsPerSecondMax: 100_000, failuresPerMinuteMax: 10_000, connectionsMax: 256 },
    };
  }

  /** Writes the tokens of these names, and no others, to the file. */
  async writeTokens(...names: readonly string[]): Promise<void> {
    const lines: string[] = [];
    for (const name of names) {
      const token = this.tokens.get(name) ?? makeToken(name);
      this.tokens.set(name, token);
      lines.push(tokenLine(name, await hashToken(token)));
    }
    writeFileSync(this.tokensFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  }

  async open(changed: Partial<HttpSettings> = {}, options: Partial<HttpApiOptions> = {}): Promise<HttpApi> {
    this.#api = await openHttpApi({
      settings: { ...this.settings, ...changed },
      ...{ endpoint: new URL('https://minio.test:9000'), version: '1.2.3' },
      ...{ jobs: this.jobs, domains: this.domains, images: this.images },
      ...{ events: this.events, space: FAKE_SPACE, hostName: 'host1' },
      audit: { record: (event) => this.audited.push(event) },
      // Files are looked at when a test says so.
      ...{ clock, log: silent, lookMs: 3_600_000, ...options },
    });
    return this.#api;
  }

  get api(): HttpApi {
    if (this.#api === undefined) throw new Error('not open');
    return this.#api;
  }

  async close(): Promise<void> {
    await this.#api?.close();
    this.#api = undefined;
  }

  /** With the token `all` unless it is said otherwise. */
  async call(method: string, path: string, call: Call = {}): Promise<Answer> {
    const { url } = this.api;
    const token =
      'token' in call ? call.token : call.client === undefined ? this.tokens.get('all') : undefined;
    const body =
      call.body === undefined || typeof call.body === 'string' ? call.body : JSON.stringify(call.body);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const send = url.protocol === 'https:' ? tlsRequest : plainRequest;
    const sent = send(
      {
        ...{ host: url.hostname, port: url.port, method, path, rejectUnauthorized: false },
        agent: call.agent ?? (false as const),
        ...(call.client === undefined ? {} : { cert: call.client.cert, key: call.client.key }),
        headers: {
          ...(token === undefined ? {} : { 'x-api-token': token }),
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          ...call.headers,
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (text += chunk));
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status = 0, headers } = response;
          const isJson = /^application\/(problem\+)?json\b/.test(headers['content-type'] ?? '');
          resolve({ status, headers, text, body: isJson ? (JSON.parse(text) as unknown) : undefined });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
    return promise;
  }
}

export const A_TEXT: unknown = expect.any(String);
export const AN_OBJECT: unknown = expect.any(Object);

export function containing(text: string): unknown {
  return expect.stringContaining(text);
}

export function matching(pattern: RegExp): unknown {
  return expect.stringMatching(pattern);
}

/** A request as the Go provisioner's clients send it. */
export const PROVISION = {
  image_url: 'https://minio.test:9000/images/os/debian-13.qcow2',
  volume_name: 'web1-root',
  volume_size_gb: 20,
};
