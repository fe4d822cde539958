/**
 * Goal: TAB offers what may come next, and never disturbs. Method: tables for what comes next; the real program
 * and a real bash against the real control socket over a fake of the daemon.
 */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { serveControl } from '../../src/adapters/control-socket.ts';
import type { Known } from '../../src/cli/completion/candidates.ts';
import { candidatesFor } from '../../src/cli/completion/candidates.ts';
import { wantedAt } from '../../src/cli/completion/wanted.ts';
import { buildProgram } from '../../src/cli/program/program.ts';
import {
  BROKEN,
  DB,
  FAILED_JOB,
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeVerbs,
  JOB,
  silent,
  WEB,
} from './fake-verbs.ts';

const program = buildProgram(() => undefined);
const VERBS =
  'list status annotate explain cancel retry reprovision provision job handover receive gc image key token config setup doctor audit logs metrics incident backup restore completion';

const GLOBAL = '--json --socket --server --server-ca --token-file --client-cert --client-key';
const IMAGES = 'images/a.raw images/debian-12.qcow2 images/debian-13.qcow2 images/data.raw.zst';

const NONE: Known = {
  domains: () => Promise.reject(new Error('nobody answers')),
  disks: () => Promise.reject(new Error('nobody answers')),
  images: () => Promise.reject(new Error('nobody answers')),
  stored: () => Promise.reject(new Error('nobody answers')),
  jobs: () => Promise.reject(new Error('nobody answers')),
};

function imageNamed(image: string) {
  return {
    image,
    sha256: 'ab'.repeat(32),
    sizeBytes: 2 ** 20,
    usedAt: '2026-11-22T08:00:00Z',
    inUse: false,
    pinned: false,
    kept: 'recent' as const,
  };
}

const KNOWN: Known = {
  domains: () => Promise.resolve([BROKEN, DB, WEB]),
  disks: () => new FakeVerbs().disks(),
  images: () =>
    Promise.resolve({
      sizeMaxBytes: 2 ** 30,
      images: [imageNamed('images/a.raw')],
      golden: [],
      goldenSpace: [],
    }),
  stored: () => new FakeImageVerbs().stored(),
  jobs: () => Promise.resolve({ jobs: [JOB, FAILED_JOB] }),
};

/** The words, and before them the kind of place where that says more. */
async function offered(line: string, known = KNOWN): Promise<string> {
  const wanted = wantedAt(program, line.split(' '));
  if (wanted.place.kind === 'file') return '<file>';
  return (await candidatesFor(wanted, known)).map(({ word }) => `${wanted.lead}${word}`).join(' ');
}

