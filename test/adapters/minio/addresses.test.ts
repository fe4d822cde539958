/**
 * Goal: no byte goes to an address that the configuration does not allow, whoever names it: DNS, or the store with a
 * redirect. Method: real servers on loopback that count who comes to them.
 */
import type { LookupAddress } from 'node:dns';
import dns from 'node:dns';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AddressRefused, StoreAddresses } from '../../../src/adapters/minio/addresses.ts';
import { MinioImages } from '../../../src/adapters/minio/images.ts';
import { toProblem } from '../../../src/core/errors.ts';
import type { Subnet } from '../../../src/core/settings/subnet.ts';
import type { FakeS3 } from '../fake-s3.ts';
import { BODY, startFakeS3 } from '../fake-s3.ts';

const IMAGE = { bucket: 'images', key: 'debian.raw' };
const OBJECT = { image: IMAGE, sizeBytes: BODY.length, etag: '0123456789abcdef' };
const LOOPBACK: readonly Subnet[] = [
  { address: '127.0.0.0', prefix: 8, family: 'ipv4' },
  { address: '::1', prefix: 128, family: 'ipv6' },
];
const ELSEWHERE: readonly Subnet[] = [
  { address: '192.0.2.0', prefix: 24, family: 'ipv4' },
  { address: '2001:db8::', prefix: 32, family: 'ipv6' },
];

/** Every way in which the store is asked for something. */
const WAYS: readonly (readonly [string, (images: MinioImages) => Promise<unknown>])[] = [
  ['stat', (images) => images.stat(IMAGE)],
  ['a text', (images) => images.readText(IMAGE)],
  [
    'a range',
    (images) => images.readInto(OBJECT, 0, Buffer.alloc(100), { signal: new AbortController().signal }),
  ],
];

const opened: MinioImages[] = [];

function open(endpoint: string, addresses?: readonly Subnet[]): MinioImages {
  const images = new MinioImages({
    ...{ endpoint, addresses, accessKey: 'access', secretKey: 'secret' },
    ...{ connectTimeoutMs: 1_000, idleTimeoutMs: 1_000 },
  });
  opened.push(images);
  return images;
}

afterEach(() => {
  for (const images of opened.splice(0)) images.close();
});

describe('addresses of the store', () => {
  let store: FakeS3;
  beforeEach(async () => {
    store = await startFakeS3();
  });
  afterEach(() => store.close());

  it.each(WAYS)('that are allowed are asked, as a name and as an address: %s', async (_, ask) => {
    store.misbehave = ({ method, headers }, answer) => {
      if (method === 'HEAD' || headers.range !== undefined) return false;
      answer.end('a text');
      return true;
    };
    await ask(open(store.endpoint, LOOPBACK));
    await ask(open(store.endpoint.replace('127.0.0.1', 'localhost'), LOOPBACK));
    expect(store.requests).toHaveLength(2);
  });
});

describe('addresses that are not allowed', () => {
  let connections = 0;
  let server: net.Server;
  let port = 0;
  beforeEach(async () => {
    connections = 0;
    server = net.createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    ({ port } = server.address() as AddressInfo);
  });
  afterEach(() => new Promise((closed) => server.close(closed)));

  const places = ['http://localhost', 'http://127.0.0.1', 'https://localhost', 'https://127.0.0.1'];
  const cases = WAYS.flatMap(([what, ask]) => places.map((place) => [what, place, ask] as const));
  it.each(cases)('are never connected to: %s from %s', async (_what, place, ask) => {
    const images = open(`${place}:${port}`, ELSEWHERE);
    const problem = toProblem(await ask(images).catch((error: unknown) => error));
    expect(problem).toMatchObject({
      code: 'STORE_UNREACHABLE',
      message: expect.stringMatching(/is not within minio\.addresses\.$/) as string,
      hint: expect.stringContaining('Nothing was sent.') as string,
    });
    // One that had been made would be here by now.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(connections).toBe(0);
  });
});

describe('a name that stands for several addresses', () => {
  /** A resolver that answers with these. */
  function resolving(...found: LookupAddress[]): typeof dns.lookup {
    const lookup = (
      _name: string,
      _options: unknown,
      callback: (error: null, found: LookupAddress[]) => void,
    ) => {
      callback(null, found);
    };
    return lookup as typeof dns.lookup;
  }
  const outside = { address: '10.0.0.1', family: 4 };
  const inside = { address: '127.0.0.1', family: 4 };

  function lookUp(resolve: typeof dns.lookup, options: dns.LookupOptions): Promise<unknown> {
    const { lookup } = new StoreAddresses(LOOPBACK, resolve);
    return new Promise((found, failed) => {
      lookup('store', options, (error, address, family) => {
        if (error === null) found(family === undefined ? address : { address, family });
        else failed(error);
      });
    });
  }

  it('is connected to at those that are allowed', async () => {
    expect(await lookUp(resolving(outside, inside), { all: true })).toEqual([inside]);
    expect(await lookUp(resolving(outside, inside), {})).toEqual(inside);
  });

  it('is refused if none is, or the name is unknown', async () => {
    const refused = lookUp(resolving(outside), { all: true });
    await expect(refused).rejects.toThrow(AddressRefused);
    await expect(refused).rejects.toThrow('store (10.0.0.1) is not within minio.addresses');
    await expect(lookUp(resolving(), {})).rejects.toThrow(AddressRefused);
    await expect(lookUp(dns.lookup, {})).rejects.toMatchObject({ syscall: 'getaddrinfo' });
  });

  it('is judged by the address, however it is written', async () => {
    const mapped = { address: '::ffff:127.0.0.1', family: 6 };
    const other = { address: '::ffff:10.0.0.1', family: 6 };
    expect(await lookUp(resolving(mapped, other), { all: true })).toEqual([mapped]);
  });
});

describe('a redirect to another host', () => {
  let store: FakeS3;
  let other: FakeS3;
  beforeEach(async () => {
    [store, other] = await Promise.all([startFakeS3(), startFakeS3()]);
  });
  afterEach(() => Promise.all([store.close(), other.close()]));

  const cases = WAYS.flatMap(([what, ask]) =>
    [301, 302, 303, 307, 308].map((status) => [what, status, ask] as const),
  );
  it.each(cases)('is not followed: %s, %i', async (_what, status, ask) => {
    store.misbehave = (request, answer) => {
      answer.writeHead(status, {
        location: `${other.endpoint}${request.url ?? ''}`,
        'x-amz-bucket-region': 'elsewhere-1',
      });
      answer.end();
      return true;
    };
    const problem = toProblem(await ask(open(store.endpoint)).catch((error: unknown) => error));
    expect(problem).toMatchObject({
      code: 'STORE_UNREACHABLE',
      hint: expect.stringContaining('never followed') as string,
    });
    expect(store.requests).toHaveLength(1);
    expect(other.requests).toEqual([]);
  });
});
