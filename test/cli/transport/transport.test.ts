/**
 * Goal: whichever way lvp asks, it is told the same. Method: one suite for both ways, against a real control socket and
 * a real HTTP API over the same fakes of the daemon.
 */
import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Daemon } from '../../../src/cli/daemon.ts';
import { exitCodeOf } from '../../../src/cli/program/exit-codes.ts';
import { ControlTransport } from '../../../src/cli/transport/control-transport.ts';
import { HttpsTransport } from '../../../src/cli/transport/https-transport.ts';
import type { Transport } from '../../../src/cli/transport/transport.ts';
import type { ErrorCode } from '../../../src/core/errors.ts';
import { ProvisionError, toProblem } from '../../../src/core/errors.ts';
import { DB, EVENTS, FAILED_JOB, JOB, WEB } from '../fake-verbs.ts';
import { useDaemons } from './daemons.ts';

const daemons = useDaemons();
const ANNOTATE = { target: 'vda', image: 'images/a.raw', format: 'raw', size: '2GiB', dryRun: true } as const;
const IMAGE = { image: 'images/a.raw', format: 'raw' } as const;
const XML = `<domain><name>a</name><uuid>${WEB.uuid}</uuid></domain>`;

async function problemOf(work: Promise<unknown>) {
  try {
    await work;
  } catch (error) {
    return toProblem(error);
  }
  throw new Error('it was done');
}

