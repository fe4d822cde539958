/**
 * Goal: lvp audit, logs and metrics print what there is, and say what is in the way. Method: as in lvp.test.ts, with a
 * journalctl of our own in the PATH.
 */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ControlSocket } from '../../src/adapters/control-socket.ts';
import { serveControl } from '../../src/adapters/control-socket.ts';
import type { AuditQuery } from '../../src/core/protocol/audit-protocol.ts';
import {
  EVENTS,
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeVerbs,
  silent,
  WEB,
} from './fake-verbs.ts';

const cli = path.resolve(import.meta.dirname, '../../src/cli.ts');
let folder: string;
let socket: string;
let server: ControlSocket;
const asked: AuditQuery[] = [];
let more = false;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-seeing-'));
  socket = path.join(folder, 'control.sock');
  const verbs = {
    verbs: new FakeVerbs(),
    images: new FakeImageVerbs(),
    garbage: new FakeGarbageVerbs(),
    jobs: new FakeJobVerbs(),
  };
  const audit = {
    audit: (query: AuditQuery) => {
      asked.push(query);
      return Promise.resolve({ events: query.who === 'nobody' ? [] : EVENTS, more });
    },
  };
  const metrics = { contentType: 'text/plain', render: () => Promise.resolve('# TYPE up gauge\nup 1\n') };
  server = await serveControl({ path: socket, ...verbs, audit, metrics, log: silent });
});

afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

async function lvp(...args: string[]) {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [cli, ...args], {
    env: { LVP_SOCKET: socket, PATH: `${folder}:${process.env['PATH'] ?? ''}` },
    reject: false,
  });
  expect(stderr).not.toMatch(/^\s+at /m);
  return { stdout, stderr, exitCode };
}

describe('lvp audit', () => {
  test('prints an event a line', async () => {
    const { stdout, exitCode } = await lvp('audit');
    expect(stdout.split('\n')).toEqual([
      `2026-11-30T08:00:00.000Z allowed done reprovision vg0/web1-root domain:${WEB.uuid} by uid:0 [aa11]`,
      `2026-11-30T08:00:01.000Z allowed failed fill vg0/web1-root by domain:${WEB.uuid} [00112233445566aa] DIGEST_MISMATCH: It has another digest.`,
    ]);
    expect(exitCode).toBe(0);
  });

  test('asks for what was said', async () => {
    const time = '2026-11-30T08:00:00Z';
    await lvp(
      'audit',
      '--since',
      time,
      '--until',
      '2026-11-30T09:00+00:00',
      '--who',
      'uid:0',
      '--volume',
      'vg0/a',
    );
    expect(asked.at(-1)).toEqual({
      ...{ since: '2026-11-30T08:00:00.000Z', until: '2026-11-30T09:00:00.000Z', who: 'uid:0' },
      ...{ volume: 'vg0/a', limit: 1000 },
    });
    const beforeMs = Date.now();
    const { stdout } = await lvp('audit', '--since', '2h', '--domain', 'web1', '--limit', '7', '--json');
    expect(JSON.parse(stdout)).toEqual({ events: EVENTS, more: false });
    expect(asked.at(-1)).toMatchObject({ domain: 'web1', limit: 7 });
    const since = Date.parse(asked.at(-1)?.since ?? '');
    expect(since).toBeGreaterThanOrEqual(beforeMs - 7_200_000);
    expect(since).toBeLessThanOrEqual(Date.now() - 7_200_000);
  });

  test('says when there is nothing, when there is more, and when it was asked wrongly', async () => {
    expect((await lvp('audit', '--who', 'nobody')).stdout).toBe(
      'Nothing of that kind has been written down.',
    );
    more = true;
    expect((await lvp('audit')).stderr).toBe(
      'There are older ones: narrow it with --until, or raise --limit.',
    );
    more = false;
    expect(await lvp('audit', '--since', 'yesterday')).toMatchObject({ exitCode: 2 });
    expect(await lvp('audit', '--limit', 'all')).toMatchObject({ exitCode: 2 });
  });
});

describe('lvp metrics', () => {
  test('prints them as they are, or in JSON', async () => {
    expect(await lvp('metrics')).toEqual({ stdout: '# TYPE up gauge\nup 1', stderr: '', exitCode: 0 });
    expect(JSON.parse((await lvp('metrics', '--json')).stdout)).toEqual({ text: '# TYPE up gauge\nup 1\n' });
  });
});

