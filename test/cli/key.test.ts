/**
 * Goal: keys are made so that nobody but who was named can ever read them, grants say what they have changed, and no key
 * is seen anywhere on the way. Method: the program against both servers over TLS, and real systemd-creds where it is.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { execa } from 'execa';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BarbicanKeys } from '../../src/adapters/key/barbican.ts';
import { KeySecrets } from '../../src/adapters/key/secrets.ts';
import { FileKeyFolder } from '../../src/cli/key/file-keys.ts';
import { referenceOf, userIds } from '../../src/cli/key/given-key.ts';
import { callerOf } from '../../src/cli/key/openstack.ts';
import { base64Of } from '../../src/cli/key/random-key.ts';
import { serversOf } from '../../src/cli/key/servers.ts';
import { JSON_SCHEMAS } from '../../src/cli/program/json-schemas.ts';
import { isKeyShaped } from '../../src/core/key/key-reference.ts';
import type { FakeSecret, FakeUser } from '../adapters/fake-key-server.ts';
import { FakeKeyServer } from '../adapters/fake-key-server.ts';

const CLI = resolve(import.meta.dirname, '../../src/cli.ts');
const never = new AbortController().signal;

const folder = mkdtempSync(join(tmpdir(), 'lvp-key-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let server: FakeKeyServer;
let owner: FakeUser;
let hostA: FakeUser;
let hostB: FakeUser;

beforeEach(async () => {
  server = new FakeKeyServer();
  await server.start();
  [owner, hostA, hostB] = [server.addUser('owner'), server.addUser('hosta'), server.addUser('hostb')];
});
afterEach(async () => {
  await server.stop();
});

/** What OpenStack's own programs would be told. */
function asOwner(): Record<string, string> {
  return {
    OS_AUTH_URL: server.authUrl.href,
    OS_CACERT: server.authority.certFile,
    OS_USERNAME: owner.name,
    OS_PASSWORD: owner.password,
    OS_PROJECT_NAME: 'keys',
  };
}

async function lvp(args: readonly string[], env: Record<string, string> = asOwner(), input = '') {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [CLI, 'key', ...args], {
    ...{ reject: false, extendEnv: false, input },
    env: { PATH: process.env['PATH'] ?? '', HOME: folder, ...env },
  });
  return { stdout, stderr, exitCode };
}

const inServer = (...args: readonly string[]) => lvp([...args, '--url', server.url.href]);

function theSecret(): FakeSecret {
  const [secret] = server.secrets.values();
  return secret ?? expect.fail('there is no key');
}

async function mayRead(user: FakeUser, secret: FakeSecret): Promise<boolean> {
  const keys = new BarbicanKeys(
    {
      ...{ url: server.url, authUrl: server.authUrl, ca: server.authority.cert },
      applicationCredentialId: user.credentialId,
      applicationCredentialSecret: { reveal: () => user.credentialSecret },
    },
    { limitMs: 30_000 },
  );
  return keys.read({ provider: 'barbican', id: secret.id }, never).then(
    () => true,
    () => false,
  );
}

