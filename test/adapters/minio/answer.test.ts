/**
 * Goal: whoever reads an object front to back gets its bytes, however reads and packets are cut, over few
 * requests, and a store that is faster than its reader waits. Method: a server that answers byte by byte as
 * told, with and without TLS.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MinioImages } from '../../../src/adapters/minio/images.ts';
import { fetchRange } from '../../../src/provision/stream/fetch-range.ts';
import type { ImageObject } from '../../../src/provision/ports/images.ts';
import { FakeClock } from '../../provision/fake-images.ts';

const MIB = 1 << 20;
const IMAGE = { bucket: 'images', key: 'disk' };

/** Any byte of any object, from its place alone. */
const byteAt = (place: number): number => (place * 31 + (place >>> 11)) & 0xff;

/** After so many bytes they come again. Copied: a store that makes 64 MiB one by one keeps its readers waiting. */
const PERIOD = 2 ** 19;
const pattern = Buffer.from(Array.from({ length: PERIOD }, (_, place) => byteAt(place)));

function bytesOf(beginBytes: number, endBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(endBytes - beginBytes);
  for (let at = 0; at < bytes.length;) at += pattern.copy(bytes, at, (beginBytes + at) % PERIOD);
  return bytes;
}

interface Asked {
  readonly beginBytes: number;
  readonly endBytes: number;
  readonly socket: Socket;
}

type Send = (asked: Asked, body: Buffer) => void | Promise<void>;

class FakeStore {
  readonly asked: Asked[] = [];
  readonly sockets = new Set<Socket>();
  sizeBytes = 0;
  send: Send = ({ socket }, body) => void socket.write(body);
  readonly #server: Server;

  constructor(tls?: { readonly key: Buffer; readonly cert: Buffer }) {
    const serve = (socket: Socket): void => {
      this.sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
      let text = '';
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1');
        if (!text.endsWith('\r\n\r\n')) return;
        const [, first, last] = /range: bytes=(\d+)-(\d+)/.exec(text) ?? [];
        text = '';
        this.#answer({ socket, beginBytes: Number(first), endBytes: Number(last) + 1 });
      });
    };
    this.#server = tls === undefined ? createServer(serve) : createTlsServer(tls, serve);
  }

  object(): ImageObject {
    return { image: IMAGE, sizeBytes: this.sizeBytes, etag: 'e1' };
  }

  async listen(): Promise<number> {
    await new Promise<void>((ready) => this.#server.listen(0, '127.0.0.1', ready));
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((closed) => this.#server.close(closed));
  }

  #answer(asked: Asked): void {
    this.asked.push(asked);
    const { beginBytes, endBytes, socket } = asked;
    const range = `bytes ${beginBytes}-${endBytes - 1}/${this.sizeBytes}`;
    const head = `HTTP/1.1 206 Partial Content\r\netag: "e1"\r\ncontent-range: ${range}\r\n`;
    socket.write(`${head}content-length: ${endBytes - beginBytes}\r\n\r\n`);
    void this.send(asked, bytesOf(beginBytes, endBytes));
  }
}

let folder = '';
let certificate = { key: Buffer.alloc(0), cert: Buffer.alloc(0) };
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'answer-'));
  const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=store'],
      ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  );
  certificate = { key: readFileSync(key), cert: readFileSync(cert) };
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let store: FakeStore;
let images: MinioImages;

/** Far beyond what any answer here takes, unless it is the waiting that is tested. */
async function start(secure: boolean, idleTimeoutMs = 30_000): Promise<void> {
  store = new FakeStore(secure ? certificate : undefined);
  images = new MinioImages({
    endpoint: `${secure ? 'https' : 'http'}://127.0.0.1:${await store.listen()}`,
    ...{ accessKey: 'access', secretKey: 'secret-key', connectTimeoutMs: 30_000, idleTimeoutMs },
    ...(secure ? { caPem: certificate.cert.toString() } : {}),
  });
}

afterEach(async () => {
  images.close();
  await store.close();
});

const { signal: never } = new AbortController();

/** Reads [offset, offset + length), as one who reads on afterwards. */
async function read(offsetBytes: number, lengthBytes: number, signal = never): Promise<Buffer> {
  const target = Buffer.alloc(lengthBytes);
  await images.readInto(store.object(), offsetBytes, target, { signal, goesOn: true });
  return target;
}

async function expectRead(offsetBytes: number, lengthBytes: number): Promise<void> {
  const bytes = await read(offsetBytes, lengthBytes);
  // Not toEqual: it would print megabytes.
  expect(bytes.equals(bytesOf(offsetBytes, offsetBytes + lengthBytes))).toBe(true);
}

async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (let tries = 0; tries < 2_000; tries++) {
    if (isTrue()) return;
    await pause(5);
  }
  throw new Error(`never came true: ${what}`);
}