describe('lvp logs', () => {
  const FILL = '00112233445566aa';
  const entry = (message: object | string, identifier = 'libvirt-volume-provisioner') =>
    JSON.stringify({
      MESSAGE: typeof message === 'string' ? message : JSON.stringify(message),
      ...{ SYSLOG_IDENTIFIER: identifier, __REALTIME_TIMESTAMP: '1796025600000000' },
    });
  const domain = WEB.uuid;
  const problem = { code: 'VG_FULL', message: 'vg0 is full.', hint: 'Extend it.' };
  const JOURNAL = [
    entry({ level: 30, msg: 'running' }),
    entry({ level: 40, domain, operation: 'prepare', problems: [problem], msg: 'start refused' }),
    entry({ level: 30, domain, fill: FILL, target: 'vda', sha256: 'ab', tookMs: 5, msg: 'published' }),
    entry(`{"verb":"publish","fillId":"${FILL}"} -> ok`, 'libvirt-volume-provisioner-helper'),
    entry({ level: 50, domain, fill: 'ff', target: 'vdb', problem, msg: 'failed' }),
    entry({ who: `domain:${domain}` }, 'libvirt-volume-provisioner-audit'),
    entry({ level: 30, domain: '9d3a4b1c-0000-4000-8000-000000000009', msg: 'another' }),
    'not JSON, though it names 9d3a4b1c-0000-4000-8000-000000000001',
  ];

  /** A journalctl that says this, and writes down how it was called. */
  async function journalctl(script: string): Promise<void> {
    const file = path.join(folder, 'journalctl');
    await writeFile(file, `#!/bin/sh\nprintf '%s\\n' "$@" >"$(dirname "$0")/called"\n${script}\n`);
    await chmod(file, 0o755);
  }

  async function saying(lines: readonly string[]): Promise<void> {
    await writeFile(path.join(folder, 'entries'), lines.map((line) => `${line}\n`).join(''));
    await journalctl('cat "$(dirname "$0")/entries"');
  }

  test('tells the story of a domain, and of one disk', async () => {
    await saying(JOURNAL);
    const refused =
      '2026-11-30T08:00:00.000Z warn  start refused: VG_FULL: vg0 is full. Extend it. operation=prepare';
    const published = `2026-11-30T08:00:00.000Z info  vda ${FILL} published sha256=ab tookMs=5`;
    const helped = `2026-11-30T08:00:00.000Z helper {"verb":"publish","fillId":"${FILL}"} -> ok`;
    const failed = '2026-11-30T08:00:00.000Z error vdb ff failed: VG_FULL: vg0 is full. Extend it.';
    expect((await lvp('logs', 'web1')).stdout.split('\n')).toEqual([refused, published, helped, failed]);
    expect((await lvp('logs', 'web1', 'vda')).stdout.split('\n')).toEqual([refused, published, helped]);
    expect((await lvp('logs', 'web1', 'vdb')).stdout.split('\n')).toEqual([refused, failed]);
  });

  test('passes the entries through as JSON', async () => {
    await saying(JOURNAL);
    const { stdout } = await lvp('logs', 'web1', 'vdb', '--json');
    expect(stdout.split('\n')).toEqual([JOURNAL[1], JOURNAL[4]]);
  });

  test('asks the journal of our units alone, from when on, and whether to go on', async () => {
    await saying([]);
    // By its UUID, without the daemon.
    const { stderr, exitCode } = await lvp(
      ...['logs', WEB.uuid, '--since', '2026-11-30T08:00Z', '--follow', '--socket', '/nowhere'],
    );
    expect([stderr, exitCode]).toEqual(['The journal says nothing of it.', 0]);
    expect((await readFile(path.join(folder, 'called'), 'utf8')).split('\n')).toEqual([
      ...['--output=json', '--no-pager', '--unit=libvirt-volume-provisioner'],
      ...['--unit=libvirt-volume-provisioner-helper', '--since=@1796025600', '--follow', '--no-tail', ''],
    ]);
  });

  test('says that the journal may not be read, though journalctl would go on', async () => {
    await journalctl(
      'echo "Hint: You are currently not seeing messages from other users and the system." >&2; exec sleep 600',
    );
    const { stderr, exitCode } = await lvp('logs', 'web1', '--follow');
    expect(stderr).toContain('You may not read the journal of this host.');
    expect(stderr).toContain("group 'systemd-journal'");
    expect(exitCode).toBe(4);
  });

  test('says what else is wrong with it', async () => {
    await journalctl('echo "Failed to open files" >&2; exit 1');
    const { stderr, exitCode } = await lvp('logs', 'web1');
    expect([stderr.split('\n')[0], exitCode]).toEqual([
      'lvp: The journal cannot be read: journalctl ended with 1: Failed to open files.',
      4,
    ]);
  });
});
