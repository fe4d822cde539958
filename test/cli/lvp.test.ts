/**
 * Goal: what lvp prints and how it exits, for people and for programs. Method: the real program as a
 * child process, against the real control socket over a small fake of the daemon.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ControlSocket } from '../../src/adapters/control-socket.ts';
import { serveControl } from '../../src/adapters/control-socket.ts';
import {
  FakeGarbageVerbs,
  FakeImageVerbs,
  FakeJobVerbs,
  FakeVerbs,
  FAILED_JOB,
  JOB,
  SEAL,
  silent,
  WEB,
} from './fake-verbs.ts';

const cli = path.resolve(import.meta.dirname, '../../src/cli.ts');
let folder: string;
let socket: string;
let server: ControlSocket;
let verbs: FakeVerbs;
let images: FakeImageVerbs;
let garbage: FakeGarbageVerbs;
let jobs: FakeJobVerbs;

async function lvp(args: string, env: Record<string, string> = {}) {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [cli, ...args.split(' ')], {
    env: { LVP_SOCKET: socket, ...env },
    reject: false,
  });
  expect(stderr).not.toMatch(/^\s+at /m);
  return { stdout, stderr, exitCode };
}

async function lvpFed(args: string, input: string) {
  return execa(process.execPath, [cli, ...args.split(' ')], {
    env: { LVP_SOCKET: socket },
    input,
    reject: false,
  });
}

/** A handover with the seal of another domain in it. */
const stranger = JSON.stringify({
  uuid: '9d3a4b1c-0000-4000-8000-000000000009',
  name: 'db1',
  volumes: [{ target: 'vda', pool: 'guests', sizeBytes: 2 ** 30, seal: SEAL }],
});

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'lvp-cli-'));
  socket = path.join(folder, 'control.sock');
});

beforeEach(async () => {
  verbs = new FakeVerbs();
  images = new FakeImageVerbs();
  garbage = new FakeGarbageVerbs();
  jobs = new FakeJobVerbs();
  server = await serveControl({ path: socket, verbs, images, garbage, jobs, log: silent });
  return () => server.close();
});

afterAll(() => rm(folder, { recursive: true }));

