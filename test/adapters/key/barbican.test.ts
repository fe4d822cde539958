/**
 * Goal: a key comes from Barbican with this host's identity and nothing else, is asked for anew each time, and every way
 * in which it does not come is one error that says who has to do what. Method: both servers over TLS in this process.
 */
import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { BarbicanKeys } from '../../../src/adapters/key/barbican.ts';
import type { BarbicanKeysOptions } from '../../../src/adapters/key/barbican.ts';
import type { Problem } from '../../../src/core/errors.ts';
import { ProvisionError } from '../../../src/core/errors.ts';
import type { BarbicanSettings } from '../../../src/core/settings/key-settings.ts';
import type { FakeSecret, FakeUser, Misbehaviour } from '../fake-key-server.ts';
import { FakeKeyServer } from '../fake-key-server.ts';

const KEY = Buffer.from('Zm9ydHktZWlnaHQgcmFuZG9tIGJ5dGVzIHRoYXQgbm9ib2R5IGtub3dzLi4u');
/** Far more than any of this takes, so that nothing here depends on how fast the machine is. */
const PATIENT = { limitMs: 30_000 };
const never = new AbortController().signal;

let server: FakeKeyServer;
let owner: FakeUser;
let hostA: FakeUser;
let hostB: FakeUser;
let secret: FakeSecret;

beforeEach(async () => {
  server = new FakeKeyServer();
  await server.start();
  [owner, hostA, hostB] = [server.addUser('owner'), server.addUser('hosta'), server.addUser('hostb')];
  secret = server.addSecret(owner, KEY, [hostA]);
});
afterEach(async () => {
  await server.stop();
});

function settings(user: FakeUser, changed: Partial<BarbicanSettings> = {}): BarbicanSettings {
  return {
    ...{ url: server.url, authUrl: server.authUrl, ca: server.authority.cert },
    applicationCredentialId: user.credentialId,
    applicationCredentialSecret: { reveal: () => user.credentialSecret },
    ...changed,
  };
}

function keysOf(user: FakeUser, options: BarbicanKeysOptions = PATIENT): BarbicanKeys {
  return new BarbicanKeys(settings(user), options);
}

const reference = () => ({ provider: 'barbican', id: secret.id }) as const;

async function problemOf(work: Promise<unknown>): Promise<Problem & { readonly all: string }> {
  const error: unknown = await work.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof ProvisionError)) throw new Error(`no error of ours: ${inspect(error)}`);
  // Whatever a log could show of it, with its causes.
  return { code: error.code, message: error.message, hint: error.hint, all: inspect(error, { depth: 20 }) };
}

test('a granted host reads the key; another one does not, until it is granted, and then the first not any more', async () => {
  const [a, b] = [keysOf(hostA), keysOf(hostB)];
  const key = await a.read(reference(), never);
  expect(key.bytes.equals(KEY)).toBe(true);
  key.wipe();
  expect(key.bytes.every((byte) => byte === 0)).toBe(true);
  expect(await problemOf(b.read(reference(), never))).toMatchObject({
    code: 'KEY_DENIED',
    hint: expect.stringContaining(`lvp key grant barbican:${secret.id} ${hostB.id}`) as string,
  });

  secret.acl = { users: [hostB.id], 'project-access': false };
  expect((await b.read(reference(), never)).bytes.equals(KEY)).toBe(true);
  expect(await problemOf(a.read(reference(), never))).toMatchObject({ code: 'KEY_DENIED' });
});

test('the key is asked for each time, the token once, also by many at the same time', async () => {
  const keys = keysOf(hostA);
  await Promise.all([1, 2, 3, 4, 5].map(() => keys.read(reference(), never)));
  await keys.read(reference(), never);
  expect(server.seen.keystone.map(({ line }) => line)).toEqual(['POST /v3/auth/tokens']);
  expect(server.seen.barbican.map(({ line }) => line)).toEqual(
    Array.from({ length: 6 }, () => `GET /v1/secrets/${secret.id}/payload`),
  );
});

test('a token is not used in its last minute, and a short one for half of its life', async () => {
  let nowMs = 0;
  const keys = new BarbicanKeys(settings(hostA), { ...PATIENT, nowMs: () => nowMs });
  const readAt = async (atMs: number) => {
    nowMs = atMs;
    await keys.read(reference(), never);
    return server.seen.keystone.length;
  };
  expect(await readAt(0)).toBe(1);
  expect(await readAt(3_539_000)).toBe(1);
  server.tokenLifeMs = 20_000;
  expect(await readAt(3_541_000)).toBe(2);
  expect(await readAt(3_550_000)).toBe(2);
  expect(await readAt(3_552_000)).toBe(3);
});