describe('what comes next', () => {
  test.each([
    ['', `${VERBS} help`],
    ['re', 'retry reprovision receive restore'],
    ['-', `${GLOBAL} -V --version -h --help`],
    ['--v', '--version'],
    ['help ', VERBS],
    ['help i', 'image incident'],
    ['help image ', ''],
    ['nonsense ', ''],
    ['nonsense -', ''],
    ['complete ', ''],
    ['ls ', `--watch ${GLOBAL} --help`],
    ['gc --so', '--socket'],
    ['gc --se', ''],
    ['token list --', '--file --json --help'],
    ['--server https://h:1 st', 'status'],
    ['image --server https://h:1 l', 'ls'],
    ['status --token-file ', '<file>'],
    ['job ', 'create list status cancel retry help'],
    ['job cancel ', `${JOB.id} ${FAILED_JOB.id}`],
    ['job list --after ', `${JOB.id} ${FAILED_JOB.id}`],
    ['job list --state c', 'completed cancelled'],
    ['image ', 'ls inspect verify prefetch rm gc write help'],
    ['image help w', 'write'],
    ['image -', '-h --help'],
    ['config ', 'check reload help'],
    ['completion ', 'bash zsh fish'],
    ['completion f', 'fish'],
    // Domains and their disks.
    ['status ', 'broken db1 web1'],
    ['status w', 'web1'],
    ['status --watch ', 'broken db1 web1'],
    ['status web1 ', `--watch ${GLOBAL} --help`],
    ['status web1 x', ''],
    ['status web1 -w --', `${GLOBAL} --help`],
    ['status --json w', 'web1'],
    ['retry web1 ', 'vda vdb'],
    [`retry ${WEB.uuid} vdb`, 'vdb'],
    ['retry nobody ', ''],
    ['retry --json web1 v', 'vda vdb'],
    ['retry -- web1 v', 'vda vdb'],
    ['retry web1 vda ', `${GLOBAL} --help`],
    ['reprovision web1 vda --confirm ', ''],
    // Images: cached ones, and those that domains have.
    ['annotate web1 vda ', IMAGES],
    ['annotate web1 vda images/debian-13', 'images/debian-13.qcow2'],
    ['image inspect ', IMAGES],
    // Also what nobody has annotated yet, but for disks that cannot be.
    ['annotate p', 'plain1'],
    ['annotate plain1 ', 'vda'],
    // Options and their values.
    ['annotate web1 vda x --on', '--on-undefine'],
    ['annotate --on-undefine ', 'keep delete'],
    ['annotate --on-undefine keep ', 'broken db1 web1 plain1'],
    ['annotate web1 vda x --format=', '--format=qcow2 --format=raw'],
    ['annotate web1 vda x --format=r', '--format=raw'],
    ['annotate --format=raw w', 'web1'],
    ['annotate --format=raw web1 vda x --form', ''],
    ['annotate web1 vda x --sha256 ', ''],
    ['annotate web1 vda x --nonsense=', ''],
    [
      'annotate web1 vda x --nonsense ',
      `--format --compression --sha256 --sha512 --image-version --size --generation --key --start --dry-run --on-undefine --after-migration ${GLOBAL} --help`,
    ],
    ['setup --volume-group vg0 vg1 --no', '--no-start'],
    ['setup --volume-group vg0 --volume', '--volume-group'],
    ['setup --volume-group vg0 ', ''],
    // Files are for the shell.
    ['provision --xml ', '<file>'],
    ['provision --xml=', '<file>'],
    ['receive ', '<file>'],
    ['status --socket ', '<file>'],
    ['setup --ca-file a', '<file>'],
    ['image write images/a.raw ', '<file>'],
  ])('lvp %s', async (line, words) => {
    expect(await offered(line)).toBe(words);
  });

  test.each([
    ['status --socket /a/b ', '/a/b'],
    ['status --socket=/a/b ', '/a/b'],
    ['--socket /a/b status ', '/a/b'],
    ['status ', undefined],
  ])('lvp %s is asked of the socket that it names', (line, socket) => {
    expect(wantedAt(program, line.split(' ')).asked.socket).toBe(socket);
  });

  test('what the daemon does not answer is left out', async () => {
    for (const line of ['status ', 'retry web1 ', 'image inspect '])
      expect(await offered(line, NONE)).toBe('');
    const { stored } = NONE;
    expect(await offered('image inspect ', { ...KNOWN, stored, images: NONE.images })).toBe(
      'images/debian-13.qcow2',
    );
    expect(await offered('image inspect ', { ...KNOWN, stored, domains: NONE.domains })).toBe('images/a.raw');
    expect(await offered('image inspect ', { ...NONE, stored: KNOWN.stored })).toBe(IMAGES.slice(13));
  });

  test('what is said of a domain, a disk and an image', async () => {
    const about = async (line: string) =>
      (await candidatesFor(wantedAt(program, line.split(' ')), KNOWN)).map((candidate) => candidate.about);
    expect(await about('status ')).toEqual(['failed', 'ready', 'filling, waiting']);
    expect(await about('retry web1 vdb')).toEqual(['waiting, images/debian-13.qcow2']);
    expect(await about('image inspect ')).toEqual(['1.0 MiB, in the cache', '256 MiB', '256 MiB', '256 MiB']);
    expect(await about('annotate web1 vda')).toEqual(['guests/web1-root, images/debian-13.qcow2']);
    expect(await about('annotate plain')).toEqual(['vda, sda']);
  });

  test('names that would be something else on the line or the terminal are left out', async () => {
    const names = ['--json', 'a\nb', 'c\u001b[2J', 'tab\there', 'fine $(x)'];
    const domains = () => Promise.resolve(names.map((name) => ({ ...DB, name })));
    expect(await offered('status ', { ...KNOWN, domains })).toBe('fine $(x)');
  });
});