describe('lvp list', () => {
  test('shows a row for each volume', async () => {
    expect(await lvp('list')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "DOMAIN  DISK  STATE    DONE  VOLUME              IMAGE
      broken  vda   failed         guests/broken-root  images/debian-13.qcow2
      db1     vda   ready          guests/db1-root     images/debian-13.qcow2
      web1    vda   filling  75 %  guests/web1-root    images/debian-13.qcow2
      web1    vdb   waiting        guests/web1-data    images/debian-13.qcow2",
      }
    `);
  });

  test('prints the protocol as JSON', async () => {
    const { stdout, exitCode } = await lvp('list --json');
    expect(JSON.parse(stdout)).toEqual(await verbs.domains());
    expect(exitCode).toBe(0);
  });
});

describe('lvp job', () => {
  test('create asks for a volume, and tells what was taken from the name of the image', async () => {
    const { stdout, stderr, exitCode } = await lvp(
      'job create web2-root images/debian-13.qcow2.zst --size 20GiB --pool guests --correlation-id mine',
    );
    expect([exitCode, stderr]).toEqual([
      0,
      "Format qcow2, compression zstd, by the end of the image's name.",
    ]);
    expect(stdout).toContain(`${JOB.id} running [############------------] 50 %`);
    const asked = {
      image: 'images/debian-13.qcow2.zst',
      format: 'qcow2',
      compression: 'zstd',
      size: '20GiB',
    };
    const request = { ...asked, volume: 'web2-root', pool: 'guests', correlationId: 'mine' };
    expect(jobs.calls).toEqual([['start', request, `uid:${String(process.getuid?.())}`]]);
  });

  test('create --watch stays until it has ended, with a line for each piece of news', async () => {
    const done = { ...JOB, state: 'completed' as const, phase: undefined, sha256: 'ab'.repeat(32) };
    jobs.progress = [{ ...JOB, state: 'pending', queuePosition: 2, phase: undefined }, JOB, JOB, done];
    const { stdout, exitCode } = await lvp('job create web2-root images/debian-13.qcow2 --watch');
    expect(stdout.split('\n')).toEqual([
      'vg0/web2-root pending, 2 before it',
      'vg0/web2-root running [############------------] 50 %, 512 MiB of 1.0 GiB',
      `${JOB.id} completed`,
      '    vg0/web2-root from images/debian-13.qcow2 (qcow2), asked for by uid:0',
      `    sha256 ${'ab'.repeat(32)}`,
    ]);
    expect(exitCode).toBe(0);
  });

  test('list shows a row for each job, and passes on what is asked for', async () => {
    expect((await lvp('job list --state failed --limit 7')).stdout).toMatchInlineSnapshot(`
      "JOB                                   VOLUME         STATE    DONE  IMAGE
      9d3a4b1c-0000-4000-8000-00000000000a  vg0/web2-root  running  50 %  images/debian-13.qcow2
      9d3a4b1c-0000-4000-8000-00000000000b  vg0/web3-root  failed   0 %   images/debian-13.qcow2"
    `);
    expect(jobs.calls).toEqual([['jobs', { state: 'failed', limit: 7 }]]);
  });

  test('status of one that has failed says why, and 1', async () => {
    const { stdout, exitCode } = await lvp(`job status ${FAILED_JOB.id}`);
    expect(stdout).toContain('problem: There is no image images/debian-13.qcow2. Upload it.');
    expect(exitCode).toBe(1);
    expect(JSON.parse((await lvp(`job status ${FAILED_JOB.id} --json`)).stdout)).toEqual(FAILED_JOB);
  });

  test.each(['cancel', 'retry'])('%s', async (verb) => {
    expect((await lvp(`job ${verb} ${JOB.id}`)).exitCode).toBe(0);
    expect(jobs.calls).toEqual([[verb, JOB.id]]);
    expect(await lvp(`job ${verb} nobody`)).toMatchObject({
      exitCode: 3,
      stderr: 'lvp: There is no job nobody.',
    });
  });
});

describe('lvp status', () => {
  test('shows progress, and 5 for not ready', async () => {
    expect(await lvp('status web1')).toMatchInlineSnapshot(`
      {
        "exitCode": 5,
        "stderr": "",
        "stdout": "web1 (9d3a4b1c-0000-4000-8000-000000000001), shut off, starts when its volumes are ready
        vda filling [##################------] 75 %, 768 MiB of 1.0 GiB, 800 MiB/s, 2 s left
            guests/web1-root from images/debian-13.qcow2 (qcow2)
        vdb waiting
            guests/web1-data from images/debian-13.qcow2 (qcow2)",
      }
    `);
  });

  test('shows a ready volume that differs from the annotation', async () => {
    expect(await lvp('status db1')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "db1 (9d3a4b1c-0000-4000-8000-000000000002), running
        vda ready
            guests/db1-root from images/debian-13.qcow2 (qcow2)
            sha256 abababababababababababababababababababababababababababababababab
            differs from the annotation: generation 1, asked for 2",
      }
    `);
  });

  test('shows why a volume failed, and 1', async () => {
    expect(await lvp('status broken')).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "",
        "stdout": "broken (9d3a4b1c-0000-4000-8000-000000000003), shut off
        vda failed
            guests/broken-root from images/debian-13.qcow2 (qcow2)
            problem: The image images/debian-13.qcow2 has another digest than asked for. Correct sha256 in the annotation or upload the image again.",
      }
    `);
  });

  test('answers 3 when there is no such domain', async () => {
    expect(await lvp('status nobody')).toMatchInlineSnapshot(`
      {
        "exitCode": 3,
        "stderr": "lvp: There is no domain 'nobody'.
      See: virsh list --all",
        "stdout": "",
      }
    `);
  });

  test('answers failures as JSON too', async () => {
    const { stdout, stderr, exitCode } = await lvp('status nobody --json');
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: 'DOMAIN_NOT_FOUND',
        message: "There is no domain 'nobody'.",
        hint: 'See: virsh list --all',
      },
    });
    expect(stderr).toBe('');
    expect(exitCode).toBe(3);
  });

  test('watches in plain lines until all is ready', async () => {
    const volumes = WEB.volumes.map((volume) => ({ ...volume, state: 'ready' as const }));
    verbs.progress = [WEB, WEB, { ...WEB, volumes }];
    expect(await lvp('status web1 --watch')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "web1 vda filling [##################------] 75 %, 768 MiB of 1.0 GiB, 800 MiB/s, 2 s left
      web1 vdb waiting
      web1 (9d3a4b1c-0000-4000-8000-000000000001), shut off, starts when its volumes are ready
        vda ready
            guests/web1-root from images/debian-13.qcow2 (qcow2)
        vdb ready
            guests/web1-data from images/debian-13.qcow2 (qcow2)",
      }
    `);
  });
});

describe('lvp annotate', () => {
  test('takes the format from the ending and says so', async () => {
    expect(await lvp('annotate web1 vda images/debian-13.qcow2')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "Format qcow2, by the end of the image's name.
      Written to web1. See: lvp status web1 --watch",
        "stdout": "<vp:provision xmlns:vp="urn:libvirt-volume-provisioner:domain:1">
        <vp:volume target="vda" image="images/debian-13.qcow2" format="qcow2"/>
      </vp:provision>",
      }
    `);
    expect(verbs.calls).toEqual([
      ['annotate', 'web1', { target: 'vda', image: 'images/debian-13.qcow2', format: 'qcow2' }],
    ]);
  });

  test('takes the compression from the ending too, and says so', async () => {
    const { stderr } = await lvp('annotate web1 vda images/debian-13.raw.zst');
    expect(stderr).toContain("Format raw, compression zstd, by the end of the image's name.");
    const request = { target: 'vda', image: 'images/debian-13.raw.zst', format: 'raw', compression: 'zstd' };
    expect(verbs.calls).toEqual([['annotate', 'web1', request]]);
  });

  test('hands every option on', async () => {
    const digest = 'ab'.repeat(32);
    const options = `--format raw --compression xz --sha256 ${digest} --sha512 ${digest}${digest} --image-version v1 --size 20GiB --generation 2 --start when-ready --dry-run`;
    const { stderr, exitCode } = await lvp(`annotate web1 vdb images/data ${options}`);
    expect({ stderr, exitCode }).toEqual({ stderr: 'Nothing was written.', exitCode: 0 });
    expect(verbs.calls).toEqual([
      [
        'annotate',
        'web1',
        {
          target: 'vdb',
          image: 'images/data',
          format: 'raw',
          compression: 'xz',
          sha256: digest,
          sha512: digest + digest,
          version: 'v1',
          size: '20GiB',
          generation: 2,
          start: 'when-ready',
          dryRun: true,
        },
      ],
    ]);
  });

  test.each([
    ['a format nothing says', 'annotate web1 vda images/data', 2],
    ['a digest that is none', 'annotate web1 vda images/a.raw --sha256 123', 2],
    ['a generation that is none', 'annotate web1 vda images/a.raw --generation one', 2],
    ['a missing argument', 'annotate web1 vda', 2],
    ['an unknown option', 'annotate web1 vda images/a.raw --loud', 2],
    ['an unknown disk', 'annotate web1 vdz images/a.raw', 3],
  ])('refuses %s', async (_what, args, code) => {
    const { stdout, stderr, exitCode } = await lvp(args);
    expect(stdout).toBe('');
    expect(stderr).toMatchSnapshot();
    expect(exitCode).toBe(code);
  });
});

