/** Goal: what is new replaces what was there only if the store or the key server takes it, and what is being read goes on. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/adapters/config-file.ts';
import { ConfigReload } from '../../src/adapters/config-reload.ts';
import { Secret } from '../../src/adapters/config/secret.ts';
import { KeyProviders } from '../../src/adapters/key/providers.ts';
import { RotatingImages } from '../../src/adapters/minio/rotation.ts';
import type { KeyReference } from '../../src/core/key/key-reference.ts';
import type { Log } from '../../src/provision/ports/host.ts';
import type { FakeUser } from './fake-key-server.ts';
import { FakeKeyServer } from './fake-key-server.ts';
import type { FakeS3 } from './fake-s3.ts';
import { answerError, BODY, startFakeS3 } from './fake-s3.ts';

const IMAGE = { bucket: 'images', key: 'disk' };

let folder: string;
let store: FakeS3;
/** Access keys that the store knows. */
let known: Set<string>;
let images: RotatingImages;
let keys: KeyProviders;
let reload: ConfigReload;
let said: string[];
let replaced: number;

const log: Log = {
  debug: () => undefined,
  info: (fields, message) => said.push(`${message} ${JSON.stringify(fields)}`),
  warn: (fields, message) => said.push(`${message} ${JSON.stringify(fields)}`),
  error: (fields, message) => said.push(`${message} ${JSON.stringify(fields)}`),
  child: () => log,
};

function put(name: string, text: string): void {
  writeFileSync(join(folder, 'new'), text, { mode: 0o600 });
  renameSync(join(folder, 'new'), join(folder, name));
}

function configure(more = ''): void {
  const files = `access_key_file: ${folder}/access, secret_key_file: ${folder}/secret`;
  put(
    'config.yaml',
    `minio: { endpoint: '${store.endpoint}', buckets: [images], ${files} }\nvolume_groups: [vg0]\n${more}`,
  );
}

const keyOf = (index: number) =>
  /Credential=([^/]+)\//.exec(store.requests.at(index)?.headers.authorization ?? '')?.[1];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lvp-reload-'));
  store = await startFakeS3();
  known = new Set(['old-access']);
  said = [];
  replaced = 0;
  store.misbehave = (_request, answer) => {
    if (known.has(keyOf(-1) ?? '')) return false;
    answerError(answer, 403, 'InvalidAccessKeyId');
    return true;
  };
  put('access', 'old-access');
  put('secret', 'old-secret');
  configure();
  const path = join(folder, 'config.yaml');
  start(path);
});
afterEach(async () => {
  images.close();
  await store.close();
  rmSync(folder, { recursive: true });
});

/** With what the files say now; the folder is where systemd keeps credentials. */
function start(path = join(folder, 'config.yaml')): void {
  const env = { CREDENTIALS_DIRECTORY: folder };
  const running = loadConfig({ path, env: { ...env } });
  images = new RotatingImages(running.config.minio);
  keys = new KeyProviders(running.config.keys, { readKey: () => Promise.reject(new Error('no file')) });
  reload = new ConfigReload({
    ...{ running, images, keyServer: keys, log },
    load: (handed) => loadConfig({ path, env: { ...env }, handed }),
    onReplaced: () => {
      replaced += 1;
    },
  });
}

describe('new keys in the files', () => {
  it('are used from the next request on, once the store has taken them', async () => {
    known.add('new-access');
    put('access', 'new-access');
    put('secret', 'new-secret');
    await images.stat(IMAGE);
    expect(keyOf(-1)).toBe('old-access');
    expect(await reload.reload()).toEqual({ replaced: ['keys'], needsRestart: [] });
    await images.stat(IMAGE);
    expect(keyOf(-1)).toBe('new-access');
    expect(replaced).toBe(1);
    expect(said.join()).not.toMatch(/old-|new-/);
  });

  it('that the store does not know leave the old ones in use, and say so', async () => {
    put('access', 'wrong-access');
    await expect(reload.reload()).rejects.toMatchObject({
      code: 'STORE_ACCESS_DENIED',
      message: expect.stringContaining('those from before stay') as string,
      hint: expect.stringContaining('systemctl reload') as string,
    });
    await images.stat(IMAGE);
    expect(keyOf(-1)).toBe('old-access');
    expect(replaced).toBe(0);
  });

  it('that may not see the bucket do not replace keys that may', async () => {
    known.add('new-access');
    const { misbehave } = store;
    store.misbehave = (request, answer, range) => {
      if (keyOf(-1) !== 'new-access') return misbehave(request, answer, range);
      answerError(answer, 403, 'AccessDenied');
      return true;
    };
    put('access', 'new-access');
    await expect(reload.reload()).rejects.toThrow(/does not let them see the bucket images/);
  });

  it('are found without anybody saying so, when both files are at rest', async () => {
    known.add('new-access');
    reload.look();
    put('access', 'new-access');
    reload.look();
    put('secret', 'new-secret');
    reload.look();
    expect(store.requests).toHaveLength(0);
    reload.look();
    // Behind the one that was just begun.
    await reload.reload();
    expect(replaced).toBe(1);
    reload.look();
    reload.look();
    await reload.reload();
    expect(replaced).toBe(1);
  });
});

