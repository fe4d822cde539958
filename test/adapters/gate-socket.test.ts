/**
 * The real hook, run by a real shell with a real curl, against the real socket. What it does without the
 * daemon needs LVM and is tested on the host.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FreezeFile } from '../../src/adapters/freeze-file.ts';
import type { GateSocket } from '../../src/adapters/gate-socket.ts';
import { openGateSocket } from '../../src/adapters/gate-socket.ts';
import { ProvisionError } from '../../src/core/errors.ts';
import { formatFrozen } from '../../src/core/frozen.ts';
import type { AdmitAnswer, GateOperation } from '../../src/provision/ports/verbs.ts';
import { domainXml, silent } from '../provision/world.ts';

const hook = new URL('../../hooks/qemu', import.meta.url).pathname;
const annotated = domainXml({ uuid: '11111111-1111-4111-8111-111111111111', name: 'vm1' });
const plain = `<domain type='kvm'>
  <name>plain</name>
  <memory unit='KiB'>1048576</memory>
</domain>
`;
const withForeignMetadata = plain.replace(
  '  <memory',
  "  <metadata>\n    <x:memory xmlns:x='urn:x'><memory/></x:memory>\n  </metadata>\n  <memory",
);

let runtimeDir: string;
let socket: GateSocket | undefined;
let asked: [GateOperation, string][];

async function serve(answer: AdmitAnswer | Error): Promise<void> {
  socket = await openGateSocket({
    runtimeDir,
    graceMs: 1_000,
    log: silent,
    admit: (operation, xml) => {
      asked.push([operation, xml]);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    reload: () => Promise.resolve({ replaced: [], needsRestart: [] }),
  });
}

async function runHook(words: readonly string[], xml: string, program = hook) {
  const { exitCode, stdout, stderr } = await execa(program, words, {
    input: xml,
    reject: false,
    env: { LVP_RUNTIME_DIR: runtimeDir, LVP_CONFIG_DIR: runtimeDir },
  });
  expect(stdout).toBe('');
  return { exitCode, stderr };
}

beforeEach(() => {
  runtimeDir = mkdtempSync(join(tmpdir(), 'gate-'));
  asked = [];
});

afterEach(async () => {
  await socket?.close();
  socket = undefined;
  rmSync(runtimeDir, { recursive: true });
});

describe('the qemu hook', () => {
  it('lets a domain without our annotation pass without asking anybody', async () => {
    await serve({ allowed: false, problems: [] });
    for (const xml of [plain, withForeignMetadata, '', '<domain']) {
      expect(await runHook(['plain', 'prepare', 'begin', '-'], xml)).toEqual({ exitCode: 0, stderr: '' });
    }
    expect(asked).toEqual([]);
  });

  it.each(['start', 'started', 'stopped', 'release', 'reconnect', 'attach', 'unheard-of'])(
    'never stands in the way of %s',
    async (operation) => {
      await serve({ allowed: false, problems: [] });
      expect(await runHook(['vm1', operation, 'begin', '-'], annotated)).toEqual({ exitCode: 0, stderr: '' });
      expect(asked).toEqual([]);
    },
  );

  it.each(['prepare', 'migrate', 'restore'] as const)(
    'asks at %s and lets an admitted domain pass',
    async (operation) => {
      await serve({ allowed: true, problems: [] });
      expect(await runHook(['vm1', operation, 'begin', '-'], annotated)).toEqual({ exitCode: 0, stderr: '' });
      expect(asked).toEqual([[operation, annotated]]);
    },
  );

  it('refuses with the reason and the remedy', async () => {
    await serve({
      allowed: false,
      problems: [{ code: 'VOLUME_STATE', message: '43 % done.', hint: 'Wait.' }],
    });
    expect(await runHook(['vm1', 'prepare', 'begin', '-'], annotated)).toEqual({
      exitCode: 1,
      stderr: 'libvirt-volume-provisioner: domain vm1 is not started: 43 % done. Wait.',
    });
  });

  describe('on a frozen host', () => {
    const frozenText = 'libvirt-volume-provisioner: domain vm1 is not started: this host is frozen';

    it.each(['prepare', 'migrate', 'restore'])(
      'refuses at %s whatever the daemon would say',
      async (operation) => {
        await serve({ allowed: true, problems: [] });
        writeFileSync(
          join(runtimeDir, 'frozen'),
          formatFrozen({ since: '2026-11-30', by: 'eve', reason: 'why\n%s' }),
        );
        expect(await runHook(['vm1', operation, 'begin', '-'], annotated)).toEqual({
          exitCode: 1,
          stderr: `${frozenText} since 2026-11-30, by eve (why %s). When the incident is over: sudo lvp incident thaw`,
        });
        expect(asked).toEqual([]);
        rmSync(join(runtimeDir, 'frozen'));
        expect((await runHook(['vm1', operation, 'begin', '-'], annotated)).exitCode).toBe(0);
      },
    );

    it.each([
      [
        'an empty file',
        () => {
          writeFileSync(join(runtimeDir, 'frozen'), '');
        },
      ],
      [
        'what is no file',
        () => {
          mkdirSync(join(runtimeDir, 'frozen'));
        },
      ],
      [
        'a link that leads nowhere',
        () => {
          symlinkSync('/nowhere', join(runtimeDir, 'frozen'));
        },
      ],
    ])('%s freezes as well, without the daemon too', async (_, freeze) => {
      freeze();
      const { exitCode, stderr } = await runHook(['vm1', 'prepare', 'begin', '-'], annotated);
      expect([exitCode, stderr]).toEqual([
        1,
        `${frozenText}. When the incident is over: sudo lvp incident thaw`,
      ]);
      expect(new FreezeFile(join(runtimeDir, 'config.yaml')).frozen()).toBeDefined();
    });

    it('lets everything else pass', async () => {
      writeFileSync(join(runtimeDir, 'frozen'), '');
      for (const operation of ['start', 'started', 'stopped', 'release', 'reconnect']) {
        expect((await runHook(['vm1', operation, 'begin', '-'], annotated)).exitCode).toBe(0);
      }
      expect((await runHook(['plain', 'prepare', 'begin', '-'], plain)).exitCode).toBe(0);
    });
  });

  it('hands over the whole XML, whatever stands in it', async () => {
    await serve({ allowed: true, problems: [] });
    const xml = annotated.replace(
      '<devices>',
      `<description>%s \\n $(touch x) \`id\` ${'ä'.repeat(70_000)}</description><devices>`,
    );
    await runHook(['vm1', 'prepare', 'begin', '-'], xml);
    expect(asked[0]?.[1]).toBe(xml);
  });

  it.each([
    ['nobody listens', () => Promise.resolve()],
    [
      'the daemon cannot tell',
      () => serve(new ProvisionError({ code: 'LIBVIRT_UNAVAILABLE', message: 'libvirt is away.' })),
    ],
    ['the daemon hangs', hang],
  ])('refuses what it cannot prove by a seal when %s', async (_case, prepare) => {
    await prepare();
    const { exitCode, stderr } = await runHook(['vm1', 'prepare', 'begin', '-'], annotated);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^libvirt-volume-provisioner: domain vm1 is not started: /);
  });

  describe('going by the seals', () => {
    const onBlockDisk = annotated.replace(
      /<disk type='volume'.*<\/disk>/,
      "<disk type='block'><source dev='/dev/vg0/vm1'/><target dev='vda'/></disk>",
    );
    const seal = 'lvp:ready,lvp:domain:11111111-1111-4111-8111-111111111111,lvp:generation:1';

    /** Runs the hook with this in place of lvs. */
    async function runWithLvs(lvs: string) {
      writeFileSync(join(runtimeDir, 'lvs'), `#!/bin/sh\n${lvs}\n`, { mode: 0o755 });
      const script = readFileSync(hook, 'utf8').replace('\nPATH=', `\nPATH=${runtimeDir}:`);
      writeFileSync(join(runtimeDir, 'hook'), script, { mode: 0o755 });
      return runHook(['vm1', 'prepare', 'begin', '-'], onBlockDisk, join(runtimeDir, 'hook'));
    }

    it('allows what has one', async () => {
      expect(await runWithLvs(`echo '  ${seal}'`)).toEqual({ exitCode: 0, stderr: '' });
    });

    it.each([
      ['without one', 'echo "  lvp:filling"'],
      ['that is another domain’s', `echo '  ${seal.replace('1111', '2222')}'`],
      ['that LVM could not read to the end', `echo '  ${seal}'; exit 5`],
    ])('refuses a volume %s', async (_case, lvs) => {
      expect(await runWithLvs(lvs)).toEqual({
        exitCode: 1,
        stderr: expect.stringContaining('volume vg0/vm1 of disk vda has no seal') as string,
      });
    });

    it('waits for no lvs that a disk keeps from ending', async () => {
      // Out of reach of every signal that the hook can send, and with the hook's pipe.
      const pidFile = join(runtimeDir, 'pid');
      const { exitCode } = await runWithLvs(`setsid sh -c 'echo $$ >${pidFile}; exec sleep 120'`);
      expect(exitCode).toBe(1);
      // It is still there: or this would throw.
      process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
    });
  });
});

/** A socket that takes connections and never answers. */
async function hang(): Promise<void> {
  const connections = new Set<Socket>();
  const server = createServer((connection) => connections.add(connection));
  await new Promise<void>((resolve) => {
    server.listen(join(runtimeDir, 'gate.sock'), resolve);
  });
  writeFileSync(join(runtimeDir, 'gate-seconds'), '1\n');
  socket = {
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        for (const connection of connections) connection.destroy();
      }),
  };
}
