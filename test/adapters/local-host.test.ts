/** This machine as the doctor asks it: answers in place of errors, limits, and care with links. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdtempSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/adapters/host/commands.ts';
import { readTable } from '../../src/adapters/host/listeners.ts';
import { LocalHost } from '../../src/adapters/host/local-host.ts';

let folder: string;
let host: LocalHost<'good' | 'bad' | 'missing', 'bad' | 'missing'>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'doctor-'));
  host = new LocalHost({
    commands: { good: ['printf', 'a\nb'], bad: ['ls', '/nowhere/at/all'], missing: ['no-such-program'] },
    changes: { bad: ['false'], missing: ['no-such-program'] },
    hook: { from: join(folder, 'from'), to: join(folder, 'hooks/qemu.d/50'), staged: join(folder, 'staged') },
  });
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe('files', () => {
  it('are read, also those that say that they are empty', async () => {
    writeFileSync(join(folder, 'a'), 'text');
    expect(await host.readText(join(folder, 'a'))).toEqual({ is: 'known', value: 'text' });
    expect(await host.readText('/proc/self/status')).toMatchObject({
      is: 'known',
      value: expect.stringContaining('Name:') as never,
    });
  });

  it('that are not there, or are no files, are answers too', async () => {
    expect(await host.readText(join(folder, 'none'))).toEqual({ is: 'absent' });
    expect(await host.stat(join(folder, 'none'))).toEqual({ is: 'absent' });
    expect(await host.list(join(folder, 'none'))).toEqual({ is: 'absent' });
    expect(await host.readText(folder)).toMatchObject({ is: 'unknown' });
    // Nobody waits for the other end of a pipe.
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    expect(await host.readText(join(folder, 'pipe'))).toMatchObject({ is: 'unknown' });
  });

  it('are looked at without following links', async () => {
    symlinkSync('/etc/passwd', join(folder, 'link'));
    expect(await host.stat(join(folder, 'link'))).toMatchObject({ value: { kind: 'link' } });
    expect(await host.stat(folder)).toMatchObject({ value: { kind: 'folder', mode: 0o700 } });
  });
});

describe('rights', () => {
  it('are set on files and folders', async () => {
    const file = join(folder, 'a');
    writeFileSync(file, '');
    chmodSync(file, 0o666);
    await host.setRights(file, { mode: 0o600 });
    await host.setRights(folder, { mode: 0o750 });
    expect([statSync(file).mode & 0o7777, statSync(folder).mode & 0o7777]).toEqual([0o600, 0o750]);
  });

  it('are never set through a link, nor on a file that has a second name', async () => {
    const file = join(folder, 'shadow');
    writeFileSync(file, '');
    chmodSync(file, 0o640);
    symlinkSync(file, join(folder, 'link'));
    linkSync(file, join(folder, 'second'));
    await expect(host.setRights(join(folder, 'link'), { mode: 0o666 })).rejects.toThrow(/ELOOP/);
    await expect(host.setRights(join(folder, 'second'), { mode: 0o666 })).rejects.toThrow(/left alone/);
    expect(statSync(file).mode & 0o7777).toBe(0o640);
  });
});

describe('the hook', () => {
  it('is put in place whole and executable, whatever stood there', async () => {
    writeFileSync(join(folder, 'from'), '#!/bin/sh\n');
    await host.installHook();
    writeFileSync(join(folder, 'staged'), 'left over by somebody');
    chmodSync(join(folder, 'hooks/qemu.d/50'), 0o600);
    await host.installHook();
    expect(readFileSync(join(folder, 'hooks/qemu.d/50'), 'utf8')).toBe('#!/bin/sh\n');
    expect(statSync(join(folder, 'hooks/qemu.d/50')).mode & 0o7777).toBe(0o755);
    await expect(host.stat(join(folder, 'staged'))).resolves.toEqual({ is: 'absent' });
  });

  it('is not taken from where others than root can write', async () => {
    writeFileSync(join(folder, 'from'), 'anything');
    chmodSync(join(folder, 'from'), 0o666);
    await expect(host.installHook()).rejects.toThrow(/can be written by others/);
  });

  it('is left as it is when there is none to install', async () => {
    mkdirSync(join(folder, 'hooks/qemu.d'), { recursive: true });
    writeFileSync(join(folder, 'hooks/qemu.d/50'), 'old');
    await expect(host.installHook()).rejects.toThrow(/ENOENT/);
    expect(readFileSync(join(folder, 'hooks/qemu.d/50'), 'utf8')).toBe('old');
  });
});

describe('commands', () => {
  it('answer with what they print, why they failed, or that they are not there', async () => {
    expect(await host.run('good')).toEqual({ is: 'known', value: 'a\nb' });
    expect(await host.run('bad')).toMatchObject({
      is: 'unknown',
      why: expect.stringContaining('nowhere') as never,
    });
    expect(await host.run('missing')).toEqual({ is: 'absent' });
  });

  it('are ended when they take too long', async () => {
    expect(await runCommand(['sleep', '60'], 50)).toMatchObject({
      is: 'unknown',
      why: expect.stringContaining('did not end within') as never,
    });
  });

  it('that were to change something throw', async () => {
    await expect(host.change('bad')).rejects.toThrow(/false ended with exit code 1/);
    await expect(host.change('missing')).rejects.toThrow(/not installed/);
  });
});

describe('listeners', () => {
  it('are those of the process that was asked for', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = `tcp 127.0.0.1:${(server.address() as AddressInfo).port}`;
    const ours = await host.listeners(process.pid);
    const everybodys = await host.hostListeners();
    server.close();
    expect(ours).toMatchObject({ value: expect.arrayContaining([address]) as never });
    expect(everybodys).toMatchObject({ value: expect.arrayContaining([address]) as never });
    expect(await host.listeners(2 ** 22)).toEqual({ is: 'absent' });
  });

  it('are read from the kernel’s tables', () => {
    const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 112 1
   2: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 113 1`;
    expect(readTable(table, 'tcp')).toEqual([
      { address: 'tcp 127.0.0.1:8080', inode: '111' },
      { address: 'tcp [0000:0000:0000:0000:0000:0000:0000:0001]:8082', inode: '113' },
    ]);
  });
});
