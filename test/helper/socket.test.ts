/** The daemon's adapter against the helper's socket: both ends real, LVM a model. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LvmHelper } from '../../src/adapters/lvm-helper.ts';
import { keyLengthsOf } from '../../src/core/protocol/helper-protocol.ts';
import type { Connections, Served } from '../../src/helper/connections.ts';
import { serveLines } from '../../src/helper/connections.ts';
import { answer } from '../../src/helper/requests.ts';
import { keepsContractOfLuksVolumes } from './luks-contract.ts';
import { MemoryLvm } from './memory-lvm.ts';
import { keepsContractOfVolumes } from './volumes-contract.ts';

const volume = {
  vg: 'vg0',
  fillId: '0123456789abcdef',
  target: 'web-root',
  domainUuid: '11111111-2222-3333-4444-555555555555',
};

let folder = '';
let path = '';
let running: Connections | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'helper-'));
  path = join(folder, 'socket');
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await rm(folder, { recursive: true });
});

function serve(
  answerLine: (line: string) => Promise<string>,
  mayAsk: (uid: number | undefined) => boolean = () => true,
): Promise<Connections> {
  const answered = async (line: string) => ({ line: await answerLine(line) });
  return serveAll({ answer: answered, keyLengthsOf: () => [], mayAsk });
}

function serveAll(served: Served): Promise<Connections> {
  return new Promise((resolve) => {
    const connections = serveLines(served);
    running = connections;
    connections.server.listen(path, () => {
      resolve(connections);
    });
  });
}

function serveModel(model: MemoryLvm): Promise<Connections> {
  const groups = { own: ['vg0'], verified: [], shared: [], thinPools: new Map([['vg0', 'pool0']]) };
  return serveAll({
    answer: (line, keys) => answer(line, model.tools(), () => Promise.resolve(groups), keys),
    keyLengthsOf,
    mayAsk: () => true,
  });
}

/** Everything the helper says to these bytes before it hangs up. */
function say(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path, () => socket.write(bytes));
    let heard = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => (heard += chunk));
    socket.on('close', () => {
      resolve(heard);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || error.code === 'ECONNRESET') resolve(heard);
      else reject(error);
    });
  });
}

describe('the port', () => {
  keepsContractOfVolumes(async () => {
    const model = new MemoryLvm();
    model.addPool('pool0');
    await serveModel(model);
    return { volumes: new LvmHelper(path), model };
  });
});

describe('an encrypted volume, through the port,', () => {
  keepsContractOfLuksVolumes(async () => {
    await serveModel(new MemoryLvm());
    const volumes = new LvmHelper(path);
    return { volumes, luks: volumes.luks };
  });
});

describe('a key', () => {
  it('is read from its file by the helper, and wiped there', async () => {
    const model = new MemoryLvm();
    const bytes = Buffer.from('0123456789abcdefghijklmnopqrstuvwxyz+/==\n'.repeat(2)).subarray(0, 40);
    model.keys.set('web', bytes);
    model.keys.set('short', Buffer.from('short'));
    model.keys.set('newline', Buffer.from(`${'k'.repeat(40)}\n`));
    await serveModel(model);
    const { luks } = new LvmHelper(path);
    const key = await luks.readKey('web');
    expect(key.bytes).toEqual(bytes);
    key.wipe();
    expect(key.bytes.every((byte) => byte === 0)).toBe(true);
    await expect(luks.readKey('gone')).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    for (const name of ['short', 'newline']) {
      await expect(luks.readKey(name)).rejects.toMatchObject({ code: 'KEY_UNUSABLE' });
    }
  });
});