let folder: string;
let socket: string;
const cli = path.resolve(import.meta.dirname, '../../src/cli.ts');
const verbs = new FakeVerbs();
const images = new FakeImageVerbs();

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-completion-'));
  socket = path.join(folder, 'control.sock');
  await writeFile(path.join(folder, 'lvp'), `#!/bin/sh\nexec '${process.execPath}' '${cli}' "$@"\n`);
  await chmod(path.join(folder, 'lvp'), 0o755);
  await writeFile(path.join(folder, 'web1.xml'), '<domain/>');
});
afterAll(() => rm(folder, { recursive: true }));

function environment(): Record<string, string> {
  return { PATH: `${folder}:${process.env['PATH'] ?? ''}`, LVP_SOCKET: socket };
}

async function complete(...words: string[]) {
  const options = { env: environment(), reject: false } as const;
  const { stdout, stderr, exitCode } = await execa(
    path.join(folder, 'lvp'),
    ['complete', '--', ...words],
    options,
  );
  return { stdout, stderr, exitCode };
}

describe('with a daemon', () => {
  beforeEach(async () => {
    const server = await serveControl({
      path: socket,
      verbs,
      images,
      garbage: new FakeGarbageVerbs(),
      jobs: new FakeJobVerbs(),
      log: silent,
    });
    return () => server.close();
  });

  test('lvp complete prints a word a line, and what it is', async () => {
    expect(await complete('status', '')).toEqual({
      stdout: 'broken\tfailed\ndb1\tready\nweb1\tfilling, waiting',
      stderr: '',
      exitCode: 0,
    });
    expect((await complete('receive', '')).stdout).toBe('\tfile');
    expect((await complete('annotate', '--format=r')).stdout).toBe('--format=raw\t');
    expect(verbs.calls).toEqual([]);
  });

  /** What bash would put in place of the last word, as it divides words by itself. */
  async function inBash(...words: string[]): Promise<string[]> {
    const line = `source <(lvp completion bash)
      COMP_WORDS=(lvp "$@") COMP_CWORD=$#
      _lvp lvp "\${COMP_WORDS[-1]}" "\${COMP_WORDS[-2]}"
      [ \${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "\${COMPREPLY[@]}"`;
    const options = { env: environment(), reject: false } as const;
    const { stdout, stderr } = await execa('bash', ['--norc', '-euc', line, 'bash', ...words], options);
    expect(stderr).toBe('');
    return stdout === '' ? [] : stdout.split('\n');
  }

  test('bash completes verbs, domains, disks and options', async () => {
    expect(await inBash('st')).toEqual(['status']);
    expect(await inBash('retry', 'web1', '')).toEqual(['vda', 'vdb']);
    expect(await inBash('status', '--w')).toEqual(['--watch']);
    expect(await inBash('provision', '--xml', '')).toEqual([]);
    expect(await inBash('nonsense', '')).toEqual([]);
  });

  test('bash divides words at = and :, and gets what follows', async () => {
    expect(await inBash('annotate', '--format', '=', 'r')).toEqual(['raw']);
    expect(await inBash('annotate', '--format', '=')).toEqual(['qcow2', 'raw']);
    expect(await inBash('annotate', '--format', '=', 'raw', 'web1', '')).toEqual(['vda', 'vdb']);
    images.images = () =>
      Promise.resolve({
        sizeMaxBytes: 1,
        images: [imageNamed('images/2026:11:22.raw')],
        golden: [],
        goldenSpace: [],
      });
    expect(await inBash('image', 'inspect', 'images/2026', ':', '11')).toEqual(['11:22.raw']);
    expect(await inBash('image', 'inspect', 'images/2026', ':')).toEqual(['11:22.raw']);
    expect(await inBash('image', 'inspect', 'images/2')).toEqual(['images/2026:11:22.raw']);
  });

  test('a name is never a command', async () => {
    verbs.domains = () => Promise.resolve([{ ...DB, name: 'a $(touch gone) `b`; c' }]);
    expect(await inBash('status', '')).toEqual(['a\\ \\$\\(touch\\ gone\\)\\ \\`b\\`\\;\\ c']);
    expect(await inBash('status', '$(touch gone)')).toEqual([]);
  });
});