describe('lvp explain, cancel, retry', () => {
  test('explain says what would be done and why', async () => {
    expect(await lvp('explain web1')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "web1 (9d3a4b1c-0000-4000-8000-000000000001)
        start would be refused: vda is being filled, 75 % done.
        vda: wait: its fill 00112233445566aa runs
          policy: rule web allows it
        vdb: fill: there is no volume guests/web1-data",
      }
    `);
  });

  test('cancel and retry hand the disk on', async () => {
    expect((await lvp('cancel web1 vda')).exitCode).toBe(0);
    expect((await lvp('cancel web1')).exitCode).toBe(0);
    expect((await lvp('retry web1 vdb')).exitCode).toBe(0);
    expect(verbs.calls).toEqual([
      ['cancel', 'web1', 'vda'],
      ['cancel', 'web1', undefined],
      ['retry', 'web1', 'vdb'],
    ]);
  });

  test('a refusal answers 5', async () => {
    expect(await lvp('retry db1')).toEqual({
      stdout: '',
      stderr: 'lvp: The volume guests/db1-root is ready.',
      exitCode: 5,
    });
  });
});

describe('lvp reprovision', () => {
  test('without a terminal wants the confirmation in words, and asks nobody', async () => {
    expect(await lvp('reprovision web1 vda')).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "lvp: There is no terminal to ask on whether the content of the volume may be lost.
      For scripts: lvp reprovision web1 vda --confirm VM/DISK, with the domain's name and the disk.",
        "stdout": "",
      }
    `);
    expect(verbs.calls).toEqual([]);
  });

  test('hands the confirmation on, and says what to look at', async () => {
    expect(await lvp('reprovision web1 vda --confirm web1/vda')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "vg0/web1-root is being made again. See: lvp status web1 --watch",
      }
    `);
    expect(verbs.calls).toEqual([['reprovision', 'web1', { target: 'vda', confirm: 'web1/vda' }]]);
  });

  test('leaves it to the daemon whether that is the right one', async () => {
    const { stderr, exitCode } = await lvp('reprovision web1 vda --confirm web1/vdb');
    expect([stderr, exitCode]).toEqual(['lvp: It has to be confirmed with exactly "web1/vda".', 2]);
  });

  test('prints what is lost as JSON', async () => {
    const { stdout } = await lvp('reprovision web1 vda --confirm web1/vda --json');
    expect(JSON.parse(stdout)).toMatchObject({ volume: 'vg0/web1-root', holds: { generation: 1 } });
  });

  test.each([
    ['answers 0 when the new content is there', {}, 0],
    [
      'answers 1 when the old one had to be put back',
      { problem: { code: 'DIGEST_MISMATCH', message: 'No.' } },
      1,
    ],
  ])('--wait %s', async (_what, fields, code) => {
    const volumes = WEB.volumes.map((volume) => ({ ...volume, ...fields, state: 'ready' as const }));
    // It waits by UUID, for a name may come to stand for another domain.
    verbs.domain = () => Promise.resolve({ ...WEB, volumes });
    const { stdout, exitCode } = await lvp('reprovision web1 vda --confirm web1/vda --wait');
    expect(stdout).toContain('vda ready');
    expect(exitCode).toBe(code);
  });

  /** What a terminal shows, and the exit code of lvp behind it. */
  async function onTerminal(typed: string) {
    const command = `'${process.execPath}' '${cli}' reprovision web1 vda`;
    const { stdout, exitCode } = await execa('script', ['-qec', command, '/dev/null'], {
      env: { LVP_SOCKET: socket, NO_COLOR: '1' },
      input: typed,
      reject: false,
      timeout: 60_000,
    });
    return { shown: stdout.replaceAll('\r', ''), exitCode };
  }

  test('on a terminal shows what will be lost, and goes on when the name is typed', async () => {
    const { shown, exitCode } = await onTerminal('web1\r');
    expect(shown).toContain(`All that disk vda of web1 holds will be lost:
  volume  vg0/web1-root, 20.0 GiB
  filled  from images/debian-12.qcow2, generation 1, sha256 ${'ab'.repeat(32)}
  now     from images/debian-13.qcow2, generation 2`);
    expect(exitCode).toBe(0);
    expect(verbs.calls).toEqual([
      ['reprovision', 'web1', { target: 'vda', dryRun: true }],
      ['reprovision', 'web1', { target: 'vda', confirm: 'web1/vda' }],
    ]);
  });

  test.each(['y\r', '\r', '\u0004'])('on a terminal does nothing when %j is typed', async (typed) => {
    const { shown, exitCode } = await onTerminal(typed);
    expect(shown).toContain('That is not the name of the domain, web1. Nothing was done.');
    expect(exitCode).toBe(2);
    expect(verbs.calls).toEqual([['reprovision', 'web1', { target: 'vda', dryRun: true }]]);
  });
});

describe('lvp provision', () => {
  const xml = '<domain><name>web1</name></domain>';

  test('sends the XML and stays until all is ready', async () => {
    const file = path.join(folder, 'web1.xml');
    await writeFile(file, xml);
    const volumes = WEB.volumes.map((volume) => ({ ...volume, state: 'ready' as const }));
    const states = [WEB, { ...WEB, volumes }];
    verbs.domain = () => Promise.resolve(states.shift() ?? WEB);
    const { stdout, exitCode } = await lvp(`provision --xml ${file}`);
    expect(stdout).toMatch(/^web1 vda filling .*\n(.*\n)* {2}vda ready$/m);
    expect(exitCode).toBe(0);
    expect(verbs.calls).toEqual([['provision', xml.length]]);
  });

  test('reads standard input, and does not wait when told so', async () => {
    const { stdout, exitCode } = await execa(
      process.execPath,
      [cli, 'provision', '--xml', '-', '--no-wait', '--json'],
      { env: { LVP_SOCKET: socket }, input: xml },
    );
    expect(JSON.parse(stdout)).toMatchObject({ name: 'web1' });
    expect(exitCode).toBe(0);
    expect(verbs.calls).toEqual([['provision', xml.length]]);
  });

  test('says what cannot be read, or is longer than any domain', async () => {
    expect(await lvp(`provision --xml ${folder}/missing.xml`)).toMatchObject({ exitCode: 2, stdout: '' });
    const file = path.join(folder, 'long.xml');
    await writeFile(file, Buffer.alloc((4 << 20) + 1, 0x20));
    const { stderr, exitCode } = await lvp(`provision --xml ${file}`);
    expect([stderr, exitCode]).toEqual([`lvp: ${file} is longer than 4194304 bytes.`, 2]);
  });
});

describe('when the daemon cannot be reached', () => {
  test('says which socket and what to look at, and answers 4', async () => {
    const { stderr, exitCode } = await lvp('list --socket /nowhere/control.sock');
    expect(stderr).toBe(
      'lvp: The provisioner cannot be reached at /nowhere/control.sock: there is no such socket.\n' +
        'See: systemctl status libvirt-volume-provisioner',
    );
    expect(exitCode).toBe(4);
  });

  test('tells a socket nobody listens on', async () => {
    await writeFile(path.join(folder, 'dead.sock'), '');
    const { stderr, exitCode } = await lvp(`list --socket ${folder}/dead.sock`);
    expect(stderr).toContain('nobody listens there');
    expect(exitCode).toBe(4);
  });

  test.runIf(process.getuid?.() === 0)('tells a socket one may not open, and names the group', async () => {
    await chmod(folder, 0o755);
    const { stderr, exitCode } = await execa(process.execPath, [cli, 'list', '--socket', socket], {
      uid: 65534,
      gid: 65534,
      reject: false,
    });
    expect(stderr).toContain(`lvp: You may not open ${socket}.`);
    expect(stderr).toContain("the group 'libvirt-volume-provisioner'");
    expect(exitCode).toBe(4);
  });
});

describe('lvp handover and receive', () => {
  test('what one prints is what the other reads, from standard input or a file', async () => {
    const { stdout, exitCode } = await lvp('handover db1');
    expect(exitCode).toBe(0);
    const file = path.join(folder, 'db1.json');
    await writeFile(file, stdout);
    for (const read of [lvp(`receive ${file}`), lvpFed('receive', stdout)]) {
      expect(await read).toMatchObject({
        exitCode: 0,
        stdout: 'vda: guests/db1-root is set aside\nMigrate db1 here before 2026-11-22T09:00:00.000Z.',
      });
    }
    const handover: unknown = JSON.parse(stdout);
    expect(verbs.calls).toEqual([
      ['receive', handover],
      ['receive', handover],
    ]);
  });

  test('anything else is a mistake, and nothing is asked for', async () => {
    for (const text of ['', '{}', stranger]) {
      expect(await lvpFed('receive', text)).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('not what lvp handover prints') as string,
      });
    }
    expect((await lvp('receive /nowhere')).exitCode).toBe(2);
    expect((await lvp('handover nosuch')).exitCode).toBe(3);
    expect(verbs.calls).toEqual([]);
  });
});

describe('help', () => {
  test.each([
    '--help',
    'list --help',
    'status --help',
    'annotate --help',
    'explain --help',
    'cancel --help',
    'retry --help',
    'reprovision --help',
    'provision --help',
    'handover --help',
    'receive --help',
    'gc --help',
    'image --help',
    'image ls --help',
    'image inspect --help',
    'image verify --help',
    'image prefetch --help',
    'image rm --help',
    'image gc --help',
    'image write --help',
    'token create --help',
    'token list --help',
    'token revoke --help',
    'config check --help',
    'setup --help',
    'doctor --help',
    'completion --help',
  ])('lvp %s', async (args) => {
    const { stdout, exitCode } = await lvp(args, { COLUMNS: '100' });
    expect(stdout).toMatchSnapshot();
    expect(exitCode).toBe(0);
  });

  test('--version is that of the package', async () => {
    expect((await lvp('--version')).stdout).toMatch(/^\d+\.\d+\.\d+/);
  });
});

describe('lvp config check', () => {
  test('accepts the example with keys from files', async () => {
    const file = path.join(folder, 'config.yaml');
    await writeFile(path.join(folder, 'key'), 'a-key\n', { mode: 0o600 });
    await writeFile(
      file,
      `minio:\n  endpoint: https://minio.test:9000\n  access_key_file: ${folder}/key\n  secret_key_file: ${folder}/key\nvolume_groups: [vg0]\n`,
    );
    expect(await lvp(`config check --config ${file}`)).toEqual({
      stdout: `${file} is in order.`,
      stderr: '',
      exitCode: 0,
    });
    const { stdout } = await lvp(`config check --config ${file} --json`);
    expect(stdout).toContain('[redacted]');
    expect(stdout).not.toContain('a-key');
  });

  test('reports mistakes with line and key, and answers 1', async () => {
    const file = path.join(folder, 'wrong.yaml');
    await writeFile(
      file,
      'minio:\n  endpoint: https://minio.test:9000\nvolume_groups: [vg0]\ngate:\n  grace: 1h\n',
    );
    const { stderr, exitCode } = await lvp(`config check --config ${file}`);
    expect(stderr).toContain(`${file}:5: gate.grace is "1h"; allowed is a duration`);
    expect(exitCode).toBe(1);
  });
});