describe.each([
  ['without TLS', false],
  ['with TLS', true],
])('reads in a row, %s', (_name, secure) => {
  it('are one request, one after the other and several at once', async () => {
    await start(secure);
    store.sizeBytes = 3 * MIB + 777;
    for (let at = 0; at < MIB; at += MIB / 4) await expectRead(at, MIB / 4);
    await Promise.all([1, 1.5, 2, 2.5].map((mib) => expectRead(mib * MIB, MIB / 2)));
    await expectRead(3 * MIB, 777);
    expect(store.asked.map(({ beginBytes, endBytes }) => [beginBytes, endBytes])).toEqual([
      [0, store.sizeBytes],
    ]);
    // Read to its end, the connection serves the next request.
    await expectRead(0, 100);
    expect(store.asked).toHaveLength(2);
    expect(store.sockets.size).toBe(1);
  });

  it('make a store wait that is faster than its reader', async () => {
    await start(secure);
    store.sizeBytes = 48 * MIB;
    await expectRead(0, 100);
    const [asked] = store.asked;
    // The kernel's buffers are full, and what is left stands at the server.
    await until('it waits', () => (asked?.socket.writableLength ?? 0) > 0);
    expect(asked?.socket.writableLength).toBeGreaterThan(MIB);
    for (let at = 100; at < store.sizeBytes; at += 5 * MIB) {
      await expectRead(at, Math.min(5 * MIB, store.sizeBytes - at));
    }
    expect(store.asked).toHaveLength(1);
  });

  it('get the right bytes, however they and the packets are cut', async () => {
    await start(secure);
    const cuts = fc.record({
      sizeBytes: fc.integer({ min: 1, max: 700_000 }),
      reads: fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 12 }),
      packets: fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 8 }),
      atOnce: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(cuts, async ({ sizeBytes, reads, packets, atOnce }) => {
        store.sizeBytes = sizeBytes;
        store.asked.length = 0;
        store.send = async ({ socket }, body) => {
          for (let at = 0, index = 0; at < body.length; index++) {
            const lengthBytes = packets[index % packets.length] ?? 1;
            socket.write(body.subarray(at, at + lengthBytes));
            at += lengthBytes;
            if (index % 3 === 0) await pause(0);
          }
        };
        let at = 0;
        for (let index = 0; at < sizeBytes;) {
          const group: Promise<void>[] = [];
          for (let lane = 0; lane < atOnce && at < sizeBytes; lane++, index++) {
            const lengthBytes = Math.min(reads[index % reads.length] ?? 1, sizeBytes - at);
            group.push(expectRead(at, lengthBytes));
            at += lengthBytes;
          }
          await Promise.all(group);
        }
        expect(store.asked).toHaveLength(1);
      }),
      { numRuns: 25, seed: 4 },
    );
  });
});