describe('without a daemon', () => {
  const nothing = { stdout: '', stderr: '', exitCode: 0 };

  test('nothing is said of a socket that is not there', async () => {
    expect(await complete('status', '')).toEqual(nothing);
    expect(await complete('status', '--socket', '/nowhere', '')).toEqual(nothing);
    expect((await complete('sta')).stdout).toContain('status\t');
  });

  test('nor of one that answers nonsense, and none is waited for', async () => {
    for (const answer of ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{', 'what?\r\n\r\n', undefined]) {
      const server = createServer((connection) => {
        connection.on('error', () => undefined).resume();
        if (answer !== undefined) connection.end(answer);
      });
      await new Promise<void>((ready) => server.listen(socket, ready));
      expect(await complete('image', 'inspect', '')).toEqual(nothing);
      await new Promise((closed) => server.close(closed));
    }
  });

  test('whatever stands on the line, no error is printed', async () => {
    for (const words of [['--', '--', '--x=', ''], ['--help'], ['complete', '--', ''], ['', '-']])
      expect(await complete(...words)).toMatchObject({ stderr: '', exitCode: 0 });
  });
});

describe('lvp completion', () => {
  const script = async (shell: string) =>
    (await execa(path.join(folder, 'lvp'), ['completion', shell], { env: environment() })).stdout;

  test.each(['bash', 'zsh', 'fish'])('prints the script for %s, which asks lvp', async (shell) => {
    const printed = await script(shell);
    const file = path.resolve(import.meta.dirname, `../../src/cli/completion/lvp.${shell}`);
    expect(`${printed}\n`).toBe(await readFile(file, 'utf8'));
    expect(printed).toContain('lvp complete -- ');
    // An error of lvp, or of a shell that does not find it, is not for the line that is being typed.
    expect(printed.match(/lvp complete -- [^\n]*/g)).toEqual([
      expect.stringContaining('2>/dev/null') as string,
    ]);
    expect(printed).not.toMatch(/\beval\b/);
  });

  test('has what each shell wants of it', async () => {
    await execa('bash', ['-n'], { input: await script('bash') });
    expect(await script('bash')).toMatch(/^complete -F _lvp lvp$/m);
    const zsh = await script('zsh');
    expect(zsh.split('\n')[0]).toBe('#compdef lvp');
    expect(zsh).toContain('compdef _lvp lvp');
    expect(await script('fish')).toMatch(
      /^complete --command lvp --no-files --arguments '\(__lvp_candidates\)'$/m,
    );
    for (const [open, close] of [
      ['(', ')'],
      ['{', '}'],
      ['[', ']'],
    ] as const)
      expect(zsh.split(open).length, open).toBe(zsh.split(close).length);
    const fish = await script('fish');
    const opened = fish.match(/^ *(?:function|for|if|while|switch|begin)\b/gm) ?? [];
    expect(fish.match(/^ *end$/gm)).toHaveLength(opened.length);
  });

  test('knows no other shell', async () => {
    const { exitCode, stderr } = await execa(path.join(folder, 'lvp'), ['completion', 'tcsh'], {
      reject: false,
    });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('Allowed choices are bash, zsh, fish');
  });
});