describe('create', () => {
  test('prints the name alone, and only who was named can read the key', async () => {
    const { stdout, stderr, exitCode } = await inServer('create', '--name', 'web1-vda', '--for', hostA.id);
    expect([exitCode, stdout]).toEqual([0, `barbican:${theSecret().id}`]);
    expect(stderr).toContain(`key="barbican:${theSecret().id}"`);
    const { payload = Buffer.alloc(0), name, payloadType } = theSecret();
    expect([name, payloadType]).toEqual(['web1-vda', 'application/octet-stream']);
    expect(isKeyShaped(payload)).toBe(true);
    expect(Buffer.from(payload.toString(), 'base64')).toHaveLength(64);
    expect(Buffer.from(payload.toString(), 'base64').toString('base64')).toBe(payload.toString());
    expect(`${stdout}${stderr}`).not.toContain(payload.toString());
    expect([await mayRead(hostA, theSecret()), await mayRead(hostB, theSecret())]).toEqual([true, false]);
  });

  test('the place is closed before the key is put into it', async () => {
    await inServer('create');
    const lines = server.seen.barbican.map(({ line }) => line);
    const one = `/v1/secrets/${theSecret().id}`;
    expect(lines).toEqual(['POST /v1/secrets', `PUT ${one}/acl`, `PUT ${one}`]);
    expect(theSecret().acl).toEqual({ users: [], 'project-access': false });
  });

  test('no key is like another', async () => {
    await Promise.all([inServer('create'), inServer('create')]);
    const [first, second] = [...server.secrets.values()].map(({ payload }) => payload);
    expect(first && second && first.equals(second)).toBe(false);
  });

  test('leaves nothing behind where the key could not be put into its place', async () => {
    server.misbehaves.barbican = (request, response) => {
      const isPayload = request.method === 'PUT' && !String(request.url).endsWith('/acl');
      if (isPayload) response.writeHead(503).end();
      return isPayload;
    };
    const { stdout, stderr, exitCode } = await inServer('create');
    expect([exitCode, stdout]).toEqual([1, '']);
    expect(stderr).toContain('status 503');
    expect(server.secrets.size).toBe(0);
  });

  test('says what is left where it could not be taken back', async () => {
    server.misbehaves.barbican = (request, response) => {
      const isOver = request.method !== 'POST';
      if (isOver) response.writeHead(503).end();
      return isOver;
    };
    const { stderr, exitCode } = await inServer('create');
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`delete barbican:${theSecret().id} by hand`);
  });
});

describe('grant and revoke', () => {
  let secret: FakeSecret;
  let key: string;
  beforeEach(() => {
    secret = server.addSecret(owner, Buffer.from('x'.repeat(64)), [hostA]);
    key = `barbican:${secret.id}`;
  });

  test('one more is granted it, the others keep it, and what was changed is said', async () => {
    const { stdout, exitCode } = await inServer('grant', key, hostB.id, hostA.id);
    expect([exitCode, stdout]).toEqual([
      0,
      `${key} is granted to ${hostB.id}.\nIt may be read by ${hostA.id}, ${hostB.id}.`,
    ]);
    expect(secret.acl).toEqual({ users: [hostA.id, hostB.id], 'project-access': false });
    expect((await inServer('grant', key, hostA.id)).stdout).toContain('Nothing had to be changed.');
  });

  test('it is taken from one, and from all', async () => {
    await inServer('grant', key, hostB.id);
    expect((await inServer('revoke', key, hostA.id)).stdout).toBe(
      `${key} is revoked from ${hostA.id}.\nIt may be read by ${hostB.id}.`,
    );
    expect([await mayRead(hostA, secret), await mayRead(hostB, secret)]).toEqual([false, true]);
    const { stdout } = await inServer('revoke', key, '--all', '--json');
    const change: unknown = JSON.parse(stdout);
    expect(JSON_SCHEMAS['key revoke']?.parse(change)).toEqual(change);
    expect(change).toEqual({
      ...{ key, granted: [], revoked: [hostB.id], readers: [], projectAccess: false },
    });
    expect(await mayRead(hostB, secret)).toBe(false);
  });

  test('a key that its whole project may read is closed when it is revoked, and it is said when it is granted', async () => {
    secret.acl = undefined;
    const { stdout } = await inServer('grant', key, hostA.id);
    expect(stdout).toContain('Every member of its project may read it');
    expect(secret.acl).toEqual({ users: [hostA.id], 'project-access': true });
    await inServer('revoke', key, hostA.id);
    expect(secret.acl).toEqual({ users: [], 'project-access': false });
  });

  test("somebody else's key is refused with the reason", async () => {
    const others = server.addSecret(hostB, Buffer.from('x'.repeat(64)), []);
    const { stderr, exitCode } = await inServer('grant', `barbican:${others.id}`, hostA.id);
    expect(exitCode).toBe(5);
    expect(stderr).toContain(`does not let you do this to barbican:${others.id}`);
  });

  test('a key that is not there', async () => {
    server.secrets.clear();
    expect((await inServer('show', key)).exitCode).toBe(3);
  });

  test('what is no id, or no key, is refused before anybody is asked', async () => {
    expect(() => userIds(['hosta'])).toThrow('"hosta" is no id of a user');
    for (const text of ['barbican:../../etc', 'file:../x', 'file:', 'vault:x', ''])
      expect(() => referenceOf(text)).toThrow('is no key');
    const refused = await Promise.all([
      inServer('grant', key),
      inServer('revoke', key),
      inServer('revoke', key, hostA.id, '--all'),
      inServer('create', key),
    ]);
    expect(refused.map(({ exitCode }) => exitCode)).toEqual([2, 2, 2, 2]);
    expect(refused.map(({ stderr }) => stderr.split('\n')[0])).toEqual([
      'lvp: Who is to be granted the key is not said.',
      'lvp: From whom the key is to be revoked has to be said, once.',
      'lvp: From whom the key is to be revoked has to be said, once.',
      'lvp: The key server itself says what a new key is called.',
    ]);
    expect(server.seen).toEqual({ keystone: [], barbican: [] });
  });
});

