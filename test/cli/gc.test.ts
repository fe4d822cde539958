/** Goal: lvp gc shows and does what it should, and deletes nothing that was not counted by whoever asks for it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { serveControl } from '../../src/adapters/control-socket.ts';
import { FakeGarbageVerbs, FakeImageVerbs, FakeJobVerbs, FakeVerbs, silent } from './fake-verbs.ts';

const cli = path.resolve(import.meta.dirname, '../../src/cli.ts');
let folder: string;
let socket: string;
let garbage: FakeGarbageVerbs;

async function lvp(args: string) {
  const options = { env: { LVP_SOCKET: socket }, reject: false, stdin: 'ignore' } as const;
  const { stdout, stderr, exitCode } = await execa(process.execPath, [cli, ...args.split(' ')], options);
  return { stdout, stderr, exitCode };
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-gc-'));
  socket = path.join(folder, 'control.sock');
});

beforeEach(async () => {
  garbage = new FakeGarbageVerbs();
  const verbs = { verbs: new FakeVerbs(), images: new FakeImageVerbs(), garbage, jobs: new FakeJobVerbs() };
  const server = await serveControl({ path: socket, ...verbs, log: silent });
  return () => server.close();
});

afterAll(() => rm(folder, { recursive: true }));

describe('lvp gc', () => {
  test('--dry-run shows what would be done', async () => {
    expect(await lvp('gc --dry-run')).toMatchInlineSnapshot(`
      {
        "exitCode": 6,
        "stderr": "",
        "stdout": "vg0/lvp-fill-00112233445566aa (abandoned): would be removed; begun for a fill that nobody goes on with.
      vg0/old-root (orphan): would be deleted with --delete-orphans; the domain old is gone, and nothing proves that its guest has ended here.
          Delete it with: lvp gc --delete-orphans",
      }
    `);
    expect(garbage.calls).toEqual([{ dryRun: true }]);
  });

  test('says what was done and what is left', async () => {
    expect(await lvp('gc')).toMatchInlineSnapshot(`
      {
        "exitCode": 6,
        "stderr": "",
        "stdout": "vg0/lvp-fill-00112233445566aa (abandoned): removed; begun for a fill that nobody goes on with.
      vg0/old-root (orphan): not deleted; the domain old is gone, and nothing proves that its guest has ended here.
          Delete it with: lvp gc --delete-orphans",
      }
    `);
    expect(garbage.calls).toEqual([{}]);
  });

  test('prints the protocol as JSON', async () => {
    const { stdout, exitCode } = await lvp('gc --json');
    expect(JSON.parse(stdout)).toMatchObject({ findings: [{ done: true }, { done: false }] });
    expect(exitCode).toBe(6);
  });

  test('exits with 0 when nothing is left', async () => {
    garbage.findings = [];
    expect(await lvp('gc')).toEqual({ stdout: 'Nothing is left over.', stderr: '', exitCode: 0 });
  });

  test('--delete-orphans deletes what was counted', async () => {
    const { stdout, exitCode } = await lvp('gc --delete-orphans --confirm 1');
    expect(garbage.calls).toEqual([{ dryRun: true }, { deleteOrphans: ['vg0/old-root'] }]);
    expect(stdout).toContain('vg0/old-root (orphan): deleted');
    expect(exitCode).toBe(0);
  });

  test.each(['--confirm 2', '--confirm yes', ''])('--delete-orphans %s does nothing', async (confirm) => {
    const { stderr, exitCode } = await lvp(`gc --delete-orphans ${confirm}`.trim());
    expect(stderr).toContain('Nothing was done');
    expect(exitCode).toBe(2);
    expect(garbage.calls).toEqual([{ dryRun: true }]);
  });
});