describe.each([
  ['the control socket', (): Transport => daemons.control()],
  ['the HTTP API', (): Transport => daemons.https()],
])('over %s', (_way, open) => {
  const daemon = () => new Daemon(open());

  it('a domain is looked at, and asked for', async () => {
    const { verbs } = daemons;
    expect(await daemon().domains()).toEqual(await verbs.domains());
    expect(await daemon().domain('web1')).toEqual(WEB);
    expect(await daemon().explain('web1')).toEqual(await verbs.explain('web1'));
    expect(await daemon().disks()).toEqual(await verbs.disks());
    expect((await daemon().disks('db1')).domains.map(({ name }) => name)).toEqual(['db1']);
    expect(await daemon().annotate('web1', ANNOTATE)).toMatchObject({ applied: false });
    expect(await daemon().cancel('web1', 'vda')).toEqual(WEB);
    expect(await daemon().retry('web1', undefined)).toEqual(WEB);
    expect(await daemon().provision(XML)).toEqual(WEB);
    expect(await daemon().reprovision('web1', { target: 'vda', dryRun: true })).toMatchObject({
      name: 'web1',
    });
    expect(verbs.calls).toEqual([
      ['annotate', 'web1', ANNOTATE],
      ['cancel', 'web1', 'vda'],
      ['retry', 'web1', undefined],
      ['provision', XML.length],
      ['reprovision', 'web1', { target: 'vda', dryRun: true }],
    ]);
  });

  it('a name is a name, whatever is in it', async () => {
    const asked: string[] = [];
    daemons.verbs.domain = (name) => {
      asked.push(name);
      return Promise.resolve(DB);
    };
    for (const name of ['a/b?c#d%20', 'ü ö', '..', 'provision']) await daemon().domain(name);
    expect(asked).toEqual(['a/b?c#d%20', 'ü ö', '..', 'provision']);
  });

  it('jobs are begun, shown and changed', async () => {
    const request = { image: 'images/a.raw', format: 'raw', volume: 'a' } as const;
    expect(await daemon().startJob(request)).toEqual(JOB);
    expect(await daemon().job(FAILED_JOB.id)).toEqual(FAILED_JOB);
    expect(await daemon().jobs({ state: 'failed', limit: 7 })).toEqual({ jobs: [JOB, FAILED_JOB] });
    expect(await daemon().changeJob('cancel', JOB.id)).toEqual(JOB);
    expect(await daemon().changeJob('retry', JOB.id)).toEqual(JOB);
    expect(daemons.jobs.calls).toMatchObject([
      ['start', request, expect.any(String)],
      ['jobs', { state: 'failed', limit: 7 }],
      ['cancel', JOB.id],
      ['retry', JOB.id],
    ]);
    expect(await problemOf(daemon().job('nobody'))).toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('images are looked at, read with progress, and removed', async () => {
    const { images } = daemons;
    expect(await daemon().images()).toEqual(await images.images());
    expect(await daemon().storedImages()).toEqual(await images.stored());
    expect(await daemon().inspectImage(IMAGE)).toEqual(await images.inspect(IMAGE));
    const progress: number[][] = [];
    const read = await daemon().readImage('verify', IMAGE, (...step) => progress.push(step));
    expect([read.proven, progress]).toEqual([true, [[50, 100]]]);
    expect(await daemon().readImage('prefetch', IMAGE, () => undefined)).toMatchObject({ cached: true });
    const bad = daemon().readImage('prefetch', { ...IMAGE, image: 'images/bad' }, () => undefined);
    expect(await problemOf(bad)).toEqual({
      ...{ code: 'DIGEST_MISMATCH', message: 'The image images/bad has another digest.' },
      hint: 'Upload it again.',
    });
    expect((await daemon().collectImages(true)).evicted).toHaveLength(1);
  });

  it('what goes on is seen', async () => {
    expect(await daemon().audit({ limit: 5 })).toEqual({ events: EVENTS, more: false });
    expect(await daemon().metrics()).toBe('up 1\n');
  });

  it.each<ErrorCode>([
    ...(['USAGE', 'ANNOTATION_INVALID', 'DOMAIN_NOT_FOUND', 'DISK_NOT_FOUND', 'JOB_NOT_FOUND'] as const),
    ...(['DISK_UNSUITABLE', 'POOL_INACTIVE', 'POLICY_REFUSED', 'VOLUME_STATE', 'FROZEN'] as const),
    ...(['VG_FULL', 'QUEUE_FULL', 'LIBVIRT_UNAVAILABLE', 'STORE_UNREACHABLE', 'TIMEOUT'] as const),
    ...(['DOMAIN_XML_INVALID', 'IMAGE_NOT_FOUND', 'DIGEST_MISMATCH', 'INTERNAL'] as const),
  ])('%s is told as it is, and ends lvp with the same exit code', async (code) => {
    const problem = { code, message: 'It is\nnot so.', hint: 'Do this.' };
    daemons.verbs.domain = () => Promise.reject(new ProvisionError(problem));
    const told = await problemOf(daemon().domain('web1'));
    expect(told).toEqual(problem);
    expect(exitCodeOf(told)).toBe(exitCodeOf(problem));
  });

  it('what is not valid is a mistake of the call', async () => {
    const wrong = { ...ANNOTATE, target: 'no disk' };
    expect(await problemOf(daemon().annotate('web1', wrong))).toMatchObject({ code: 'USAGE' });
  });

  it('an answer in other words than this lvp knows is none', async () => {
    await expect(open().ask({ method: 'GET', path: '/v1/nothing' })).rejects.toThrow(/There is no/);
  });
});

/** Answers with these bytes, or with nothing. */
async function listen(server: Server, where: string | number): Promise<Server> {
  const listening = once(server, 'listening');
  if (typeof where === 'number') server.listen(where, '127.0.0.1');
  else server.listen(where);
  await listening;
  return server;
}

describe.each(['the control socket', 'the HTTP API'])('what else may be at the end of %s', (way) => {
  let server: Server;
  afterEach(() => new Promise((closed) => server.close(closed)));

  async function at(bytes: string | undefined, deadlineMs?: number): Promise<Transport> {
    server = createServer((connection) => {
      connection.on('error', () => undefined).resume();
      if (bytes !== undefined) connection.end(bytes);
    });
    if (way === 'the control socket') {
      const path = join(daemons.folder, 'other.sock');
      await listen(server, path);
      return new ControlTransport(path, deadlineMs);
    }
    await listen(server, 0);
    const { port } = server.address() as AddressInfo;
    return new HttpsTransport(new URL(`http://127.0.0.1:${port}`), {}, deadlineMs);
  }

  it.each([
    ['breaks off', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{'],
    ['speaks another language', 'what?\r\n\r\n'],
    ['says nothing', ''],
  ])('somebody who %s cannot be asked', async (_what, bytes) => {
    const daemon = new Daemon(await at(bytes));
    expect(await problemOf(daemon.domains())).toMatchObject({ code: 'DAEMON_UNREACHABLE' });
  });

  it('somebody who does not answer in time cannot be asked', async () => {
    const daemon = new Daemon(await at(undefined, 100));
    const { code, message } = await problemOf(daemon.domains());
    expect([code, message]).toEqual([
      'DAEMON_UNREACHABLE',
      expect.stringContaining('no answer within 0.1 s'),
    ]);
  });

  it('an answer of any length is not taken', async () => {
    const body = '"'.padEnd(17 * 2 ** 20, 'x');
    const daemon = new Daemon(await at(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
    expect((await problemOf(daemon.domains())).message).toContain('the answer is too long');
  });

  it('an answer that is no list of domains is not taken for one', async () => {
    const daemon = new Daemon(await at('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'));
    expect(await problemOf(daemon.domains())).toMatchObject({ code: 'INTERNAL' });
  });
});