describe('list', () => {
  test('shows all, with who may read them where that may be known', async () => {
    const mine = server.addSecret(owner, Buffer.from('x'.repeat(64)), [hostA]);
    const others = server.addSecret(hostB, Buffer.from('y'.repeat(64)), []);
    const { stdout } = await inServer('list', 'barbican', '--json');
    const listed: unknown = JSON.parse(stdout);
    expect(JSON_SCHEMAS['key list']?.parse(listed)).toEqual(listed);
    const common = { name: 'a key', created: '2026-11-30T12:00:00Z' };
    expect(listed).toEqual({
      keys: [
        { ...common, key: `barbican:${mine.id}`, readers: [hostA.id], projectAccess: false },
        { ...common, key: `barbican:${others.id}` },
      ],
    });
    const text = (await inServer('list', 'barbican')).stdout;
    expect(text).toMatch(new RegExp(`barbican:${mine.id} +a key +2026-11-30 12:00 +${hostA.id}`));
    expect(text).toMatch(/not shown to you/);
  });

  test('goes on where one answer does not hold all', async () => {
    for (let count = 0; count < 103; count += 1) server.addSecret(hostB, Buffer.from('x'.repeat(64)), []);
    const { keys } = JSON.parse((await inServer('list', 'barbican', '--json')).stdout) as { keys: object[] };
    expect(keys).toHaveLength(103);
  }, 120_000);
});

describe('who calls', () => {
  const show = async (env: Record<string, string>, config = '/nowhere') => {
    const { id } = theSecret();
    const options = config === '/nowhere' ? { url: server.url.href, config } : { config };
    const caller = await callerOf(env);
    const secrets = new KeySecrets(await serversOf(options, caller), caller.identity);
    return secrets.show({ provider: 'barbican', id });
  };
  beforeEach(() => {
    server.addSecret(owner, Buffer.from('x'.repeat(64)), []);
  });

  test('with an application credential', async () => {
    const { OS_AUTH_URL = '', OS_CACERT = '' } = asOwner();
    const shown = await show({
      ...{ OS_AUTH_URL, OS_CACERT, OS_APPLICATION_CREDENTIAL_ID: owner.credentialId },
      OS_APPLICATION_CREDENTIAL_SECRET: owner.credentialSecret,
    });
    expect(shown.name).toBe('a key');
  });

  test('by an entry of clouds.yaml', async () => {
    const file = join(folder, 'clouds.yaml');
    const { OS_AUTH_URL, OS_CACERT, OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME } = asOwner();
    const auth = { auth_url: OS_AUTH_URL, username: OS_USERNAME, password: OS_PASSWORD };
    const entry = { auth: { ...auth, project_name: OS_PROJECT_NAME }, cacert: OS_CACERT };
    writeFileSync(file, JSON.stringify({ clouds: { here: entry } }));
    const env = { OS_CLIENT_CONFIG_FILE: file };
    expect((await show({ ...env, OS_CLOUD: 'here' })).name).toBe('a key');
    await expect(show({ ...env, OS_CLOUD: 'there' })).rejects.toThrow('OS_CLOUD names there');
  });

  test('the servers of the configuration, without its secrets', async () => {
    const file = join(folder, 'config.yaml');
    const barbican = { url: server.url, auth_url: server.authUrl, ca_file: server.authority.certFile };
    writeFileSync(file, JSON.stringify({ keys: { barbican } }));
    const { OS_USERNAME = '', OS_PASSWORD = '', OS_PROJECT_NAME = '' } = asOwner();
    const shown = await show({ OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME }, file);
    expect(shown.name).toBe('a key');
  });

  test.each([
    ['a wrong password', { OS_PASSWORD: 'not-mine-4711' }, 'KEY_DENIED', 'refuses the user and password'],
    ['no password', { OS_PASSWORD: '' }, 'USAGE', 'there is no OS_PASSWORD'],
    ['nothing', { OS_USERNAME: '', OS_PROJECT_NAME: '' }, 'USAGE', 'no OS_USERNAME, no OS_PROJECT_NAME'],
    ['no authority', { OS_CACERT: '' }, 'KEY_SERVER_UNREACHABLE', 'certificate'],
    ['an authority that is not there', { OS_CACERT: '/nowhere' }, 'USAGE', '/nowhere cannot be read: ENOENT'],
    ['plain http', { OS_AUTH_URL: 'http://keystone.example.com/v3' }, 'USAGE', 'is no URL of Keystone'],
    ['no servers', { OS_AUTH_URL: '' }, 'USAGE', 'no OS_AUTH_URL'],
  ])('%s', async (_what, changed, code, says) => {
    const error: unknown = await show({ ...asOwner(), ...changed }).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code, message: expect.stringContaining(says) as string });
    expect(inspect(error, { depth: 20 })).not.toContain(owner.password);
    expect(inspect(error, { depth: 20 })).not.toContain('not-mine-4711');
  });
});