describe('a read that is under way', () => {
  it('ends with the keys it began with', async () => {
    const object = await images.stat(IMAGE);
    known.add('new-access');
    const held = Promise.withResolvers<() => void>();
    const { misbehave } = store;
    store.misbehave = (request, answer, range) => {
      if (range === undefined || keyOf(-1) !== 'old-access') return misbehave(request, answer, range);
      answer.writeHead(206, {
        ...{ etag: `"${object.etag}"`, 'content-length': BODY.length },
        'content-range': `bytes 0-${BODY.length - 1}/${BODY.length}`,
      });
      answer.write(BODY.subarray(0, 1000));
      held.resolve(() => answer.end(BODY.subarray(1000)));
      return true;
    };
    const target = Buffer.alloc(BODY.length);
    const reading = images.readInto(object, 0, target, { signal: new AbortController().signal });
    const goOn = await held.promise;
    put('access', 'new-access');
    await reload.reload();
    known.delete('old-access');
    goOn();
    await reading;
    expect(Buffer.compare(target, BODY)).toBe(0);
  });

  it('is asked again with the new keys, if the old ones were revoked meanwhile', async () => {
    known.add('new-access');
    const asked = Promise.withResolvers<() => void>();
    const { misbehave } = store;
    store.misbehave = (request, answer, range) => {
      if (request.method !== 'HEAD' || keyOf(-1) !== 'old-access') return misbehave(request, answer, range);
      asked.resolve(() => {
        answerError(answer, 403, 'InvalidAccessKeyId');
      });
      return true;
    };
    const stat = images.stat(IMAGE);
    const deny = await asked.promise;
    put('access', 'new-access');
    await reload.reload();
    deny();
    expect(await stat).toMatchObject({ sizeBytes: BODY.length });
    expect(keyOf(-1)).toBe('new-access');
  });
});