test('a token that is refused is asked for anew, once', async () => {
  const keys = keysOf(hostA);
  await keys.read(reference(), never);
  server.tokens.clear();
  expect((await keys.read(reference(), never)).bytes.equals(KEY)).toBe(true);
  expect(server.seen.keystone).toHaveLength(2);

  server.misbehaves.barbican = answering(401, 'no');
  expect(await problemOf(keys.read(reference(), never))).toMatchObject({
    code: 'KEY_DENIED',
    message: expect.stringContaining('does not accept the identity') as string,
  });
  expect(server.seen.keystone).toHaveLength(3);
});

test('what is sent is what Keystone and Barbican document, and the secret goes to Keystone alone', async () => {
  await keysOf(hostA).read(reference(), never);
  const [asked] = server.seen.keystone;
  expect(JSON.parse(String(asked?.body))).toEqual({
    auth: {
      identity: {
        methods: ['application_credential'],
        application_credential: { id: hostA.credentialId, secret: hostA.credentialSecret },
      },
    },
  });
  const [got] = server.seen.barbican;
  expect(got?.headers.accept).toBe('application/octet-stream');
  expect(inspect(got)).not.toContain(hostA.credentialSecret);
});

function answering(
  status: number,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Misbehaviour {
  return (_request, response) => {
    response.writeHead(status, headers).end(body);
    return true;
  };
}

const OCTETS = { 'content-type': 'application/octet-stream' };
const hang: Misbehaviour = () => true;
const hangUp: Misbehaviour = (request) => {
  request.socket.destroy();
  return true;
};
/** The head of a good answer, and then nothing. */
const hangInBody: Misbehaviour = (_request, response) => {
  response.writeHead(200, { ...OCTETS, 'content-length': '64' });
  response.write('half-of-a-key-');
  return true;
};
const hangUpInBody: Misbehaviour = (request, response) => {
  hangInBody(request, response);
  setImmediate(() => request.socket.destroy());
  return true;
};
const trickle: Misbehaviour = (request, response) => {
  response.writeHead(200, OCTETS);
  const timer = setInterval(() => response.write('x'), 20);
  request.socket.once('close', () => {
    clearInterval(timer);
  });
  return true;
};

/** As Keystone 30 has it. */
const UNKNOWN =
  '{"error":{"code":404,"message":"Could not find Application Credential: 0123.","title":"Not Found"}}';

describe('of Keystone', () => {
  test.each<[string, Misbehaviour, string, RegExp]>([
    ['the identity is refused', answering(401, '{}'), 'KEY_DENIED', /refuses the identity/],
    ['the identity may not', answering(403, '{}'), 'KEY_DENIED', /refuses the identity/],
    ['the credential is unknown', answering(404, UNKNOWN), 'KEY_DENIED', /refuses the identity/],
    ['there is no such place', answering(404, '{}'), 'KEY_SERVER_UNREACHABLE', /status 404/],
    ['it is broken', answering(500, 'Traceback'), 'KEY_SERVER_UNREACHABLE', /status 500/],
    ['it is overloaded', answering(503, ''), 'KEY_SERVER_UNREACHABLE', /status 503/],
    ['no JSON', answering(201, '<html>', { 'x-subject-token': 'gAAAA' }), 'KEY_SERVER_UNREACHABLE', /is not/],
    [
      'JSON of something else',
      answering(201, '{}', { 'x-subject-token': 'gA' }),
      'KEY_SERVER_UNREACHABLE',
      /is not/,
    ],
    ['no token', answering(201, '{"token": {}}'), 'KEY_SERVER_UNREACHABLE', /is not/],
    ['without end', answering(201, Buffer.alloc(2 ** 21, 32)), 'KEY_SERVER_UNREACHABLE', /longer than/],
    ['a page without end', answering(502, Buffer.alloc(2 ** 21, 32)), 'KEY_SERVER_UNREACHABLE', /status 502/],
    ['elsewhere', answering(302, '', { location: 'https://127.0.0.1:1/' }), 'KEY_SERVER_UNREACHABLE', /302/],
    ['it hangs up', hangUp, 'KEY_SERVER_UNREACHABLE', /hang up|ECONNRESET/],
  ])('%s', async (_what, misbehaviour, code, says) => {
    server.misbehaves.keystone = misbehaviour;
    const problem = await problemOf(keysOf(hostA).read(reference(), never));
    expect(problem).toMatchObject({ code, message: expect.stringMatching(says) as string });
    expect(problem.message).toContain(server.authUrl.host);
    expect(problem.all).not.toContain(hostA.credentialSecret);
    expect(server.seen.keystone).toHaveLength(1);
    expect(server.seen.barbican).toEqual([]);
  });

  test('it is asked again after it has failed', async () => {
    const keys = keysOf(hostA);
    server.misbehaves.keystone = answering(500, '');
    await problemOf(keys.read(reference(), never));
    server.misbehaves = {};
    expect((await keys.read(reference(), never)).bytes.equals(KEY)).toBe(true);
  });
});

describe('of Barbican', () => {
  test.each<[string, Misbehaviour, string, RegExp]>([
    ['not granted', answering(403, '{}'), 'KEY_DENIED', /does not let this host/],
    ['no such key', answering(404, '{}'), 'KEY_NOT_FOUND', /There is no key/],
    ['it is broken', answering(500, 'Traceback'), 'KEY_SERVER_UNREACHABLE', /status 500/],
    ['a bad request', answering(400, '{}'), 'KEY_SERVER_UNREACHABLE', /status 400/],
    ['too short', answering(200, 'x'.repeat(31), OCTETS), 'KEY_UNUSABLE', /of that form/],
    ['nothing', answering(200, '', OCTETS), 'KEY_UNUSABLE', /of that form/],
    ['with a line end', answering(200, `${KEY.toString()}\n`, OCTETS), 'KEY_UNUSABLE', /of that form/],
    ['any bytes', answering(200, Buffer.alloc(64, 0xc3), OCTETS), 'KEY_UNUSABLE', /of that form/],
    ['too long', answering(200, 'x'.repeat(513), OCTETS), 'KEY_UNUSABLE', /of that form/],
    ['huge', answering(200, Buffer.alloc(2 ** 24, 65), OCTETS), 'KEY_UNUSABLE', /too long/],
    ['a page', answering(200, KEY, { 'content-type': 'text/html' }), 'KEY_UNUSABLE', /something else/],
    [
      'packed',
      answering(200, KEY, { ...OCTETS, 'content-encoding': 'gzip' }),
      'KEY_UNUSABLE',
      /something else/,
    ],
    ['elsewhere', answering(307, '', { location: 'https://127.0.0.1:1/' }), 'KEY_SERVER_UNREACHABLE', /307/],
    ['it hangs up', hangUp, 'KEY_SERVER_UNREACHABLE', /hang up|ECONNRESET/],
    ['it hangs up in the middle', hangUpInBody, 'KEY_SERVER_UNREACHABLE', /aborted|closed|ECONNRESET/],
  ])('%s', async (_what, misbehaviour, code, says) => {
    server.misbehaves.barbican = misbehaviour;
    const problem = await problemOf(keysOf(hostA).read(reference(), never));
    expect(problem).toMatchObject({ code, message: expect.stringMatching(says) as string });
    for (const kept of [KEY.toString(), hostA.credentialSecret, ...server.tokens.keys()])
      expect(problem.all).not.toContain(kept);
    // Nobody is asked a second time by itself.
    expect(server.seen.barbican).toHaveLength(1);
  });

  test('a key that is not there', async () => {
    server.secrets.clear();
    expect(await problemOf(keysOf(hostA).read(reference(), never))).toMatchObject({ code: 'KEY_NOT_FOUND' });
  });
});

describe('time', () => {
  test.each<[string, 'keystone' | 'barbican', Misbehaviour]>([
    ['Keystone says nothing', 'keystone', hang],
    ['Barbican says nothing', 'barbican', hang],
    ['Barbican stops in the middle', 'barbican', hangInBody],
    ['Barbican gives a byte from time to time', 'barbican', trickle],
  ])('is up when %s', async (_what, who, misbehaviour) => {
    const { host } = who === 'keystone' ? server.authUrl : server.url;
    const keys = keysOf(hostA, { limitMs: 400 });
    if (who === 'barbican') {
      // With a token at hand, however busy this machine is.
      const hasRead = async () =>
        keys.read(reference(), never).then(
          () => true,
          () => false,
        );
      await expect.poll(hasRead, { timeout: 30_000 }).toBe(true);
    }
    server.misbehaves[who] = misbehaviour;
    expect(await problemOf(keys.read(reference(), never))).toMatchObject({
      code: 'KEY_SERVER_UNREACHABLE',
      message: expect.stringMatching(
        new RegExp(`${host.replaceAll('.', '\\.')} .*no answer within`),
      ) as string,
    });
  });

  test('a port that takes connections and does not shake hands', async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => sockets.add(socket));
    await new Promise<void>((resolve) => {
      mute.listen(0, '127.0.0.1', resolve);
    });
    try {
      const authUrl = new URL(`https://127.0.0.1:${(mute.address() as AddressInfo).port}/v3`);
      const keys = new BarbicanKeys(settings(hostA, { authUrl }), PATIENT);
      expect(await problemOf(keys.read(reference(), never))).toMatchObject({
        code: 'KEY_SERVER_UNREACHABLE',
        message: expect.stringContaining('no connection within') as string,
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      mute.close();
    }
  });

  test('whoever gives up is heard at once, and another one still gets the token', async () => {
    let release = (): void => undefined;
    server.misbehaves.keystone = (_request, response) => {
      const original = server.misbehaves;
      release = () => {
        server.misbehaves = {};
        response.writeHead(500).end();
      };
      return original.keystone !== undefined;
    };
    const keys = keysOf(hostA);
    const gaveUp = new AbortController();
    const first = keys.read(reference(), gaveUp.signal);
    const second = keys.read(reference(), never);
    await expect.poll(() => server.seen.keystone.length).toBe(1);
    const reason = new Error('the start was cancelled');
    gaveUp.abort(reason);
    await expect(first).rejects.toBe(reason);
    release();
    expect(await problemOf(second)).toMatchObject({
      message: expect.stringContaining('status 500') as string,
    });
    expect(server.seen.keystone).toHaveLength(1);
  });

  test('a signal that was given before leaves both alone', async () => {
    const reason = new Error('over');
    await expect(keysOf(hostA).read(reference(), AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(server.seen).toEqual({ keystone: [], barbican: [] });
  });
});

describe('TLS', () => {
  const readWith = async (changed: Partial<BarbicanSettings>) =>
    problemOf(new BarbicanKeys(settings(hostA, changed), PATIENT).read(reference(), never));

  test('of an authority that is not trusted: nothing is sent', async () => {
    expect(await readWith({ ca: undefined })).toMatchObject({
      code: 'KEY_SERVER_UNREACHABLE',
      hint: expect.stringContaining('is not trusted, and nothing was sent') as string,
    });
    expect(server.seen.keystone).toEqual([]);
  });

  test('for another name', async () => {
    const { port } = server.authUrl;
    expect(await readWith({ authUrl: new URL(`https://localhost:${port}/v3`) })).toMatchObject({
      code: 'KEY_SERVER_UNREACHABLE',
      hint: expect.stringContaining('is not trusted') as string,
    });
    expect(server.seen.keystone).toEqual([]);
  });

  test('the environment cannot switch verification off', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      expect(await readWith({ ca: undefined })).toMatchObject({ code: 'KEY_SERVER_UNREACHABLE' });
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    }
  });

  test('nobody there', async () => {
    expect(await readWith({ authUrl: new URL('https://127.0.0.1:1/v3') })).toMatchObject({
      code: 'KEY_SERVER_UNREACHABLE',
      hint: expect.stringContaining('runs and can be reached') as string,
    });
  });
});

test('a key shows nothing of itself', async () => {
  const key = await keysOf(hostA).read(reference(), never);
  const shown = `${JSON.stringify({ key })} ${inspect(key)} ${inspect({ key }, { depth: 9 })}`;
  const [hex = []] = [KEY.toString('hex').match(/../g)?.slice(0, 4)];
  for (const form of [KEY.toString(), hex.join(' '), [...KEY.subarray(0, 4)].join(',')])
    expect(shown).not.toContain(form);
});

test('nothing through which it came keeps it', async () => {
  const passed: { readonly by: string; readonly chunk: Buffer }[] = [];
  // The original is called with the caller's own object.
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const { emit } = EventEmitter.prototype;
  const spy = vi.spyOn(EventEmitter.prototype, 'emit').mockImplementation(function (
    this: EventEmitter,
    name: unknown,
    ...rest: unknown[]
  ) {
    const [chunk] = rest;
    if (name === 'data' && Buffer.isBuffer(chunk) && chunk.includes(KEY))
      passed.push({ by: this.constructor.name, chunk });
    return Reflect.apply(emit, this, [name as string, ...rest]);
  });
  const key = await keysOf(hostA).read(reference(), never);
  spy.mockRestore();
  expect(passed.map(({ by }) => by)).toEqual(['TLSSocket', 'IncomingMessage']);
  expect(passed.filter(({ chunk }) => chunk.includes(KEY))).toEqual([]);
  expect(key.bytes.equals(KEY)).toBe(true);
  // Of its own, so that wiping it is wiping all of it.
  expect(key.bytes.buffer.byteLength).toBe(KEY.length);
});