const hasSystemdCreds = process.getuid?.() === 0 && spawnSync('systemd-creds', ['--version']).status === 0;

describe.skipIf(!hasSystemdCreds)('keys of files, with the systemd of this machine', () => {
  const KEY = Buffer.from('a key that is known here, of more than thirty-two'.replaceAll(' ', '-'));
  const decrypted = (file: string, name: string) =>
    spawnSync('systemd-creds', ['decrypt', `--name=${name}`, file, '-']).stdout;

  test('one is made for root alone, can be read again under its own name alone, and is never replaced', async () => {
    const place = join(folder, 'keys');
    const keys = new FileKeyFolder(place);
    expect(keys.list()).toEqual([]);
    await keys.add('web1-vda', KEY, 'host');
    expect(readdirSync(place)).toEqual(['web1-vda.cred']);
    const file = join(place, 'web1-vda.cred');
    expect([place, file].map((path) => statSync(path).mode & 0o7777)).toEqual([0o700, 0o600]);
    expect(readFileSync(file).includes(KEY)).toBe(false);
    expect(decrypted(file, 'lvp-key-web1-vda').equals(KEY)).toBe(true);
    expect(decrypted(file, 'lvp-key-web2-vda')).toHaveLength(0);

    const before = readFileSync(file);
    await expect(keys.add('web1-vda', KEY, 'host')).rejects.toMatchObject({ code: 'USAGE' });
    expect(readFileSync(file).equals(before)).toBe(true);
    expect(keys.list().map(({ name }) => name)).toEqual(['web1-vda']);
    expect([keys.remove('web1-vda'), keys.remove('web1-vda')]).toEqual([true, false]);
    expect(readdirSync(place)).toEqual([]);
  });

  test('two at once make one key', async () => {
    const place = join(folder, 'raced');
    const keys = new FileKeyFolder(place);
    const ends = await Promise.allSettled([keys.add('one', KEY, 'host'), keys.add('one', KEY, 'host')]);
    expect(ends.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(readdirSync(place)).toEqual(['one.cred']);
  });

  test("a folder that is another user's, or a link, is not used", async () => {
    const place = join(folder, 'others');
    mkdirSync(place);
    chownSync(place, 65534, 65534);
    await expect(new FileKeyFolder(place).add('one', KEY, 'host')).rejects.toThrow(
      "not a folder of root's own",
    );
    const link = join(folder, 'link');
    symlinkSync(folder, link);
    await expect(new FileKeyFolder(link).add('one', KEY, 'host')).rejects.toThrow(
      "not a folder of root's own",
    );
    expect(readdirSync(place)).toEqual([]);
  });
});

test('base64 without a string is that with one', () => {
  for (const length of [0, 1, 2, 3, 4, 63, 64]) {
    const bytes = randomBytes(length);
    expect(base64Of(bytes).toString()).toBe(bytes.toString('base64'));
  }
});