describe('everything else', () => {
  it('needs a restart, and it is said what', async () => {
    configure('fills: { concurrent: 7 }\nlog: { level: debug }\n');
    expect(await reload.reload()).toEqual({ replaced: [], needsRestart: ['fills.concurrent', 'log.level'] });
    expect(said.join()).toContain('fills.concurrent');
  });

  it('that is a mistake changes nothing', async () => {
    known.add('new-access');
    put('access', 'new-access');
    configure('fills: { concurrent: 700 }\n');
    await expect(reload.reload()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await images.stat(IMAGE);
    expect(keyOf(-1)).toBe('old-access');
  });
});

describe('keys that root hands over', () => {
  it('count until the next ones, and not before files that the configuration names', async () => {
    known.add('handed');
    const handed = { accessKey: new Secret('handed'), secretKey: new Secret('handed-secret') };
    expect((await reload.reload(handed)).replaced).toEqual([]);
    const text = `minio: { endpoint: '${store.endpoint}', buckets: [images] }\nvolume_groups: [vg0]\n`;
    put('config.yaml', text);
    expect((await reload.reload(handed)).replaced).toEqual(['keys']);
    expect((await reload.reload()).replaced).toEqual([]);
    await images.stat(IMAGE);
    expect(keyOf(-1)).toBe('handed');
  });
});

describe('the key server', () => {
  const never = new AbortController().signal;
  let server: FakeKeyServer;
  let user: FakeUser;
  let reference: KeyReference;
  /** Of the application credentials that Keystone was shown. */
  const shown = () =>
    server.seen.keystone.map(
      ({ body }) => /"application_credential":\{"id":"(\w+)"/.exec(body.toString())?.[1] ?? 'none',
    );
  const bytesOf = async () => {
    const key = await keys.read(reference, never);
    return key.bytes.toString();
  };

  beforeEach(async () => {
    server = new FakeKeyServer();
    await server.start();
    user = server.addUser('host');
    const { id } = server.addSecret(server.addUser('owner'), Buffer.from('k'.repeat(64)), [user]);
    reference = { provider: 'barbican', id };
    put('ca.pem', server.authority.cert);
    put('barbican-application-credential-secret', user.credentialSecret);
    configure(section());
    images.close();
    start();
    expect(await bytesOf()).toBe('k'.repeat(64));
  });
  afterEach(async () => {
    await server.stop();
  });

  function section({ credentialId } = user, url = server.url): string {
    return `keys:
  barbican: { url: '${url.href}', auth_url: '${server.authUrl.href}', ca_file: ${folder}/ca.pem, application_credential_id: ${credentialId} }
`;
  }

  /** Another application credential of the same user, and the one before is revoked. */
  function anotherCredential(): FakeUser {
    const next = { ...user, credentialId: 'next', credentialSecret: 'the-next-secret' };
    server.users.splice(server.users.indexOf(user), 1, next);
    server.tokens.clear();
    return next;
  }

  it('is asked with another credential of this host once it takes that, whose secret root hands over', async () => {
    const next = anotherCredential();
    configure(section(next));
    const keyServerSecret = new Secret(next.credentialSecret);
    expect(await reload.reload({ keyServerSecret })).toEqual({ replaced: ['key-server'], needsRestart: [] });
    expect(await bytesOf()).toBe('k'.repeat(64));
    expect(shown()).toEqual([user.credentialId, 'next', 'next']);
    expect(replaced).toBe(1);
    expect(said.join()).not.toContain(next.credentialSecret);
    // It counts until the next one, whatever systemd had loaded.
    expect((await reload.reload()).replaced).toEqual([]);
    expect(await bytesOf()).toBe('k'.repeat(64));
  });

  it('that refuses the new identity is asked with the old one, and it is said why the secret may be that of the start', async () => {
    configure(section({ ...user, credentialId: 'unknown' }));
    await expect(reload.reload()).rejects.toMatchObject({
      code: 'KEY_DENIED',
      message: expect.stringContaining('settings of the key server are not used') as string,
      hint: expect.stringMatching(
        /systemd loads it, and a changed one counts from the next restart/,
      ) as string,
    });
    expect(await bytesOf()).toBe('k'.repeat(64));
    const keyServerSecret = new Secret('a-wrong-one');
    const refused = reload.reload({ keyServerSecret });
    await expect(refused).rejects.toMatchObject({
      hint: expect.not.stringContaining('systemd loads') as string,
    });
    expect([await bytesOf(), replaced]).toEqual(['k'.repeat(64), 0]);
    // What was refused is not kept in mind.
    configure(section());
    expect((await reload.reload()).replaced).toEqual([]);
  });

  it('that is another one is asked from then on, with its own authority', async () => {
    const other = new FakeKeyServer();
    await other.start();
    try {
      other.users.push(user);
      other.addSecret(user, Buffer.from('o'.repeat(64)), [user]);
      const [id = ''] = other.secrets.keys();
      configure(
        section(user, other.url)
          .replace(server.authUrl.href, other.authUrl.href)
          .replace('ca.pem', 'other.pem'),
      );
      put('other.pem', server.authority.cert);
      await expect(reload.reload()).rejects.toMatchObject({ code: 'KEY_SERVER_UNREACHABLE' });
      expect(await bytesOf()).toBe('k'.repeat(64));
      put('other.pem', other.authority.cert);
      expect(await reload.reload()).toEqual({ replaced: ['key-server'], needsRestart: [] });
      reference = { provider: 'barbican', id };
      expect(await bytesOf()).toBe('o'.repeat(64));
    } finally {
      await other.stop();
    }
  });

  it('has its authority read again when that file was replaced, without anybody saying so', async () => {
    put('ca.pem', `${server.authority.cert}\n${server.authority.cert}`);
    reload.look();
    expect(said).toEqual([]);
    reload.look();
    await expect.poll(() => replaced, { timeout: 30_000 }).toBe(1);
    expect(said.join()).toContain('the key server takes them');
  });

  it('that is taken out or put in needs no restart either', async () => {
    configure();
    expect(await reload.reload()).toEqual({ replaced: ['key-server'], needsRestart: [] });
    await expect(bytesOf()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    configure(`${section()}  recheck: 30s\n`);
    expect(await reload.reload()).toEqual({ replaced: ['key-server'], needsRestart: ['keys.recheck'] });
    expect(await bytesOf()).toBe('k'.repeat(64));
  });

  it('that cannot be reached keeps no new keys of the store from being used, nor those its own', async () => {
    known.add('new-access');
    put('access', 'new-access');
    configure(section(user, new URL('https://127.0.0.1:1/v1')));
    await expect(reload.reload()).rejects.toMatchObject({ code: 'KEY_SERVER_UNREACHABLE' });
    await images.stat(IMAGE);
    expect([keyOf(-1), replaced]).toEqual(['new-access', 1]);
    put('access', 'wrong-access');
    const next = anotherCredential();
    configure(section(next));
    const refused = reload.reload({ keyServerSecret: new Secret(next.credentialSecret) });
    await expect(refused).rejects.toMatchObject({ code: 'STORE_ACCESS_DENIED' });
    expect([await bytesOf(), replaced]).toEqual(['k'.repeat(64), 2]);
  });

  it('that denies what it was asked with the identity before is asked again with the new one', async () => {
    const asked = Promise.withResolvers<() => void>();
    server.misbehaves.barbican = (_request, response) => {
      server.misbehaves = {};
      asked.resolve(() => response.writeHead(403).end());
      return true;
    };
    const read = bytesOf();
    const deny = await asked.promise;
    const next = anotherCredential();
    configure(section(next));
    await reload.reload({ keyServerSecret: new Secret(next.credentialSecret) });
    deny();
    expect(await read).toBe('k'.repeat(64));
  });
});
