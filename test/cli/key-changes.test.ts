/** Goal: lvp asks for what was said, and says what is left to do. Method: the real lvp and socket, a small daemon. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ControlSocket } from '../../src/adapters/control-socket.ts';
import { serveControl } from '../../src/adapters/control-socket.ts';
import {
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeKeyVerbs,
  FakeVerbs,
  silent,
} from './fake-verbs.ts';

const cli = resolve(import.meta.dirname, '../../src/cli.ts');
const folder = mkdtempSync(join(tmpdir(), 'lvp-keys-'));
const socket = join(folder, 'control.sock');
let keys: FakeKeyVerbs;
let server: ControlSocket;

beforeAll(async () => {
  keys = new FakeKeyVerbs();
  server = await serveControl({
    ...{ path: socket, log: silent, verbs: new FakeVerbs(), images: new FakeImageVerbs(), keys },
    ...{ garbage: new FakeGarbageVerbs(), jobs: new FakeJobVerbs() },
  });
});
beforeEach(() => {
  keys.calls.length = 0;
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const lvp = (words: string) =>
  execa(process.execPath, [cli, ...words.split(' ')], { env: { LVP_SOCKET: socket }, reject: false });

describe('lvp key rotate', () => {
  it('says which key opens the volume, and what is left to do', async () => {
    const { stdout, exitCode } = await lvp('key rotate web1 vda --to file:new');
    expect([exitCode, stdout]).toEqual([
      0,
      'Disk vda of web1 (vg0/web1-root) has the key file:new in place of file:old; no other opens it.\n' +
        'Left to do, where the old key is kept: lvp key revoke file:old',
    ]);
    expect(keys.calls).toEqual([['rotate', { domain: 'web1', target: 'vda', to: 'file:new' }]]);
  });

  it('changes nothing with --dry-run', async () => {
    const { stdout } = await lvp('key rotate web1 vda --to file:new --dry-run');
    expect(stdout).toContain('would get the key file:new in place of file:old. Nothing was changed.');
    expect(keys.calls).toEqual([['rotate', { domain: 'web1', target: 'vda', to: 'file:new', dryRun: true }]]);
  });

  it.each([
    ['key rotate web1 vda', 2, '--to'],
    ['key rotate web1 vda --to vault:new', 2, '"vault:new" is no key'],
    [
      'key rotate web1 vda --to file:taken',
      5,
      'The key file:taken is that of disk vda of domain db1 already.',
    ],
    ['--server http://localhost:1 key rotate web1 vda --to file:new', 2, 'key rotate'],
  ])('ends "%s" with %i', async (words, code, said) => {
    const { stderr, exitCode } = await lvp(words);
    expect(exitCode).toBe(code);
    expect(stderr).toContain(said);
  });
});

describe('lvp incident crypto-erase', () => {
  it('asks nobody where there is no terminal, and does nothing', async () => {
    const { stderr, exitCode } = await lvp('incident crypto-erase web1 vda');
    expect([exitCode, keys.calls]).toEqual([2, []]);
    expect(stderr).toContain('--confirm VG/LV');
  });

  it.each([
    ['web1 vda', { domain: 'web1', target: 'vda' }],
    ['vg0/web1-root', { volume: 'vg0/web1-root' }],
  ])('destroys %s with the name of the volume, and says what that means', async (what, asked) => {
    const { stdout, exitCode } = await lvp(`incident crypto-erase ${what} --confirm vg0/web1-root`);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('vg0/web1-root is unreadable for ever');
    expect(keys.calls).toEqual([['erase', { ...asked, confirm: 'vg0/web1-root' }]]);
  });

  it('is refused with another name, and without a disk', async () => {
    expect((await lvp('incident crypto-erase web1 vda --confirm web1/vda')).exitCode).toBe(2);
    expect((await lvp('incident crypto-erase web1 --confirm web1')).exitCode).toBe(2);
    expect(keys.calls).toHaveLength(1);
  });

  it('only says what would be lost with --dry-run', async () => {
    const { stdout } = await lvp('incident crypto-erase web1 vda --dry-run');
    expect(stdout).toContain('All that vg0/web1-root holds will be lost, for everybody and for ever:');
    expect(stdout).toContain('Nothing was changed.');
    expect(keys.calls).toEqual([['erase', { domain: 'web1', target: 'vda', dryRun: true }]]);
  });

  it.each([
    ['web1-root', false],
    ['vg0/web1-root', true],
  ])('asks for the name of the volume on a terminal: %s', async (typed, isErased) => {
    const command = `'${process.execPath}' '${cli}' incident crypto-erase web1 vda`;
    const { exitCode, stdout } = await onTerminal(command, typed);
    expect(stdout).toContain('filled  from images/debian-12.qcow2');
    expect(exitCode).toBe(isErased ? 0 : 2);
    const preview = ['erase', { domain: 'web1', target: 'vda', dryRun: true }];
    const erased = ['erase', { domain: 'web1', target: 'vda', confirm: 'vg0/web1-root' }];
    expect(keys.calls).toEqual(isErased ? [preview, erased] : [preview]);
  });
});

/** What a terminal shows, and the exit code of lvp behind it. */
async function onTerminal(command: string, typed: string) {
  const { stdout, exitCode } = await execa('script', ['-qec', command, '/dev/null'], {
    env: { LVP_SOCKET: socket, NO_COLOR: '1' },
    input: `${typed}\r`,
    reject: false,
    timeout: 60_000,
  });
  return { stdout: stdout.replaceAll('\r', ''), exitCode };
}
