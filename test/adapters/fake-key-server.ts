/**
 * Keystone and Barbican as far as keys need them, over TLS, in this process: status, headers and bodies as the real ones
 * give them (Keystone 30, Barbican 23; test/host/encryption.test.ts asks those). And in every way in which a server can
 * fail to be one.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { CertificateFolder } from './http-api/certificates.ts';
import type { Pair } from './http-api/certificates.ts';

const PROJECT = 'b7d1b4a5c6e94fd0a5a2b0f8f2a5c001';

export interface FakeUser {
  readonly id: string;
  readonly name: string;
  readonly password: string;
  readonly credentialId: string;
  readonly credentialSecret: string;
}

export interface FakeSecret {
  readonly id: string;
  readonly name: string | null;
  readonly creatorId: string;
  payload: Buffer | undefined;
  payloadType: string | undefined;
  acl: { users: string[]; 'project-access': boolean } | undefined;
}

/** Answers in the place of the server; false: the server goes on as always. */
export type Misbehaviour = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface Seen {
  readonly line: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

export class FakeKeyServer {
  readonly folder = new CertificateFolder();
  readonly authority = this.folder.make({ subject: '/CN=test authority', isAuthority: true });
  readonly users: FakeUser[] = [];
  readonly secrets = new Map<string, FakeSecret>();
  readonly tokens = new Map<string, string>();
  tokenLifeMs = 3_600_000;
  /** Of Keystone, and of Barbican. */
  readonly seen: { keystone: Seen[]; barbican: Seen[] } = { keystone: [], barbican: [] };
  /** Undefined: in the clear. */
  tls: SecureContextOptions | undefined = {};
  misbehaves: { keystone?: Misbehaviour; barbican?: Misbehaviour } = {};
  readonly #servers: http.Server[] = [];
  readonly #sockets = new Set<Socket>();
  authUrl = new URL('https://127.0.0.1');
  url = new URL('https://127.0.0.1');

  /** `certificate`: of both; else one that is in order. */
  async start(certificate: Pair = this.certificate()): Promise<void> {
    const keystone = await this.#serve(certificate, 'keystone', (seen, response) => {
      this.#keystone(seen, response);
    });
    const barbican = await this.#serve(certificate, 'barbican', (seen, response) => {
      this.#barbican(seen, response);
    });
    const scheme = this.tls === undefined ? 'http' : 'https';
    this.authUrl = new URL(`${scheme}://127.0.0.1:${keystone}/v3`);
    this.url = new URL(`${scheme}://127.0.0.1:${barbican}/v1`);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(
      this.#servers.map(async (server) => {
        const { promise, resolve } = Promise.withResolvers<undefined>();
        server.close(() => {
          resolve(undefined);
        });
        await promise;
      }),
    );
    this.folder.remove();
  }

  certificate(): Pair {
    return this.folder.make({ subject: '/CN=127.0.0.1', by: this.authority });
  }

  addUser(name: string): FakeUser {
    const hex = () => randomBytes(16).toString('hex');
    const user = {
      ...{ id: hex(), name, password: `password of ${name}, ${hex()}` },
      ...{ credentialId: hex(), credentialSecret: `secret-of-${name}-${hex()}` },
    };
    this.users.push(user);
    return user;
  }

  addSecret(creator: FakeUser, payload: Buffer, readers: readonly FakeUser[]): FakeSecret {
    const secret: FakeSecret = {
      ...{ id: randomUUID(), name: 'a key', creatorId: creator.id, payload: Buffer.from(payload) },
      payloadType: 'application/octet-stream',
      acl: { users: readers.map(({ id }) => id), 'project-access': false },
    };
    this.secrets.set(secret.id, secret);
    return secret;
  }

  async #serve(
    { cert, key }: Pair,
    name: 'keystone' | 'barbican',
    answer: (seen: Seen, response: ServerResponse) => void,
  ): Promise<number> {
    const onRequest: http.RequestListener = (request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        const seen = { line: `${method} ${url}`, headers, body: Buffer.concat(pieces) };
        this.seen[name].push(seen);
        if (this.misbehaves[name]?.(request, response) === true) return;
        answer(seen, response);
      });
    };
    const server =
      this.tls === undefined
        ? http.createServer(onRequest)
        : https.createServer({ ...this.tls, cert, key }, onRequest);
    this.#servers.push(server);
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    return (server.address() as AddressInfo).port;
  }

  #keystone({ line, body }: Seen, response: ServerResponse): void {
    if (line !== 'POST /v3/auth/tokens') {
      json(response, 404, { error: { code: 404, message: 'Not Found', title: 'Not Found' } });
      return;
    }
    const { auth } = JSON.parse(body.toString()) as { auth: TokenRequest };
    const user = this.users.find((one) => isOf(auth, one));
    const { application_credential: credential } = auth.identity;
    if (credential !== undefined && this.users.every(({ credentialId }) => credentialId !== credential.id)) {
      const message = `Could not find Application Credential: ${credential.id}.`;
      json(response, 404, { error: { code: 404, message, title: 'Not Found' } });
      return;
    }
    if (user === undefined) {
      const message = 'The request you have made requires authentication.';
      json(response, 401, { error: { code: 401, message, title: 'Unauthorized' } });
      return;
    }
    const token = `gAAAAA${randomBytes(60).toString('base64url')}`;
    this.tokens.set(token, user.id);
    const issued = Date.now();
    response.setHeader('X-Subject-Token', token);
    json(response, 201, {
      token: {
        methods: auth.identity.methods,
        user: { domain: { id: 'default', name: 'Default' }, id: user.id, name: user.name },
        audit_ids: ['x'],
        expires_at: asKeystone(issued + this.tokenLifeMs),
        issued_at: asKeystone(issued),
        project: { domain: { id: 'default', name: 'Default' }, id: PROJECT, name: 'keys' },
      },
    });
  }

  #barbican(seen: Seen, response: ServerResponse): void {
    const userId = this.tokens.get(String(seen.headers['x-auth-token']));
    if (userId === undefined) {
      json(response, 401, {
        error: {
          code: 401,
          title: 'Unauthorized',
          message: 'The request you have made requires authentication.',
        },
      });
      return;
    }
    const [method, path = ''] = seen.line.split(' ');
    const [, id, rest = ''] = /^\/v1\/secrets(?:\/([^/?]+))?(\/payload|\/acl)?(?:\?.*)?$/.exec(path) ?? [];
    if (id === undefined) {
      if (method === 'POST') this.#create(seen, userId, response);
      else this.#list(path, response);
      return;
    }
    const secret = this.secrets.get(id);
    if (secret === undefined) {
      refuse(response, 404, 'Not Found', 'Secret not found.');
      return;
    }
    this.#one(secret, `${method}${rest}`, { seen, userId, response });
  }

  #create({ body }: Seen, creatorId: string, response: ServerResponse): void {
    const { name = null } = JSON.parse(body.toString()) as { name?: string };
    const secret: FakeSecret = {
      ...{ id: randomUUID(), name, creatorId, payload: undefined, payloadType: undefined, acl: undefined },
    };
    this.secrets.set(secret.id, secret);
    json(response, 201, { secret_ref: this.#refOf(secret) });
  }

  #list(path: string, response: ServerResponse): void {
    const query = new URL(path, this.url).searchParams;
    const [offset, limit] = [Number(query.get('offset') ?? 0), Number(query.get('limit') ?? 10)];
    const all = [...this.secrets.values()];
    const secrets = all.slice(offset, offset + limit).map((secret) => ({
      ...{ name: secret.name, secret_ref: this.#refOf(secret), secret_type: 'passphrase', status: 'ACTIVE' },
      ...{ created: '2026-11-30T12:00:00', creator_id: secret.creatorId, expiration: null },
    }));
    json(response, 200, { secrets, total: all.length });
  }

  /** The rules of Barbican's policy for somebody with the role `member`. */
  #one(
    secret: FakeSecret,
    what: string,
    { seen, userId, response }: { seen: Seen; userId: string; response: ServerResponse },
  ): void {
    const isOwner = secret.creatorId === userId;
    const mayManage = isOwner || secret.acl?.['project-access'] !== false;
    const mayRead = mayManage || secret.acl?.users.includes(userId) === true;
    const deny = (attempt: string) => {
      refuse(response, 403, 'Forbidden', `${attempt} attempt not allowed - please review your user/project.`);
    };
    switch (what) {
      case 'GET/payload':
        if (!mayRead) deny('Secret payload retrieval');
        else if (secret.payload === undefined)
          refuse(response, 404, 'Not Found', 'Sorry but your secret has no payload.');
        else {
          response.writeHead(200, { 'content-type': String(seen.headers.accept) });
          response.end(secret.payload);
        }
        return;
      case 'GET/acl':
        if (!mayManage) deny('SecretACL(s) retrieval');
        else json(response, 200, { read: { users: [], 'project-access': true, ...secret.acl } });
        return;
      case 'PUT/acl':
        if (!mayManage) deny('SecretACL(s) Update');
        else {
          const { read } = JSON.parse(seen.body.toString()) as { read: NonNullable<FakeSecret['acl']> };
          secret.acl = read;
          json(response, 200, { acl_ref: `${this.#refOf(secret)}/acl` });
        }
        return;
      case 'PUT':
        if (!mayManage) deny('Secret update');
        else if (secret.payload !== undefined)
          refuse(response, 409, 'Conflict', 'Secret already has data, cannot modify it.');
        else {
          secret.payload = seen.body;
          secret.payloadType = seen.headers['content-type'];
          response.writeHead(204).end();
        }
        return;
      case 'DELETE':
        if (!mayManage) deny('Secret deletion');
        else {
          this.secrets.delete(secret.id);
          response.writeHead(204).end();
        }
        return;
      case 'GET':
        if (!mayRead) deny('Secret retrieval');
        else
          json(response, 200, {
            ...{ name: secret.name, secret_ref: this.#refOf(secret), secret_type: 'passphrase' },
            ...{ status: 'ACTIVE', created: '2026-11-30T12:00:00', creator_id: secret.creatorId },
          });
        return;
      default:
        refuse(response, 405, 'Method Not Allowed', 'The method is not allowed.');
    }
  }

  /** As Barbican names it, by the name that it knows itself under, which need not be ours. */
  #refOf({ id }: FakeSecret): string {
    return `https://barbican.internal:9311/v1/secrets/${id}`;
  }
}

interface TokenRequest {
  readonly identity: {
    readonly methods: readonly string[];
    readonly application_credential?: { readonly id: string; readonly secret: string };
    readonly password?: { readonly user: { readonly name: string; readonly password: string } };
  };
  readonly scope?: { readonly project?: { readonly name?: string; readonly id?: string } };
}

function isOf({ identity, scope }: TokenRequest, user: FakeUser): boolean {
  const { application_credential: credential, password } = identity;
  if (credential !== undefined)
    return credential.id === user.credentialId && credential.secret === user.credentialSecret;
  if (scope?.project?.name !== 'keys' && scope?.project?.id !== PROJECT) return false;
  return password?.user.name === user.name && password.user.password === user.password;
}

/** `2026-11-30T12:00:00.000000Z` */
function asKeystone(timeMs: number): string {
  return new Date(timeMs).toISOString().replace('Z', '000Z');
}

function refuse(response: ServerResponse, code: number, title: string, description: string): void {
  json(response, code, { code, title, description });
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
