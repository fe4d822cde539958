/** Goal: new keys replace the old ones only if the store takes them, and what is being read goes on. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/adapters/config-file.ts';
import { ConfigReload } from '../../src/adapters/config-reload.ts';
import { Secret } from '../../src/adapters/config/secret.ts';
import { RotatingImages } from '../../src/adapters/minio-rotation.ts';
import type { Log } from '../../src/provision/ports.ts';
import type { FakeS3 } from './fake-s3.ts';
import { answerError, BODY, startFakeS3 } from './fake-s3.ts';

const IMAGE = { bucket: 'images', key: 'disk' };

let folder: string;
let store: FakeS3;
/** Access keys that the store knows. */
let known: Set<string>;
let images: RotatingImages;
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
  const running = loadConfig({ path, env: {} });
  images = new RotatingImages(running.config.minio);
  reload = new ConfigReload({
    ...{ running, images, log },
    load: (handed) => loadConfig({ path, env: {}, handed }),
    onReplaced: () => {
      replaced += 1;
    },
  });
});
afterEach(async () => {
  images.close();
  await store.close();
  rmSync(folder, { recursive: true });
});

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
