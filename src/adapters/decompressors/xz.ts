/**
 * The system's xz as a streaming child: its decoder is what everybody's archives are read with, it gets its
 * fixes from the distribution, it works on another processor than the event loop, and what is wrong with it
 * stays in a process without files, whose memory is bounded and which can be killed.
 */
import { execa } from 'execa';
import { ProvisionError } from '../../core/errors.ts';
import type { Decompressor } from './decompressor.ts';

const XZ = '/usr/bin/xz';
/** `xz -9` makes streams that need 65 MiB. */
const ARGUMENTS = ['--decompress', '--stdout', '--format=xz', '--memlimit-decompress=128MiB', '--no-warn'];
const STDERR_CHARS_SHOWN = 200;

export function startXz(): Decompressor {
  const child = execa(XZ, ARGUMENTS, {
    cwd: '/',
    extendEnv: false,
    env: { LC_ALL: 'C' },
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: { stdout: false, stderr: true },
    maxBuffer: { stderr: 10_000 },
    reject: false,
    killSignal: 'SIGKILL',
  });
  const result = child.then((ended) => ended);
  return {
    input: child.stdin,
    output: child.stdout,
    finish: async () => {
      const { exitCode, stderr, code, shortMessage } = await result;
      if (exitCode === 0) return;
      if (code === 'ENOENT') throw notInstalled();
      throw new Error(stderr.slice(0, STDERR_CHARS_SHOWN) || (shortMessage ?? 'xz did not end well'));
    },
    stop: async () => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      await result;
    },
  };
}

function notInstalled(): ProvisionError {
  return new ProvisionError({
    code: 'INTERNAL',
    message: `An image compressed with xz cannot be read: there is no ${XZ} on this host.`,
    hint: 'Install the package xz-utils, or compress the image with zstd.',
  });
}