describe('a call', () => {
  it('brings the result back', async () => {
    const model = new MemoryLvm();
    await serveModel(model);
    const helper = new LvmHelper(path);
    expect(await helper.create(volume, 5_000_000)).toEqual({ made: 'created', sizeBytes: 8 << 20 });
    expect((await helper.list()).volumes.map((row) => row.lv)).toEqual(['lvp-fill-0123456789abcdef']);
    await helper.discard(volume);
    expect((await helper.list()).volumes).toEqual([]);
  });

  it('sends no field that the port’s types allow but the helper does not know', async () => {
    await serveModel(new MemoryLvm());
    const more = { ...volume, pool: 'guests' };
    expect(await new LvmHelper(path).create(more, 1)).toMatchObject({ made: 'created' });
  });

  it('fails with the helper’s own code, message and hint', async () => {
    await serveModel(new MemoryLvm());
    await expect(new LvmHelper(path).adopt(volume)).rejects.toMatchObject({
      code: 'VOLUME_MISSING',
      message: 'There is no logical volume vg0/web-root.',
      hint: 'See lvs vg0.',
    });
  });

  it('without a helper fails with HELPER_UNAVAILABLE and says where to look', async () => {
    await expect(new LvmHelper(path).list()).rejects.toMatchObject({
      code: 'HELPER_UNAVAILABLE',
      hint: expect.stringContaining('systemctl status libvirt-volume-provisioner-helper.socket') as string,
    });
  });

  it('to a helper that never answers ends in time', async () => {
    const never = Promise.withResolvers<string>();
    await serve(() => never.promise);
    await expect(new LvmHelper(path, 50).list()).rejects.toMatchObject({ code: 'TIMEOUT' });
    never.resolve('');
  });

  it.each(['nonsense', '{"ok":true,"result":{"volumes":[]}}', '{"ok":false}'])(
    'that is answered with %s fails with HELPER_FAILED',
    async (line) => {
      await serve(() => Promise.resolve(line));
      await expect(new LvmHelper(path).list()).rejects.toMatchObject({ code: 'HELPER_FAILED' });
    },
  );
});

describe('the socket', () => {
  it('asks the kernel who calls, and hangs up on whoever may not', async () => {
    const asked: (number | undefined)[] = [];
    const lines: string[] = [];
    const answerLine = (line: string) => {
      lines.push(line);
      return Promise.resolve('{}');
    };
    await serve(answerLine, (uid) => {
      asked.push(uid);
      return false;
    });
    expect(await say('{}\n')).toBe('');
    expect([asked, lines]).toEqual([[process.getuid?.()], []]);
  });

  it('works on one request at a time, whoever asks', async () => {
    let atOnce = 0;
    let atOnceMax = 0;
    await serve(async () => {
      atOnce += 1;
      atOnceMax = Math.max(atOnceMax, atOnce);
      await new Promise((resolve) => setTimeout(resolve, 5));
      atOnce -= 1;
      return '{"ok":true,"result":{"blank":true}}';
    });
    const helper = new LvmHelper(path);
    await Promise.all(Array.from({ length: 10 }, () => helper.examine('vg0', 'x')));
    expect(atOnceMax).toBe(1);
  });

  it('hangs up on a line longer than 64 KiB, before it ends', async () => {
    await serveModel(new MemoryLvm());
    expect(await say('x'.repeat(70_000))).toBe('');
    expect(await say(`${'x'.repeat(70_000)}\n`)).toBe('');
  });

  it('hands keys on as they are, in whatever pieces they come, and wipes them', async () => {
    const given: Buffer[] = [];
    const seen: string[] = [];
    await serveAll({
      answer: (line, keys) => {
        seen.push(line, ...keys.map((key) => key.toString('latin1')));
        given.push(...keys);
        return Promise.resolve({ line: '{}' });
      },
      keyLengthsOf: (line) => (line === 'end' ? undefined : Array.from(line, Number)),
      mayAsk: () => true,
    });
    // A newline in a key is no end of a line.
    await say('34\nab\ndefg12\nxyzend\n');
    expect(seen).toEqual(['34', 'ab\n', 'defg', '12', 'x', 'yz', 'end']);
    expect(given.every((key) => key.every((byte) => byte === 0))).toBe(true);
  });

  it('reads nothing behind a line that is no request: it might be a key', async () => {
    const lines: string[] = [];
    await serveAll({
      answer: (line) => {
        lines.push(line);
        return Promise.resolve({ line: 'refused' });
      },
      keyLengthsOf: () => undefined,
      mayAsk: () => true,
    });
    expect(await say('{"verb":"openLuk","keyLengths":[48]}\nsecret\n')).toBe('refused\n');
    expect(lines).toEqual(['{"verb":"openLuk","keyLengths":[48]}']);
  });

  it('finishes the request under way when it is stopped, and begins no other', async () => {
    const begun: string[] = [];
    const first = Promise.withResolvers<string>();
    const connections = await serve((line) => {
      begun.push(line);
      return first.promise;
    });
    const both = say('one\ntwo\n');
    while (begun.length === 0) await new Promise(setImmediate);
    const stopped = connections.stop();
    first.resolve('done');
    await stopped;
    expect(await both).toBe('done\n');
    expect(begun).toEqual(['one']);
    running = undefined;
  });
});