describe('reads in a row', () => {
  it('ask for no more than 64 MiB at once, up to a round place', async () => {
    await start(false);
    store.sizeBytes = 200 * MIB;
    store.send = ({ socket, beginBytes }) => void socket.write(bytesOf(beginBytes, beginBytes + 4 * MIB));
    await expectRead(60 * MIB, 4 * MIB);
    await expectRead(64 * MIB, 4 * MIB);
    const ends = store.asked.map(({ beginBytes, endBytes }) => [beginBytes / MIB, endBytes / MIB]);
    expect(ends).toEqual([
      [60, 64],
      [64, 128],
    ]);
  });

  it('that are not in a row are requests of their own', async () => {
    await start(false);
    store.sizeBytes = MIB;
    await expectRead(0, 1000);
    await expectRead(5000, 1000);
    await expectRead(1000, 1000);
    expect(store.asked.map(({ beginBytes }) => beginBytes)).toEqual([0, 5000]);
    // The first one goes on: it was never read further. The second ends where the object does.
    expect(store.asked[0]?.endBytes).toBe(MIB);
  });

  it('stop before what is being read already', async () => {
    await start(false);
    store.sizeBytes = MIB;
    await expectRead(5000, 1000);
    await expectRead(0, 1000);
    expect(store.asked.map(({ beginBytes, endBytes }) => [beginBytes, endBytes])).toEqual([
      [5000, MIB],
      [0, 6000],
    ]);
  });

  it('of another state of the object are requests of their own', async () => {
    await start(false);
    store.sizeBytes = MIB;
    await expectRead(0, 1000);
    const target = Buffer.alloc(1000);
    const other = images.readInto({ ...store.object(), etag: 'e2' }, 1000, target, {
      signal: never,
      goesOn: true,
    });
    await expect(other).rejects.toMatchObject({ code: 'IMAGE_CHANGED' });
    expect(store.asked).toHaveLength(2);
  });

  it('go on with a new request where the store broke off', async () => {
    await start(false);
    store.sizeBytes = MIB;
    store.send = ({ socket }, body) => void socket.end(body.subarray(0, 1500));
    await expectRead(0, 1000);
    let gotBytes = 0;
    const target = Buffer.alloc(1000);
    const broken = images.readInto(store.object(), 1000, target, {
      ...{ signal: never, goesOn: true },
      onBytes: (countBytes) => (gotBytes += countBytes),
    });
    await expect(broken).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(gotBytes).toBe(500);
    expect(target.subarray(0, 500).equals(bytesOf(1000, 1500))).toBe(true);
    store.send = ({ socket }, body) => void socket.write(body);
    await expectRead(1500, 500);
    await expectRead(2000, 500);
    expect(store.asked.map(({ beginBytes }) => beginBytes)).toEqual([0, 1500]);
  });

  it('are not disturbed by one that stops', async () => {
    await start(false);
    store.sizeBytes = MIB;
    store.send = ({ socket }, body) => void socket.write(body.subarray(0, 2500));
    const stop = new AbortController();
    const first = expectRead(0, 1000);
    const second = read(1000, 1000, stop.signal);
    const third = read(2000, 1000, stop.signal);
    const fourth = expectRead(3000, 1000);
    await Promise.all([first, second]);
    store.send = ({ socket }, body) => void socket.write(body);
    stop.abort();
    await expect(third).rejects.toMatchObject({ code: 'CANCELLED' });
    await fourth;
    expect(store.asked.map(({ beginBytes }) => beginBytes)).toEqual([0, 3000]);
  });

  describe('whose answer ends twice in the middle of one of them, first with another reader', () => {
    /** Reader 2 of 3 has half of its bytes; then the third ends the answer, and the next one breaks off, too. */
    async function broken(readSecond: () => Promise<void>, hasHalf: () => boolean): Promise<void> {
      await start(false);
      store.sizeBytes = MIB;
      store.send = ({ socket }, body) => void socket.write(body.subarray(0, 1500));
      await expectRead(0, 1000);
      const stop = new AbortController();
      const second = readSecond();
      const third = expect(read(2000, 1000, stop.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
      await until('half of it is there', hasHalf);
      store.send = ({ socket }, body) => {
        store.send = (next, whole) => void next.socket.write(whole);
        socket.end(body.subarray(0, 300));
      };
      stop.abort();
      await Promise.all([second, third]);
    }

    it('are told of each byte once', async () => {
      const target = Buffer.alloc(1000);
      let gotBytes = 0;
      const onBytes = (countBytes: number) => {
        gotBytes += countBytes;
        // Whoever goes on behind what was counted must not leave a gap.
        expect(target.subarray(0, gotBytes).equals(bytesOf(1000, 1000 + gotBytes))).toBe(true);
      };
      const options = { signal: never, goesOn: true, onBytes };
      await broken(
        () =>
          expect(images.readInto(store.object(), 1000, target, options)).rejects.toMatchObject({
            code: 'STORE_UNREACHABLE',
          }),
        () => gotBytes === 500,
      );
      expect(gotBytes).toBe(800);
      expect(target.subarray(0, 800).equals(bytesOf(1000, 1800))).toBe(true);
      expect(target.subarray(800).every((byte) => byte === 0)).toBe(true);
      expect(store.asked.map(({ beginBytes }) => beginBytes)).toEqual([0, 1500]);
    });

    it('are complete in the end', async () => {
      const target = Buffer.alloc(1000);
      const source = { signal: never, goesOn: true, clock: new FakeClock() };
      await broken(
        () => fetchRange({ ...source, images, object: store.object() }, 1000, target),
        () => target.subarray(0, 500).equals(bytesOf(1000, 1500)),
      );
      expect(target.equals(bytesOf(1000, 2000))).toBe(true);
      expect(store.asked.map(({ beginBytes }) => beginBytes)).toEqual([0, 1500, 1800]);
    });
  });

  it('end with whoever began them', async () => {
    await start(false);
    store.sizeBytes = 48 * MIB;
    const stop = new AbortController();
    await read(0, 1000, stop.signal);
    expect(store.sockets.size).toBe(1);
    stop.abort();
    await until('it is closed', () => store.sockets.size === 0);
  });

  it('that nobody goes on with are given up', async () => {
    await start(false, 1_000);
    store.sizeBytes = 48 * MIB;
    await expectRead(0, 1000);
    await until('it is closed', () => store.sockets.size === 0);
    // Whoever comes back late asks again.
    await expectRead(1000, 1000);
    expect(store.asked.map(({ beginBytes }) => beginBytes)).toEqual([0, 1000]);
  });

  it('are not too slow when their reader is', async () => {
    await start(false, 3_000);
    store.sizeBytes = 24 * MIB;
    for (let at = 0; at < store.sizeBytes; at += 8 * MIB) {
      await expectRead(at, 8 * MIB);
      // All together longer than a store may be silent.
      await pause(1_500);
    }
    expect(store.asked).toHaveLength(1);
  });
});
